package system

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
)

// A Client asks over a unix socket. It connects when it is first asked, and again
// when the connection broke. Its methods may be called concurrently.
type Client struct {
	path string

	mu     sync.Mutex
	conn   net.Conn
	w      *wire.Writer
	lastID uint32
	asked  map[uint32]*question // by id
}

// A question is a request that waits for its answer.
type question struct {
	lines chan string   // closed when there will be no more
	done  chan struct{} // closed when nobody wants more
}

// NewClient returns a client of the socket at path.
func NewClient(path string) *Client { return &Client{path: path} }

// NewClientConn returns a client of what is at the other end of a connection. When
// that breaks, it is not made anew.
func NewClientConn(conn net.Conn) *Client {
	c := new(Client)
	c.use(conn)
	return c
}

// use makes conn the connection.
func (c *Client) use(conn net.Conn) {
	c.conn, c.w, c.asked = conn, wire.NewWriter(conn), make(map[uint32]*question)
	go c.read(conn, c.asked)
}

// Close closes the connection; it is made anew if somebody asks again.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		c.conn.Close()
	}
}

var errGone = errors.New("connection to auth-worker was closed while it was working")

// maxAnswers is how many lines may wait for who asked.
const maxAnswers = 64

// ask sends a request and calls fn with each line of the answer, without the id,
// until it returns false.
func (c *Client) ask(ctx context.Context, verb string, args func([]byte) []byte, fn func(verb string, fields []string) bool) error {
	id, q, w, err := c.begin()
	if err != nil {
		return err
	}
	defer c.forget(id, q)
	err = w.Append(func(b []byte) []byte {
		return append(args(wire.AppendID(append(b, verb...), id)), '\n')
	})
	if err != nil {
		return fmt.Errorf("auth-worker: %w", err)
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case line, ok := <-q.lines:
			if !ok {
				return errGone
			}
			fields := strings.Split(line, "\t")
			for i := range fields {
				if i > 1 && (fields[0] != "OK" && fields[0] != "FAIL") {
					fields[i] = wire.Unescape(fields[i])
				}
			}
			if fields[0] == "ERROR" {
				return errors.New(strings.Join(fields[2:], " "))
			}
			if !fn(fields[0], fields[2:]) {
				return nil
			}
		}
	}
}

// begin connects if necessary and gives the request an id.
func (c *Client) begin() (id uint32, q *question, w *wire.Writer, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		if c.path == "" {
			return 0, nil, nil, errGone
		}
		conn, err := net.Dial("unix", c.path)
		if err != nil {
			return 0, nil, nil, err
		}
		c.use(conn)
	}
	c.lastID++
	q = &question{lines: make(chan string, maxAnswers), done: make(chan struct{})}
	c.asked[c.lastID] = q
	return c.lastID, q, c.w, nil
}

func (c *Client) forget(id uint32, q *question) {
	close(q.done)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked[id] == q {
		delete(c.asked, id)
	}
}

// read hands out the answers of one connection.
func (c *Client) read(conn net.Conn, asked map[uint32]*question) {
	lines := wire.NewReader(conn)
	for {
		line, err := lines.Next()
		if err != nil {
			break
		}
		text := string(line)
		_, rest, _ := wire.CutString(text)
		number, _, _ := wire.CutString(rest)
		id, _ := wire.ParseID([]byte(number))
		c.mu.Lock()
		q := asked[id]
		c.mu.Unlock()
		if q == nil {
			continue
		}
		select {
		case q.lines <- text:
		case <-q.done:
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	conn.Close()
	if c.conn == conn {
		c.conn = nil
	}
	for _, q := range asked {
		close(q.lines)
	}
	clear(asked)
}

// Authenticate has PAM check a password. An error means that it could not be asked.
func (c *Client) Authenticate(ctx context.Context, l *Login) (Verdict, error) {
	var v Verdict
	err := c.ask(ctx, "PAM", l.appendTo, func(verb string, fields []string) bool {
		v = parseVerdict(verb, fields)
		return false
	})
	return v, err
}

func (l *Login) appendTo(b []byte) []byte {
	b = wire.AppendField(wire.AppendField(b, "service", l.Service), "user", l.User)
	b = wire.AppendField(b, "pass", l.Password)
	if l.RemoteHost != "" {
		b = wire.AppendField(b, "rhost", l.RemoteHost)
	}
	if l.Session {
		b = append(b, "\tsession"...)
	}
	if l.SetCred {
		b = append(b, "\tsetcred"...)
	}
	return b
}

// parseVerdict takes only an OK with a user for one.
func parseVerdict(verb string, fields []string) Verdict {
	var v Verdict
	for _, field := range fields {
		name, value, _ := strings.Cut(field, "=")
		value = wire.Unescape(value)
		switch name {
		case "user":
			v.User = value
		case "code":
			for code, name := range codeNames {
				if name == value {
					v.Code = code
				}
			}
		case "step":
			v.Step = value
		case "text":
			v.Text = value
		case "autherr":
			v.AuthError = true
		case "msg":
			v.Message = value
		}
	}
	if verb == "OK" && v.User != "" {
		v.Code = OK
	}
	return v
}

// Lookup finds a user of the system; nil if there is none.
func (c *Client) Lookup(ctx context.Context, name string) (*User, error) {
	return c.lookup(ctx, "USER", name)
}

// LookupID finds a user of the system by number; nil if there is none.
func (c *Client) LookupID(ctx context.Context, uid uint32) (*User, error) {
	return c.lookup(ctx, "UID", number(uid))
}

func (c *Client) lookup(ctx context.Context, verb, key string) (*User, error) {
	var u *User
	var bad error
	err := c.ask(ctx, verb, oneField(key), func(verb string, fields []string) bool {
		if verb == "USER" {
			u, bad = parseUser(fields)
		}
		return false
	})
	return u, errors.Join(err, bad)
}

func parseUser(fields []string) (*User, error) {
	if len(fields) != 6 {
		return nil, fmt.Errorf("auth-worker: %d fields of a user", len(fields))
	}
	uid, err := strconv.ParseUint(fields[1], 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(fields[2], 10, 32)
	if err != nil {
		return nil, err
	}
	return &User{Name: fields[0], UID: uint32(uid), GID: uint32(gid), Home: fields[3], Password: fields[4], Shell: fields[5]}, nil
}

// Shadow returns the hash of a user's password; ok is false if there is no such user.
func (c *Client) Shadow(ctx context.Context, name string) (hash string, ok bool, err error) {
	err = c.ask(ctx, "SHADOW", oneField(name), func(verb string, fields []string) bool {
		if ok = verb == "SHADOW" && len(fields) == 1; ok {
			hash = fields[0]
		}
		return false
	})
	return hash, ok, err
}

// List calls fn with all users of the system, of whom only names and uids are told,
// until it returns false.
func (c *Client) List(ctx context.Context, fn func(name string, uid uint32) bool) error {
	return c.ask(ctx, "LIST", func(b []byte) []byte { return b }, func(verb string, fields []string) bool {
		if verb != "LIST" || len(fields) != 2 {
			return false
		}
		uid, err := strconv.ParseUint(fields[1], 10, 32)
		return err != nil || fn(fields[0], uint32(uid))
	})
}

func oneField(text string) func([]byte) []byte {
	return func(b []byte) []byte { return wire.AppendEscaped(append(b, '\t'), text) }
}
