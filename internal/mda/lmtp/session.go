package lmtp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/haproxy"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/rawlog"
	"github.com/dovetail-mail/dovetail/internal/smtp"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

const (
	maxLine     = 4096 // command line, as Dovecot's limit for parameters
	maxBad      = 10   // bad commands in a row before the client is sent away
	maxRcpts    = 1000 // recipients of one message
	keepReplies = 512  // largest buffer of replies that an idle session keeps
	idleTimeout = 5 * time.Minute
)

// A session serves one client. It belongs to one goroutine.
type session struct {
	srv    *Server
	conn   net.Conn // as accepted
	tls    *tls.Conn
	stream net.Conn // what lines go over: one of both, or with a record
	in     *smtp.Reader
	out    []byte
	state  state
	ended  string // why the session is over; empty while it is not
	bad    int

	local, remote netip.AddrPort // the latter as told by a trusted proxy
	trusted       bool
	ttl           int // how many proxies the message may still pass through, if hasTTL
	hasTTL        bool
	helo          string
	tlsSession    string // description for the Received field
	peer          string // for log lines

	number   uint64 // of the connection
	id       string // of the session; messages add :T2, :T3 ...
	trans    int    // messages so far
	mail     *transaction
	stopping atomic.Bool // ctx has ended
}

// state is what the client does, as the log shows it at the end.
type state string

const (
	stateGreeting state = "GREETING"
	stateReady    state = "READY"
	stateMail     state = "MAIL FROM"
	stateRcpt     state = "RCPT TO"
	stateData     state = "DATA"
)

func newSession(s *Server, conn net.Conn) *session {
	c := &session{srv: s, conn: conn, state: stateGreeting, id: newSessionID(s.pid), number: s.clients.Add(1)}
	c.local, c.remote = addrPort(conn.LocalAddr()), addrPort(conn.RemoteAddr())
	c.trusted = s.trusted.Contains(c.remote.Addr())
	c.peer = "local"
	if c.remote.IsValid() {
		c.peer = c.remote.Addr().String()
	}
	return c
}

