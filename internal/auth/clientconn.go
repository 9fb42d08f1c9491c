package auth

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
	"github.com/dovetail-mail/dovetail/internal/auth/wire"
	"github.com/dovetail-mail/dovetail/internal/sasl"
)

const (
	// requestTimeout is how long a request waits for its client, and a
	// successful one for its confirmation.
	requestTimeout = 150 * time.Second

	// sweepInterval is how often requests are looked at for that.
	sweepInterval = 10 * time.Second

	// maxRequests bounds the requests under way on one connection.
	maxRequests = 8192

	// writeTimeout is how long a peer may leave its replies unread.
	writeTimeout = 60 * time.Second
)

// A clientConn is a connection of the client protocol.
type clientConn struct {
	shared *shared
	conn   net.Conn
	kind   Kind
	cuid   uint32
	cookie string
	r      *wire.Reader
	w      *wire.Writer
	held   bool
	ctx    context.Context

	mu       sync.Mutex
	pid      uint32
	requests map[uint32]*request
	sweeper  *time.Timer
	closed   bool
}

func newClientConn(s *Server, conn net.Conn, kind Kind) *clientConn {
	var cookie [16]byte
	rand.Read(cookie[:])
	return &clientConn{
		shared: s.shared, conn: conn, kind: kind,
		cuid:     s.shared.lastCUID.Add(1),
		cookie:   hex.EncodeToString(cookie[:]),
		r:        wire.NewReader(conn),
		w:        wire.NewWriter(deadlineWriter{conn}),
		requests: make(map[uint32]*request),
	}
}

// server is the one in force.
func (c *clientConn) server() *Server { return c.shared.present.Load() }

// A deadlineWriter gives up on a peer that does not read.
type deadlineWriter struct{ net.Conn }

func (w deadlineWriter) Write(b []byte) (int, error) {
	if err := w.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return w.Conn.Write(b)
}

// serve reads commands until the connection ends.
func (c *clientConn) serve(ctx context.Context) {
	c.ctx = ctx
	var err error
	defer func() { c.close(ctx, err) }()
	err = c.w.Append(c.appendHandshake)
	ready := false
	for err == nil {
		var line []byte
		if line, err = c.r.Next(); err != nil {
			break
		}
		if !c.held && c.r.Buffered() {
			c.w.Hold()
			c.held = true
		}
		switch {
		case ready:
			err = c.command(line)
		default:
			ready, err = c.handshake(line)
		}
		if c.held && (err != nil || !c.r.Buffered()) {
			c.held = false
			err = errors.Join(err, c.w.Release())
		}
	}
}

// close drops all requests.
func (c *clientConn) close(ctx context.Context, err error) {
	c.mu.Lock()
	c.closed = true
	pending := len(c.requests)
	c.requests = nil
	if c.sweeper != nil {
		c.sweeper.Stop()
	}
	c.mu.Unlock()
	c.conn.Close()
	c.server().removeLogin(c)
	if pending > 0 && ctx.Err() == nil && !errors.Is(err, errProtocol) {
		reason := "EOF"
		if err != nil && !errors.Is(err, io.EOF) {
			reason = err.Error()
		}
		c.server().log.Errorf("auth client %d disconnected with %d pending requests: %s", c.pid, pending, reason)
	}
}

// appendHandshake appends what the server says first.
func (c *clientConn) appendHandshake(b []byte) []byte {
	b = append(b, "VERSION\t1\t2\n"...)
	for _, m := range c.server().mechs {
		if m.Flags&sasl.Private != 0 && c.kind != KindLogin {
			continue
		}
		b = append(append(b, "MECH\t"...), m.Name...)
		for _, flag := range m.Flags.Names() {
			b = append(append(b, '\t'), flag...)
		}
		b = append(b, '\n')
	}
	b = wire.AppendID(append(b, "SPID"...), uint32(os.Getpid()))
	b = wire.AppendID(append(b, "\nCUID"...), c.cuid)
	b = append(append(b, "\nCOOKIE\t"...), c.cookie...)
	return append(b, "\nDONE\n"...)
}

