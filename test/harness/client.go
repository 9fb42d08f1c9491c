package harness

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// ioTimeout bounds each wait of a [Client].
const ioTimeout = 60 * time.Second

// A Client speaks SMTP, LMTP, IMAP or POP3, one line at a time. Its errors are
// those of the connection; what the server answers is the caller's to judge.
type Client struct {
	net.Conn
	Greeting string
	r        *bufio.Reader
	tag      int
}

// Dial connects to host:port, or to the socket at a path, and reads the greeting.
func Dial(addr string) (*Client, error) {
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	conn, err := net.DialTimeout(network, addr, ioTimeout)
	if err != nil {
		return nil, err
	}
	return NewClient(conn)
}

// DialTLS connects with TLS from the first byte. The certificate is not looked at.
func DialTLS(addr string) (*Client, error) {
	d := net.Dialer{Timeout: ioTimeout}
	conn, err := tls.DialWithDialer(&d, "tcp", addr, &tls.Config{InsecureSkipVerify: true}) // the tests' own server
	if err != nil {
		return nil, err
	}
	return NewClient(conn)
}

// NewClient reads the greeting of a server that a connection is to.
func NewClient(conn net.Conn) (*Client, error) {
	c := &Client{Conn: conn, r: bufio.NewReader(conn)}
	var err error
	if c.Greeting, err = c.Reply(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("greeting: %w", err)
	}
	return c, nil
}

// StartTLS returns a client that goes on with TLS, without a greeting, after the server
// has said that it is ready. The certificate is not looked at.
func (c *Client) StartTLS() *Client {
	conn := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true}) // the tests' own server
	return &Client{Conn: conn, Greeting: c.Greeting, r: bufio.NewReader(conn)}
}

// Connect is [Dial] for tests that cannot go on without.
func Connect(t TB, addr string) *Client {
	t.Helper()
	c, err := Dial(addr)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Put writes text as it is.
func (c *Client) Put(text string) error {
	c.SetDeadline(time.Now().Add(ioTimeout))
	_, err := io.WriteString(c.Conn, text)
	return err
}

// Line reads one line and returns it without its end.
func (c *Client) Line() (string, error) {
	c.SetDeadline(time.Now().Add(ioTimeout))
	line, err := c.r.ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

// Reply reads an SMTP reply, whose lines it joins with "\n"; of other protocols one line.
func (c *Client) Reply() (string, error) {
	var reply strings.Builder
	for {
		line, err := c.Line()
		if err != nil {
			return reply.String(), err
		}
		reply.WriteString(line)
		if len(line) < 4 || line[3] != '-' || strings.Trim(line[:3], "0123456789") != "" {
			return reply.String(), nil
		}
		reply.WriteByte('\n')
	}
}

// Ask sends a command line and reads the reply.
func (c *Client) Ask(command string) (string, error) {
	if err := c.Put(command + "\r\n"); err != nil {
		return "", err
	}
	return c.Reply()
}

// Expect sends a command line, unless it is empty, and wants a reply that begins so.
func (c *Client) Expect(t TB, command, want string) string {
	t.Helper()
	var reply string
	var err error
	if command == "" {
		reply, err = c.Reply()
	} else {
		reply, err = c.Ask(command)
	}
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	if !strings.HasPrefix(reply, want) {
		t.Fatalf("%s\ngives %s\nwant  %s", command, reply, want)
	}
	return reply
}

// A Refusal is a tagged NO or BAD.
type Refusal string

func (r Refusal) Error() string { return string(r) }

// IMAP sends a command, to which it adds a tag, and returns the untagged
// responses, literals included, and the text behind the tagged OK. Another
// tagged response is a [Refusal].
func (c *Client) IMAP(command string) (untagged []string, ok string, err error) {
	c.tag++
	tag := fmt.Sprintf("a%d ", c.tag)
	if err := c.Put(tag + command + "\r\n"); err != nil {
		return nil, "", err
	}
	return c.Responses(tag)
}

// Responses reads up to the response with the tag.
func (c *Client) Responses(tag string) (untagged []string, ok string, err error) {
	for {
		response, err := c.response()
		if err != nil {
			return untagged, "", err
		}
		rest, tagged := strings.CutPrefix(response, tag)
		if !tagged {
			untagged = append(untagged, response)
			continue
		}
		if text, good := strings.CutPrefix(rest, "OK "); good {
			return untagged, text, nil
		}
		return untagged, "", Refusal(rest)
	}
}

// response reads a line and the literals in it.
func (c *Client) response() (string, error) {
	var all strings.Builder
	for {
		line, err := c.Line()
		if err != nil {
			return "", err
		}
		all.WriteString(line)
		open := strings.LastIndexByte(line, '{')
		if open < 0 || !strings.HasSuffix(line, "}") {
			return all.String(), nil
		}
		size, err := strconv.Atoi(line[open+1 : len(line)-1])
		if err != nil {
			return all.String(), nil
		}
		all.WriteString("\r\n")
		if _, err := io.CopyN(&all, c.r, int64(size)); err != nil {
			return "", err
		}
	}
}

// Login logs in to IMAP as user n.
func (c *Client) Login(n int) error {
	_, _, err := c.IMAP("LOGIN " + User(n) + " " + Password)
	return err
}

// ConnectIMAP returns a session of user n with a mailbox selected.
func ConnectIMAP(t TB, addr string, n int, mailbox string) *Client {
	t.Helper()
	c := Connect(t, addr)
	if err := c.Login(n); err != nil {
		t.Fatalf("login: %v", err)
	}
	c.Must(t, "SELECT "+mailbox)
	return c
}

// Must is [Client.IMAP] for commands that must succeed.
func (c *Client) Must(t TB, command string) (untagged []string, ok string) {
	t.Helper()
	untagged, ok, err := c.IMAP(command)
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return untagged, ok
}
