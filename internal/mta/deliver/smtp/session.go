package smtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	wire "github.com/dovetail-mail/dovetail/internal/smtp"
)

// extensions are those a server offers.
type extensions uint16

const (
	extPipelining extensions = 1 << iota
	ext8BitMIME
	extSize
	extStartTLS
	extDSN
	extSMTPUTF8
	extAuth
	extXforward
)

var extensionNames = map[string]extensions{
	"PIPELINING": extPipelining, "8BITMIME": ext8BitMIME, "SIZE": extSize, "STARTTLS": extStartTLS,
	"DSN": extDSN, "SMTPUTF8": extSMTPUTF8, "AUTH": extAuth, "XFORWARD": extXforward,
}

// discardable are the words of smtp_discard_ehlo_keywords in the order in which they are logged.
var discardable = []string{
	"8BITMIME", "AUTH", "ETRN", "PIPELINING", "SIZE", "VERP", "VRFY", "XCLIENT", "XFORWARD", "STARTTLS", "ENHANCEDSTATUSCODES", "DSN", "SMTPUTF8", "CHUNKING",
}

// discarded finds out which extensions are not to be used with the server, and logs them.
func (s *session) discarded(ctx context.Context) (extensions, error) {
	list := s.agent.set.DiscardEHLO
	if s.server.ip.IsValid() && !s.agent.discardMaps.Empty() {
		where := s.server.ip.String()
		words, found, err := s.agent.discardMaps.Lookup(ctx, where)
		if err != nil {
			s.agent.log.Warningf("%s: %s map lookup error for %s", s.message, s.agent.protocol.discardMaps(), where)
			return 0, err
		}
		if found {
			list = words
		}
	}
	words := postfix.SplitList(strings.ToUpper(list))
	var ext extensions
	var names []string
	for _, name := range discardable {
		if slices.Contains(words, name) {
			ext |= extensionNames[name]
			names = append(names, name)
		}
	}
	if len(names) > 0 && !slices.Contains(words, "SILENT-DISCARD") {
		s.agent.log.Infof("discarding EHLO keywords: %s", strings.Join(names, " "))
	}
	return ext, nil
}

// A session is one connection to a server, greeted and ready for mail. It is
// used by one goroutine at a time.
type session struct {
	agent     *Agent
	server    *server
	message   string   // queue ID, for log lines
	nexthop   string   // the destination that the server belongs to
	sock      net.Conn // the connection
	conn      net.Conn // the same, or TLS over it
	cut       atomic.Bool
	r         *wire.Reader
	ext       extensions
	auth      string // mechanisms offered
	xforward  xforwardAttrs
	esmtp     bool // the server is to be spoken to with EHLO or LHLO
	pix       pix
	sizeLimit int64 // the server's SIZE, 0 for none
	tls       tlsState
	loggedIn  bool
	history   history
	unfit     bool // for another message: the server breaks the protocol
	uses      int
	began     time.Time // when the connection was begun
	opened    time.Time // when it was ready
	idleSince time.Time

	armed   time.Time // when the deadline was set
	timeout time.Duration

	raw    syscall.RawConn
	peek   func(fd uintptr) // peekInput, made once
	silent bool             // what it found

	xfer xferWriter
	fold folder

	// Buffers kept for reuse.
	out      []byte // commands
	text     []byte // reply
	rcpts    []int
	accepted []int
}

// connect opens a session. A status says why there is none.
func (t *attempt) connect(ctx context.Context, nexthop string, srv *server) (*session, *deliver.Status) {
	a := t.agent
	policy, failed := a.tls.policyFor(ctx, nexthop, srv)
	if failed != nil {
		return nil, failed
	}
	s, failed, err := t.open(ctx, nexthop, srv, policy)
	if errors.Is(err, errHandshake) && policy.level == tlsMay && t.acceptsPlainText(ctx, s) {
		t.agent.log.Infof("%s: %s", t.req.Message.ID, failed.Text)
		plain := *policy
		plain.level = tlsNone
		s, failed, err = t.open(ctx, nexthop, srv, &plain)
	}
	if failed != nil || err != nil {
		return nil, failed
	}
	return s, nil
}

