package login

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/haproxy"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// loginTimeout is the time a client has to log in.
const loginTimeout = 3 * time.Minute

// maxBad is the number of bad commands that ends a session.
const maxBad = 3

// A protocol is how IMAP or POP3 says what both have in common. It is shared by
// all sessions of a server.
type protocol interface {
	greet(c *session)
	// command serves a command line. It returns false when the session is
	// over: passed on, or ended with finish.
	command(ctx context.Context, c *session, line []byte) bool
	bye(c *session, text string)                   // unasked, before closing
	challenge(c *session, data []byte)             // SASL challenge
	refuse(c *session, f *failure)                 // login command failed
	referral(mech, user, host, port string) string // what a referral begins with
	port(tls bool) uint16                          // the usual one
	proxyDialogue() proxyDialogue                  // with a server that the session is relayed to
}

// A session is one client from connecting to being passed on.
type session struct {
	srv *Server
	*rules
	conn    net.Conn  // as accepted
	tlsConn *tls.Conn // nil without TLS
	gate    *gate     // below it
	done    bool      // its handshake is done
	in      reader
	out     []byte

	// Addresses as told by a trusted proxy, and those of the connection.
	local, remote         netip.AddrPort
	realLocal, realRemote netip.AddrPort

	greeter *rules // the first ones

	id        string
	listener  string
	localName string // TLS server name
	tlsText   string // description of the TLS session or what failed
	secured   bool   // TLS, or as good as it

	fromTrusted bool            // from login_trusted_networks
	cert        certificate     // of the client
	header      *haproxy.Header // of the load balancer before this server, if there is one

	created   time.Time
	user      string // as known so far
	mech      string
	passdb    client.Fields
	attempts  int
	successes int
	firstAuth time.Time
	state     authState
	failCode  string // of the last failed attempt
	mailPID   int
	badCount  int

	tag          string   // IMAP: of the command being served
	args         imapArgs // IMAP
	clientID     []string // IMAP
	askedForCaps bool     // IMAP: CAPABILITY was used
	apop         apopChallenge
	pop3User     string // POP3: from USER
	hasPOP3User  bool

	relay   *relay      // TLS client that was passed on
	relayed *proxyRelay // client of another server

	ttl           uint32 // how many proxies the session may still pass through
	forwardFields []byte // what a trusted proxy tells auth, "name=value" separated by TABs
	idSeen        bool   // IMAP: only the first ID may be a proxy's
	proxyRefused  bool   // the other server refused a login
	written       int64  // bytes sent to the client, since TLS if there is
	ended         bool   // by finish

	busy        atomic.Int32       // idle, or who is waited for
	cancel      context.CancelFunc // ends waiting for the auth server
	interrupted atomic.Pointer[interruption]
	prev, next  *session // of Server.clients
}

// authState is where a session stands, for the reason that is logged when it
// ends there.
type authState uint8

const (
	stateIdle           authState = iota
	stateAuthenticating           // waiting for auth
	stateChallenged               // waiting for the client's SASL response
	statePassing                  // waiting for the mail process
	stateAborted                  // the client gave up an exchange
	stateAuthLost                 // the auth server could not be asked
)

// Who a session waits for, for those who choose one that has to go.
const (
	idle           int32 = iota // the client
	authenticating              // the auth server
	passing                     // the mail process
)

// An interruption ends a session from outside.
type interruption struct{ text, cause string }