// errProtocol ends a connection after a mistake of the peer, which has been
// logged.
var errProtocol = errors.New("auth: protocol error")

// bug logs a mistake of the peer.
func (c *clientConn) bug(format string, args ...any) error {
	c.server().log.Errorf("BUG: Authentication client "+format, args...)
	return errProtocol
}

// handshake handles VERSION and CPID, the client's first two lines.
func (c *clientConn) handshake(line []byte) (ready bool, err error) {
	verb, rest, _ := wire.Cut(line)
	switch string(verb) {
	case "VERSION":
		major, _, _ := wire.Cut(rest)
		if n, ok := wire.ParseID(major); !ok || n != wire.ClientMajor {
			c.server().log.Errorf("Authentication client not compatible with this server (mixed old and new binaries?)")
			return false, errProtocol
		}
		return false, nil
	case "CPID":
		pid, ok := wire.ParseID(rest)
		if !ok || pid == 0 {
			return false, c.bug("said it's PID 0")
		}
		if c.kind != KindLogin {
			c.server().debugf("auth client connected (pid=0)")
			return true, nil // its pid is nobody's business, so it cannot be in the way of others
		}
		c.pid = pid
		if !c.server().addLogin(c) {
			return false, c.bug("gave a PID %d of existing connection", pid)
		}
		c.server().debugf("auth client connected (pid=%d)", pid)
		return true, nil
	}
	return false, c.bug("sent unknown handshake command: %s", shown(line))
}

// commands of the client protocol.
var clientCommands = map[string]func(c *clientConn, args []byte) error{
	"AUTH":   (*clientConn).auth,
	"CONT":   (*clientConn).cont,
	"CANCEL": (*clientConn).cancel,
}

func (c *clientConn) command(line []byte) error {
	verb, args, hasArgs := wire.Cut(line)
	handler := clientCommands[string(verb)]
	if handler == nil || !hasArgs {
		return c.bug("sent unknown command: %s", shown(line))
	}
	c.debugIn(string(verb), line)
	return handler(c, args)
}

// auth starts a request.
func (c *clientConn) auth(args []byte) error {
	req, err := c.parseAuth(args)
	if err != nil {
		return err
	}
	c.mu.Lock()
	_, used := c.requests[req.id]
	full := len(c.requests) >= maxRequests
	if !used && !full {
		c.requests[req.id] = req
		c.sweepLater()
	}
	c.mu.Unlock()
	switch {
	case used:
		return c.bug("%d sent a duplicate ID %d", c.pid, req.id)
	case full:
		return c.send(func(b []byte) []byte {
			return append(wire.AppendID(append(b, "FAIL"...), req.id), "\tcode=temp_fail\n"...)
		})
	}
	req.guard(req.begin)
	return nil
}

// cont continues a request.
func (c *clientConn) cont(args []byte) error {
	idText, data, ok := wire.Cut(args)
	id, idOK := wire.ParseID(idText)
	if !ok || !idOK {
		return c.bug("sent broken CONT request")
	}
	c.mu.Lock()
	req := c.requests[id]
	at := stateDone
	if req != nil {
		at = req.state
	}
	switch at {
	case stateWaiting:
		req.state = stateBusy
	case stateBusy:
		delete(c.requests, id)
	}
	c.mu.Unlock()
	switch at {
	case stateWaiting:
		req.guard(func() { req.proceed(data) })
		return nil
	case stateDone:
		return c.refuse(id, "", "Authentication request timed out")
	}
	// What is known of the user belongs to whoever works on the request.
	(&request{conn: c, Request: db.Request{Mechanism: req.Mechanism, Remote: req.Remote, Session: req.Session, Log: req.Log}}).infof("Unexpected continuation")
	return c.refuse(id, "", "Unexpected continuation")
}