// acceptsPlainText says whether mail goes in plain text to a server whose TLS
// does not work: when it has waited long enough for that to change, and no
// password would be sent along.
func (t *attempt) acceptsPlainText(ctx context.Context, s *session) bool {
	if time.Since(t.req.Message.Arrival) < t.agent.shared.MinBackoff {
		return false
	}
	if t.agent.sasl == nil {
		return true
	}
	_, found, err := s.credentials(ctx, t.req.Message.Sender)
	return !found && err == nil
}

// open connects and says hello. With an error it returns a session that is
// closed, to tell what it was.
func (t *attempt) open(ctx context.Context, nexthop string, srv *server, policy *tlsPolicy) (*session, *deliver.Status, error) {
	s := &session{agent: t.agent, server: srv, message: t.req.Message.ID, nexthop: nexthop, began: time.Now()}
	if failed := s.dial(ctx); failed != nil {
		return s, failed, nil
	}
	t.watch(s)
	failed, err := t.greet(ctx, s, policy)
	if failed == nil && err == nil && t.agent.sasl != nil {
		failed = t.logIn(ctx, s)
	}
	if failed != nil || err != nil {
		t.watch(nil)
		s.quitAfter(failed)
		t.tellPostmaster(ctx, s)
		return s, failed, err
	}
	s.opened = time.Now()
	return s, nil, nil
}

func (s *session) dial(ctx context.Context) *deliver.Status {
	d := net.Dialer{Timeout: s.agent.set.ConnectTimeout, KeepAlive: -1, Control: s.bind}
	conn, err := d.DialContext(ctx, s.server.network, s.server.address)
	if errors.Is(err, errBind) {
		s.agent.log.Info(errBind.Error())
		return &deliver.Status{Action: deliver.Deferred, Enhanced: wire.Enhanced{4, 4, 0}, Text: errBind.Error(), Relay: "none"}
	}
	if err != nil {
		text := "connect to " + s.server.relay + ": " + reason(err)
		if s.server.network != "unix" && s.agent.trace == nil {
			s.agent.log.Info(text)
		}
		return &deliver.Status{Action: deliver.Deferred, Enhanced: wire.Enhanced{4, 4, 1}, Text: text, Relay: "none", Connected: s.began, Dead: true}
	}
	s.sock, s.conn = conn, conn
	if sc, ok := conn.(syscall.Conn); ok {
		s.raw, _ = sc.SyscallConn()
		s.peek = s.peekInput
	}
	s.r = wire.NewReader(conn, s.agent.shared.LineLengthLimit)
	return nil
}

// errBind is why mail waits when the local address it must leave from is not one
// of this machine's.
var errBind = errors.New("server configuration error")

// bind sets the local address of a connection, as [net.Dialer.Control].
func (s *session) bind(_, _ string, raw syscall.RawConn) error {
	set := s.agent.set
	bind := set.BindAddress
	if s.server.ip.Is6() {
		bind = set.BindAddress6
	}
	if bind == "" || s.server.network != "tcp" {
		return nil
	}
	ip, _ := parseBind(bind) // checked at start
	var err error
	if ctrl := raw.Control(func(fd uintptr) { err = unix.Bind(int(fd), sockaddr(ip)) }); ctrl != nil {
		return ctrl
	}
	if err == nil {
		return nil
	}
	s.agent.log.Warningf("smtp_connect_addr: bind %s: %s", bind, reason(err))
	if set.BindEnforce {
		return errBind
	}
	return nil
}

// sockaddr is an address with any port.
func sockaddr(ip netip.Addr) unix.Sockaddr {
	if ip.Is4() {
		return &unix.SockaddrInet4{Addr: ip.As4()}
	}
	return &unix.SockaddrInet6{Addr: ip.As16()}
}

// checkBind checks the addresses that bind uses.
func (set *Settings) checkBind(p Protocol) error {
	for _, param := range []struct{ name, value string }{
		{"bind_address", set.BindAddress}, {"bind_address6", set.BindAddress6},
	} {
		if _, ok := parseBind(param.value); param.value != "" && !ok {
			return fmt.Errorf("smtp_connect_addr: bad %s%s parameter: %s: Name or service not known", p.prefix(), param.name, param.value)
		}
	}
	return nil
}

func parseBind(text string) (netip.Addr, bool) { return parseIP(strings.Trim(text, "[]")) }