// newSession begins a session; h is what a load balancer says of the connection, nil without one.
func newSession(s *Server, conn net.Conn, l Listener, h *haproxy.Header) (*session, error) {
	c := &session{srv: s, conn: conn, listener: l.Name, created: time.Now(), ttl: proxyTTL}
	c.in.conn = conn
	c.args.want = -1
	c.realLocal, c.realRemote = addrPort(conn.LocalAddr()), addrPort(conn.RemoteAddr())
	c.local, c.remote = c.realLocal, c.realRemote
	c.balanced(h)
	c.id = sessionID(c.created, c.remote)
	var err error
	if c.rules, err = s.rulesFor(c.local.Addr(), c.remote.Addr(), ""); err != nil {
		return nil, err
	}
	c.greeter = c.rules
	c.judge()
	conn.SetDeadline(c.created.Add(loginTimeout)) //nolint:errcheck // a closed connection shows in the first read
	if l.TLS {
		c.wrapTLS()
	}
	return c, nil
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// run serves the client until it is passed on or gone.
func (c *session) run(ctx context.Context) {
	if c.tlsConn != nil && !c.handshake(ctx) {
		return
	}
	c.protocol.greet(c)
	for {
		if !c.in.hasLine() && !c.flush() {
			return
		}
		line, err := c.in.line(maxLine)
		if err != nil {
			c.readFailed(err)
			return
		}
		if !c.protocol.command(ctx, c, line) {
			return
		}
	}
}

// flush sends the replies that have gathered.
func (c *session) flush() bool {
	if len(c.out) == 0 {
		return true
	}
	n, err := c.writer().Write(c.out)
	c.written += int64(n)
	if c.out = c.out[:0]; cap(c.out) > smallBuffer {
		c.out = nil
	}
	if err != nil {
		cause := causeClosed
		if i := c.interrupted.Load(); i != nil {
			cause = i.cause
		}
		c.finish(cause)
		return false
	}
	return true
}

func (c *session) writer() io.Writer {
	if c.tlsConn != nil {
		return c.tlsConn
	}
	return c.conn
}

// reply adds a line to what will be sent.
func (c *session) reply(parts ...string) {
	for _, p := range parts {
		c.out = append(c.out, p...)
	}
	c.out = append(c.out, "\r\n"...)
}

// readFailed ends a session whose client cannot be read from.
func (c *session) readFailed(err error) {
	switch {
	case c.interrupted.Load() != nil:
		i := c.interrupted.Load()
		c.end(i.text, i.cause)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.timedOut()
	case errors.Is(err, errTooLong):
		c.end(textInputFull, causeInputFull)
	default:
		c.finish(causeClosed)
	}
}

func (c *session) timedOut() {
	// The deadline is over: the farewell gets a little time of its own.
	if c.state == stateChallenged {
		c.end(textIdleAuth, causeIdleAuth)
		return
	}
	c.end(textIdle, causeIdle)
}

// end says goodbye and ends the session. An empty text is not sent.
func (c *session) end(text, cause string) {
	if text != "" && (c.tlsConn == nil || c.done) {
		c.protocol.bye(c, text)
		c.conn.SetWriteDeadline(time.Now().Add(time.Second)) //nolint:errcheck // the write shows it
		c.writer().Write(c.out)                              //nolint:errcheck // the session ends anyway
		c.out = nil
	}
	c.finish(cause)
}

// finish closes the connection and logs why.
func (c *session) finish(cause string) {
	c.ended = true
	c.logf("Disconnected: " + cause + " " + c.parenthesis(time.Now()))
	if c.tlsConn != nil {
		c.tlsConn.Close() //nolint:errcheck // closes conn too
	}
	c.conn.Close() //nolint:errcheck // nothing depends on it
}

// logf writes a line in the layout of login_log_format.
func (c *session) logf(message string) { c.log(maillog.Info, message) }

func (c *session) log(level maillog.Level, message string) {
	c.srv.log.Append(level, func(b []byte) []byte { return c.format.appendLine(b, message, c) })
}

// logFrame is what stands before and after the rest of messages that begin so, for
// lines that are written when the session is no more.
func (c *session) logFrame(message string) (before, after string) {
	const cut = "\x00"
	before, after, _ = strings.Cut(string(c.format.appendLine(nil, message+cut, c)), cut)
	return before, after
}

// interrupt makes the session end soon, from another goroutine.
func (c *session) interrupt(text, cause string) {
	if c.interrupted.CompareAndSwap(nil, &interruption{text, cause}) {
		c.conn.SetDeadline(time.Unix(1, 0)) //nolint:errcheck // wakes who reads or writes
		if c.busy.Load() != passing {
			c.cancel()
		}
	}
}

// greetingText is login_greeting for this client, as it was before TLS told a name: Dovecot has greeted then.
func (c *session) greetingText() string {
	if c.greeter.greeting != "" {
		return c.greeter.greeting
	}
	defer func(name string) { c.localName = name }(c.localName)
	c.localName = ""
	text, _ := dovecot.ExpandVars(c.greeter.set.Greeting, c.vars()) // checked by newRules
	return text
}

// securedText is %c of log lines.
func (c *session) securedText() string {
	switch {
	case c.tlsConn != nil && c.balancedTLS():
		return "TLS"
	case c.tlsConn != nil && c.tlsText == "":
		return "TLS handshaking"
	case c.tlsConn != nil && !c.done:
		return "TLS handshaking: " + c.tlsText
	case c.tlsConn != nil && c.cert.wrong != "":
		return "TLS: " + c.cert.wrong
	case c.tlsConn != nil:
		return "TLS"
	case c.secured:
		return "secured"
	}
	return ""
}

// startTLS begins TLS in answer to STARTTLS or STLS, whose positive reply has
// been added. What the client sent in plain text after the command is dropped.
func (c *session) startTLS(ctx context.Context) bool {
	if !c.flush() {
		return false
	}
	c.in.discard()
	c.wrapTLS()
	return c.handshake(ctx)
}

func (c *session) wrapTLS() {
	c.gate = &gate{Conn: c.conn}
	if c.header != nil {
		c.gate.Conn = &behind{c.conn, net.TCPAddrFromAddrPort(c.local), net.TCPAddrFromAddrPort(c.remote)}
	}
	c.tlsConn = tls.Server(c.gate, c.rules.tls)
}

func (c *session) handshake(ctx context.Context) bool {
	if err := c.tlsConn.HandshakeContext(ctx); err != nil {
		c.handshakeFailed(err)
		return false
	}
	cs := c.tlsConn.ConnectionState()
	c.in.conn = c.tlsConn
	c.forget()
	c.checkCertificate(cs)
	c.secured, c.done, c.written = true, true, 0
	if cs.ServerName != "" && !c.rename(cs.ServerName) {
		return false
	}
	if c.tlsText = tlsconf.Describe(cs).String(); c.balancedTLS() {
		c.tlsText = balancedText
	}
	return true
}

// rename has the session go on with the settings for the name that the client asked for. It returns false when it is
// over.
func (c *session) rename(localName string) bool {
	c.localName = localName
	r, err := c.srv.rulesFor(c.local.Addr(), c.remote.Addr(), localName)
	if err != nil {
		c.srv.log.Errorf("Error reading configuration: %v", err)
		c.finish(causeTLSInit)
		return false
	}
	c.rules = r
	return true
}

// forget drops what was said in plain text, by whomever (RFC 3501 6.2.1, RFC 2595 4).
func (c *session) forget() {
	c.user, c.pop3User, c.hasPOP3User = "", "", false
	c.clientID, c.askedForCaps = nil, false
	c.forwardFields = nil
}

func (c *session) handshakeFailed(err error) {
	switch {
	case c.interrupted.Load() != nil:
		c.tlsText = textShutdown
		c.finish(c.interrupted.Load().cause)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.tlsText = "Timeout"
		c.finish(causeIdle)
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		c.tlsText = causeClosed
		c.finish(causeClosed)
	default:
		c.tlsText = "SSL_accept() failed: " + err.Error()
		c.finish(causeClosed + ": " + c.tlsText)
	}
}