// balanced takes what a load balancer says of the connection. Whether the client is trusted is not decided by that but
// by the connection itself, as Dovecot does: by who may do XCLIENT.
func (c *session) balanced(h *haproxy.Header) {
	if h.Client.IsValid() {
		c.local, c.remote = h.Server, h.Client
		c.peer = c.remote.Addr().String()
	}
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// run serves the client to its end.
func (c *session) run(ctx context.Context, l Listener) {
	c.logLine("Connect from ", c.peer)
	defer func() {
		c.logLine("Disconnect from ", c.peer, ": ", c.ended, " (state=", string(c.state), ")")
	}()
	stop := context.AfterFunc(ctx, func() {
		c.stopping.Store(true)
		c.conn.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // wakes the reader
	})
	defer stop()
	c.record(c.conn, l.TLS)
	c.in = smtp.NewReader(c.stream, maxLine)
	c.in.SetTimeout(idleTimeout)
	c.in.SetStop(&c.stopping)
	if l.TLS && !c.startTLS(ctx) {
		return
	}
	c.greet()
	for c.ended == "" {
		if c.in.Buffered() == 0 {
			c.flush()
		}
		line, err := c.in.ReadLine()
		if err != nil {
			c.readFailed(err)
			continue
		}
		c.command(ctx, line)
	}
	c.flush()
	if c.tls != nil {
		c.tls.CloseWrite() //nolint:errcheck // close_notify is a courtesy
	}
}

// close drops what the session holds.
func (c *session) close() {
	c.reset()
	if c.in != nil {
		c.in.Release()
		rawlog.End(c.stream)
	}
}

func (c *session) logLine(parts ...string) {
	c.srv.log.Append(maillog.Info, func(b []byte) []byte {
		for _, p := range parts {
			b = append(b, p...)
		}
		return b
	})
}

func (c *session) reply(r smtp.Reply) { c.out = r.Append(c.out) }

// flush sends the replies that have gathered.
func (c *session) flush() {
	if len(c.out) == 0 {
		return
	}
	c.conn.SetWriteDeadline(time.Now().Add(idleTimeout)) //nolint:errcheck // the write shows it
	_, err := c.stream.Write(c.out)
	if c.out = c.out[:0]; cap(c.out) > keepReplies {
		c.out = nil
	}
	if err != nil && c.ended == "" {
		c.ended = endClosed
	}
}

// record makes conn what lines go over, with a record in lmtp_rawlog_dir unless they are
// not to be read there.
func (c *session) record(conn net.Conn, encrypted bool) {
	c.stream = conn
	if encrypted {
		return
	}
	c.stream = c.recorded(conn, "lmtp_rawlog_dir", c.srv.set.RawlogDir)
}

// recorded returns conn with its record in the directory of a setting, which may have variables.
func (c *session) recorded(conn net.Conn, setting, dir string) net.Conn {
	dir, err := dovecot.ExpandVars(dir, c.vars())
	if err == nil {
		conn, err = rawlog.Record(conn, dir)
	}
	if err != nil {
		c.srv.log.Errorf("%s: %v", setting, err)
	}
	return conn
}

// readFailed answers a line that could not be read. Only one that was too long
// leaves the session usable.
func (c *session) readFailed(err error) {
	switch {
	case errors.Is(err, smtp.ErrLineTooLong):
		c.fail(replyLineTooLong)
	case c.stopping.Load():
		c.shutdown()
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.sendAway(421, smtp.Enhanced{4, 4, 2}, endIdle)
	default:
		c.ended = endClosed
	}
}

func (c *session) shutdown() { c.sendAway(421, smtp.Enhanced{4, 3, 2}, endShutdown) }

// sendAway ends the session with a reply.
func (c *session) sendAway(code int, enhanced smtp.Enhanced, why string) {
	c.reply(smtp.Reply{Code: code, Enhanced: enhanced, Text: c.srv.host + " " + why})
	c.ended = why
}

func (c *session) greet() {
	text, _ := dovecot.ExpandVars(c.srv.set.Greeting, c.vars()) // an unknown variable shows as such
	c.reply(smtp.Reply{Code: 220, Text: c.srv.host + " " + text})
}

// vars are the variables of settings that are expanded for each client.
func (c *session) vars() *dovecot.Vars {
	return &dovecot.Vars{Table: []dovecot.Var{
		{Key: 'u', Name: "user"}, {Key: 'n', Name: "username"}, {Key: 'd', Name: "domain"}, {Key: 's', Name: "service", Value: "lmtp"},
		{Key: 'l', Name: "lip", Value: addrText(c.local)}, {Key: 'r', Name: "rip", Value: addrText(c.remote)},
		{Key: 'p', Name: "pid", Value: strconv.Itoa(c.srv.pid)}, {Name: "session", Value: c.id}, {Name: "local_name"},
	}}
}

func addrText(ap netip.AddrPort) string {
	if !ap.IsValid() {
		return ""
	}
	return ap.Addr().String()
}

// commands are those a client may use. Where noArgs is set, arguments are an error.
var commands = map[string]struct {
	serve  func(*session, context.Context, []byte)
	noArgs bool
}{
	"LHLO":     {(*session).cmdLhlo, false},
	"MAIL":     {(*session).cmdMail, false},
	"RCPT":     {(*session).cmdRcpt, false},
	"DATA":     {(*session).cmdData, true},
	"BDAT":     {(*session).cmdBdat, false},
	"RSET":     {(*session).cmdRset, true},
	"NOOP":     {(*session).cmdNoop, false},
	"VRFY":     {(*session).cmdVrfy, false},
	"QUIT":     {(*session).cmdQuit, true},
	"STARTTLS": {(*session).cmdStartTLS, true},
	"XCLIENT":  {(*session).cmdXClient, false},
}

// maxVerb is longer than any command.
const maxVerb = 16

func (c *session) command(ctx context.Context, line []byte) {
	verb, args, _ := bytes.Cut(line, []byte{' '})
	var name [maxVerb]byte
	if len(verb) > len(name) {
		c.fail(replySyntax)
		return
	}
	cmd, ok := commands[string(appendUpper(name[:0], verb))]
	if !ok {
		c.fail(replyUnknown)
		return
	}
	if cmd.noArgs && len(args) > 0 {
		c.fail(replyParams)
		return
	}
	bad := c.bad
	cmd.serve(c, ctx, args)
	if c.bad == bad {
		c.bad = 0
	}
}

func appendUpper(b, name []byte) []byte {
	for _, ch := range name {
		if 'a' <= ch && ch <= 'z' {
			ch -= 'a' - 'A'
		}
		b = append(b, ch)
	}
	return b
}

// fail answers a command that was used wrongly. One of them too many ends the
// session.
func (c *session) fail(r smtp.Reply) {
	if c.bad++; c.bad > maxBad {
		c.sendAway(421, smtp.Enhanced{4, 7, 0}, endBad)
		return
	}
	c.reply(r)
}

func (c *session) cmdLhlo(_ context.Context, args []byte) {
	name, _, _ := bytes.Cut(bytes.TrimLeft(args, " "), []byte{' '})
	if len(name) == 0 {
		c.fail(replyNoHost)
		return
	}
	c.helo = heloName(name)
	c.reset()
	c.state = stateReady
	text := c.srv.host + "\n8BITMIME\nCHUNKING\nENHANCEDSTATUSCODES\nPIPELINING"
	if c.srv.tls != nil && c.tls == nil {
		text += "\nSTARTTLS"
	}
	if c.trusted {
		text += "\nXCLIENT ADDR PORT PROTO HELO LOGIN SESSION TTL TIMEOUT\nXRCPTFORWARD"
	}
	c.reply(smtp.Reply{Code: 250, Text: text})
}

// maxHelo is the longest name that comes into the Received field.
const maxHelo = 255

// heloName is the client's name as far as it can stand in a header field.
func heloName(name []byte) string {
	if len(name) > maxHelo {
		return ""
	}
	for _, ch := range name {
		if ch <= ' ' || ch >= 0x7f || ch == '(' || ch == ')' {
			return ""
		}
	}
	return string(name)
}

func (c *session) cmdRset(context.Context, []byte) {
	c.reset()
	c.reply(replyOK)
}

func (c *session) cmdNoop(context.Context, []byte) { c.reply(replyOK) }

func (c *session) cmdVrfy(_ context.Context, args []byte) {
	if len(args) == 0 {
		c.fail(replyParams)
		return
	}
	c.reply(replyVrfy)
}

func (c *session) cmdQuit(context.Context, []byte) {
	c.reply(replyBye)
	c.ended = endLogout
}

func (c *session) cmdStartTLS(ctx context.Context, _ []byte) {
	switch {
	case c.tls != nil:
		c.fail(replyTLSActive)
		return
	case c.srv.tls == nil:
		c.fail(replyUnknown)
		return
	}
	c.reply(replyTLS)
	c.flush()
	if c.ended == "" && c.startTLS(ctx) {
		c.reset()
		c.helo, c.state = "", stateGreeting
	}
}

// startTLS does the handshake. Plain text that came before it is dropped.
func (c *session) startTLS(ctx context.Context) bool {
	rawlog.End(c.stream)
	c.tls = tls.Server(c.conn, c.srv.tls)
	c.conn.SetDeadline(time.Now().Add(idleTimeout)) //nolint:errcheck // the handshake shows it
	if err := c.tls.HandshakeContext(ctx); err != nil {
		c.srv.log.Errorf("TLS handshake with %s failed: %v", c.peer, err)
		c.ended = endTLS
		c.out = nil
		return false
	}
	c.tlsSession = tlsconf.Describe(c.tls.ConnectionState()).String()
	c.record(c.tls, false)
	c.in.Reset(c.stream, maxLine)
	return true
}