// reason is the cause of a network error in the words of strerror(3).
func reason(err error) string {
	var errno syscall.Errno
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return "Connection timed out"
	}
	text := err.Error()
	if errors.As(err, &errno) {
		text = errno.Error()
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// greet reads the greeting and learns what the server can do, before and after
// STARTTLS.
func (t *attempt) greet(ctx context.Context, s *session, policy *tlsPolicy) (*deliver.Status, error) {
	set := s.agent.set
	if set.TLSWrapper && policy.level >= tlsEncrypt {
		if failed, err := s.handshake(policy); failed != nil {
			return failed, err
		}
	}
	reply, err := s.reply(set.HeloTimeout)
	if err != nil {
		return s.lost(err, "receiving the initial server greeting"), nil
	}
	if reply.code/100 != 2 {
		if reply.code/100 == 5 && set.Skip5xxGreeting {
			reply.dsn[0] = 4
		}
		return s.refused(&reply), nil
	}
	s.pix = t.pixFor(ctx, s, &reply)
	s.esmtp = s.looksESMTP(&reply)
	if failed := s.hello(ctx); failed != nil || s.tls.conn != nil {
		return failed, nil
	}
	failed, err := s.startTLS(policy)
	if failed != nil || s.tls.conn == nil {
		return failed, err
	}
	return s.hello(ctx), nil // what was said in plain text does not count (RFC 3207 4.2)
}

// looksESMTP looks at a greeting: whether EHLO is to be tried, and whether it is this system's own.
func (s *session) looksESMTP(greeting *reply) bool {
	set := s.agent.set
	words := strings.Fields(string(greeting.text[min(len(greeting.text), 4):]))
	esmtp := set.AlwaysSendEHLO
	for i, word := range words {
		if i == 0 && s.server.port == smtpPort && strings.EqualFold(word, s.agent.core.Myhostname) {
			s.agent.log.Warningf("host %s greeted me with my own hostname %s", s.server.relay, s.agent.core.Myhostname)
		}
		esmtp = esmtp || i > 0 && strings.EqualFold(word, "ESMTP")
	}
	return s.agent.protocol == LMTP || esmtp && !set.NeverSendEHLO && !s.pix.noESMTP
}

// hello sends EHLO, or HELO where the server does not know it, or LHLO.
func (s *session) hello(ctx context.Context) *deliver.Status {
	verb := s.helloVerb()
	for {
		s.ext, s.sizeLimit, s.auth = 0, 0, ""
		reply, err := s.ask(verb+" "+s.agent.set.HeloName, s.agent.set.HeloTimeout)
		switch {
		case err != nil:
			return s.lost(err, "performing the "+verb+" handshake")
		case reply.code/100 == 2:
			if failed := s.metMyself(&reply); failed != nil || verb == "HELO" {
				return failed
			}
			discard, err := s.discarded(ctx)
			if err != nil {
				return s.localError()
			}
			s.learn(&reply, discard)
			return nil
		case verb == "EHLO" && reply.code != 421:
			verb, s.esmtp = "HELO", false
		default:
			return s.refused(&reply)
		}
	}
}

// helloVerb is the command that begins the session.
func (s *session) helloVerb() string {
	switch {
	case s.agent.protocol == LMTP:
		return "LHLO"
	case s.esmtp:
		return "EHLO"
	}
	return "HELO"
}

// metMyself says why mail must not go to a server with this system's own name.
func (s *session) metMyself(hello *reply) *deliver.Status {
	words := strings.Fields(string(hello.text[min(len(hello.text), 4):]))
	if s.agent.protocol == LMTP || s.server.port != smtpPort || len(words) == 0 || !strings.EqualFold(words[0], s.agent.core.Myhostname) {
		return nil
	}
	s.agent.log.Warningf("host %s replied to HELO/EHLO with my own hostname %s", s.server.relay, s.agent.core.Myhostname)
	host, _, _ := splitDestination(s.nexthop)
	if s.server.best {
		return s.fail(deliver.Bounced, loopStatus, loops(host))
	}
	return s.fail(deliver.Deferred, wire.Enhanced{4, 4, 6}, loops(host))
}

// learn takes the extensions from the lines of an EHLO reply.
func (s *session) learn(hello *reply, discard extensions) {
	_, lines, _ := strings.Cut(string(hello.text), "\n")
	for line := range strings.SplitSeq(lines, "\n") {
		if len(line) < 4 {
			continue
		}
		// "AUTH=LOGIN" is from a draft that was widely implemented.
		name, args := line[4:], ""
		if i := strings.IndexAny(name, " \t="); i >= 0 {
			name, args = name[:i], strings.Trim(name[i+1:], " \t=")
		}
		ext := extensionNames[strings.ToUpper(name)] &^ discard
		switch ext {
		case extSize: // without a number it is not used, as with Postfix
			limit, err := strconv.ParseUint(args, 10, 63)
			if err != nil {
				if args != "" {
					s.agent.log.Warningf("bad EHLO SIZE limit \"%s\" from %s", args, s.server.relay)
				}
				continue
			}
			s.sizeLimit = int64(limit) //nolint:gosec // it has 63 bits
		case extAuth:
			s.auth += " " + args
		case extXforward:
			s.xforward = parseXforward(args)
		}
		s.ext |= ext
	}
	if s.ext&extSMTPUTF8 != 0 && s.ext&ext8BitMIME == 0 {
		s.agent.log.Infof("host %s offers SMTPUTF8 support, but not 8BITMIME", s.server.name)
		s.ext |= ext8BitMIME
	}
}

// arm sets the deadline of what follows. As that is not free, a deadline of a
// moment ago is left, which is a tenth longer than asked for.
func (s *session) arm(timeout time.Duration) {
	now := time.Now()
	if s.timeout == timeout && now.Sub(s.armed) < timeout/10 {
		return
	}
	s.timeout, s.armed = timeout, now
	s.sock.SetDeadline(now.Add(timeout + timeout/10)) //nolint:errcheck // a connection without deadlines reports that when it is used
	if s.cut.Load() {
		s.sock.SetDeadline(past) //nolint:errcheck // see above
	}
}

// armUntil sets the deadline of what follows.
func (s *session) armUntil(deadline time.Time) {
	s.armed = time.Time{}
	s.sock.SetDeadline(deadline) //nolint:errcheck // see arm
	if s.cut.Load() {
		s.sock.SetDeadline(past) //nolint:errcheck // see arm
	}
}

// interrupt ends all waiting, now and later. Any goroutine may call it.
func (s *session) interrupt() {
	s.cut.Store(true)
	s.sock.SetDeadline(past) //nolint:errcheck // then it is closed, which is as good
}

// past is a deadline that is over.
var past = time.Unix(1, 0)

// send sends what has gathered in s.out.
func (s *session) send(timeout time.Duration) error {
	s.arm(timeout)
	s.said(s.out)
	_, err := s.conn.Write(s.out)
	s.out = s.out[:0]
	return err
}

// ask sends a command and reads the reply.
func (s *session) ask(command string, timeout time.Duration) (reply, error) {
	s.agent.trace.said('>', command)
	s.out = append(append(s.out[:0], command...), '\r', '\n')
	if err := s.send(timeout); err != nil {
		return reply{}, err
	}
	return s.reply(timeout)
}

// alive says whether a kept connection can be used: the server has neither
// closed it nor said anything. Inside TLS that cannot be seen; the first reply tells.
func (s *session) alive() bool {
	if s.raw == nil || s.tls.conn != nil {
		return true
	}
	s.silent = false
	return s.raw.Control(s.peek) == nil && s.silent
}

// peek looks for input without taking it.
func (s *session) peekInput(fd uintptr) {
	var b [1]byte
	_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	s.silent = err == syscall.EAGAIN || err == syscall.EINTR
}

// quit ends the session in order.
func (s *session) quit() {
	set := s.agent.set
	s.out = append(s.out[:0], "QUIT\r\n"...)
	if s.send(set.QuitTimeout) == nil && !set.SkipQuitResponse {
		s.reply(set.QuitTimeout) //nolint:errcheck // the connection is closed either way
	}
	s.close()
}

// leave ends a session that nobody waits for: the answer to QUIT is not awaited.
func (s *session) leave() {
	s.sock.SetDeadline(time.Now().Add(time.Second)) //nolint:errcheck // see arm
	s.said([]byte("QUIT"))
	io.WriteString(s.conn, "QUIT\r\n") //nolint:errcheck // the connection is closed either way
	s.close()
}

// quitAfter ends a session that was refused, in order where the server still listens.
func (s *session) quitAfter(failed *deliver.Status) {
	if s.conn == nil {
		return
	}
	if failed != nil && failed.RemoteCode != "" {
		s.leave()
		return
	}
	s.close()
}

func (s *session) close() {
	if s.conn != nil {
		s.conn.Close() //nolint:errcheck // it is not used any more
		s.r.Release()
	}
}