// cancel drops a request. There is no answer.
func (c *clientConn) cancel(args []byte) error {
	id, ok := wire.ParseID(args)
	if !ok {
		return c.bug("sent broken CANCEL")
	}
	c.mu.Lock()
	delete(c.requests, id)
	c.mu.Unlock()
	return nil
}

// refuse sends a failure that was decided before any database was asked.
func (c *clientConn) refuse(id uint32, code, reason string) error {
	return c.send(func(b []byte) []byte {
		b = wire.AppendID(append(b, "FAIL"...), id)
		if code != "" {
			b = wire.AppendField(b, "code", code)
		}
		b = wire.AppendField(b, "reason", reason)
		return append(b, '\n')
	})
}

// finish forgets req, or keeps it for its confirmation, and writes the line that
// send makes. It does nothing for a request that was dropped meanwhile.
func (c *clientConn) finish(req *request, confirm bool, send func(b []byte) []byte) {
	// Made before anybody may confirm the request: it is that one's then.
	line := send(make([]byte, 0, 128))
	c.mu.Lock()
	if c.requests[req.id] != req {
		c.mu.Unlock()
		return
	}
	if confirm {
		req.state = stateDone
		req.since = time.Now()
		req.Password = ""
		req.exchange = nil
	} else {
		delete(c.requests, req.id)
	}
	c.mu.Unlock()
	if c.send(func(b []byte) []byte { return append(b, line...) }) != nil {
		c.conn.Close()
	}
}

// challenge sends a challenge and lets req wait for the answer.
func (c *clientConn) challenge(req *request, data []byte) {
	c.mu.Lock()
	if c.requests[req.id] != req {
		c.mu.Unlock()
		return
	}
	req.state = stateWaiting
	req.since = time.Now()
	c.mu.Unlock()
	err := c.send(func(b []byte) []byte {
		b = wire.AppendID(append(b, "CONT"...), req.id)
		b = wire.AppendBase64(append(b, '\t'), data)
		return append(b, '\n')
	})
	if err != nil {
		c.conn.Close()
	}
}

// take removes a successful request for its confirmation.
func (c *clientConn) take(id uint32) *request {
	c.mu.Lock()
	defer c.mu.Unlock()
	req := c.requests[id]
	if req == nil || req.state != stateDone {
		return nil
	}
	delete(c.requests, id)
	return req
}

// sweepLater arms the timer that drops old requests. It is called with the
// lock held.
func (c *clientConn) sweepLater() {
	switch {
	case c.closed || len(c.requests) != 1:
	case c.sweeper == nil:
		c.sweeper = time.AfterFunc(sweepInterval, c.sweep)
	default:
		c.sweeper.Reset(sweepInterval)
	}
}

// sweep drops requests that wait for too long.
func (c *clientConn) sweep() {
	old := time.Now().Add(-requestTimeout)
	var late []uint32
	c.mu.Lock()
	for id, req := range c.requests {
		if req.state == stateBusy || req.since.After(old) {
			continue
		}
		delete(c.requests, id)
		if req.state == stateWaiting {
			late = append(late, id)
		}
	}
	if !c.closed && len(c.requests) > 0 {
		c.sweeper.Reset(sweepInterval)
	}
	c.mu.Unlock()
	for _, id := range late {
		c.refuse(id, "", "Authentication request timed out") //nolint:errcheck // the reader notices too
	}
}

// addLogin registers a login process, whose requests can be confirmed.
func (s *Server) addLogin(c *clientConn) bool {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	if s.shared.logins[c.pid] != nil {
		return false
	}
	s.shared.logins[c.pid] = c
	return true
}

func (s *Server) removeLogin(c *clientConn) {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	if s.shared.logins[c.pid] == c {
		delete(s.shared.logins, c.pid)
	}
}

func (s *Server) login(pid uint32) *clientConn {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	return s.shared.logins[pid]
}
