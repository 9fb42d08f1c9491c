package postscreen

import (
	"context"
	"net"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// A session is the screening of one connection.
type session struct {
	srv    *Server
	ctx    context.Context
	conn   net.Conn
	addr   netip.Addr
	label  string // [address]:port
	port   string
	local  netip.AddrPort
	client *client

	due, passed, failed, over testSet // tests: to be done, and how they went
	fresh                     bool    // a test was never done before
	denied, veto              bool    // by the access list; by the interface that it came to
	keep                      bool    // the connection is not given away
	hungUp                    bool
	final                     string // last reply
	rcptReply                 string // to RCPT
	began                     time.Time
	phase                     string

	dialogue
}

// screen tests a client.
func (s *Server) screen(ctx context.Context, conn net.Conn) {
	if conn = s.unwrap(conn); conn == nil {
		return
	}
	ses := &session{
		srv: s, ctx: ctx, conn: conn, began: s.now(),
		final: "421 4.3.2 Service currently unavailable", rcptReply: "450 4.3.2 Service currently unavailable",
	}
	ses.identify()
	s.enter(ses)
	defer func() {
		if p := recover(); p != nil {
			s.log.Errorf("panic: session with %s: %v\n%s", ses.label, p, debug.Stack())
			conn.Close()
		}
		s.leave(ses)
	}()
	ses.run()
}

func (s *session) identify() {
	if tcp, ok := s.conn.RemoteAddr().(*net.TCPAddr); ok {
		ap := tcp.AddrPort()
		s.addr, s.port = ap.Addr().Unmap().WithZone(""), strconv.Itoa(int(ap.Port()))
	}
	if tcp, ok := s.conn.LocalAddr().(*net.TCPAddr); ok {
		s.local = netip.AddrPortFrom(tcp.AddrPort().Addr().Unmap().WithZone(""), tcp.AddrPort().Port())
	}
	s.label = "[" + s.addr.String() + "]:" + s.port
}

// run does the tests that are due, and ends the session.
func (s *session) run() {
	s.log("CONNECT from %s to [%s]:%d", s.label, s.local.Addr(), s.local.Port())
	if !s.admit() || !s.remember() || !s.mayWait() {
		return
	}
	switch {
	case s.due&earlyTests != 0:
		s.early()
	case s.due&lateTests != 0 || s.keep:
		s.talk()
	default:
		s.conclude()
	}
}

func (s *session) log(format string, args ...any) { s.srv.log.Infof(format, args...) }

// admit checks limits and the access list; false: the session is over.
func (s *session) admit() bool {
	srv := s.srv
	if limit := srv.set.ClientConnectionCountLimit; limit > 0 && s.concurrency() > limit {
		s.log("NOQUEUE: reject: CONNECT from %s: too many connections", s.label)
		return s.dropWith("421 4.7.0 Error: too many connections")
	}
	if _, passing := srv.load(); srv.set.PostQueueLimit > 0 && passing >= srv.set.PostQueueLimit {
		s.log("NOQUEUE: reject: CONNECT from %s: all server ports busy", s.label)
		return s.dropWith("421 4.3.2 All server ports are busy")
	}
	switch srv.access.evaluate(s.ctx, s.addr) {
	case allowed:
		s.log("%sLISTED %s", srv.word("ALLOW", "WHITE"), s.label)
		s.conclude()
		return false
	case denied:
		s.log("%sLISTED %s", srv.word("DENY", "BLACK"), s.label)
		switch srv.denylist {
		case drop:
			s.denied = true
			return s.dropWith("521 5.3.2 Service currently unavailable")
		case enforce:
			s.denied = true
			s.refuse("550 5.3.2 Service currently unavailable")
		}
	}
	return true
}

// word chooses by respectful_logging.
func (srv *Server) word(respectful, old string) string {
	if srv.set.RespectfulLogging {
		return respectful
	}
	return old
}

func (s *session) concurrency() int {
	s.srv.mu.Lock()
	defer s.srv.mu.Unlock()
	return s.client.sessions
}

// remember finds which tests are due; false: none is, and the session is over. Sessions at the same time share what was found.
func (s *session) remember() bool {
	srv := s.srv
	cached, known := stamps{}, false
	if !s.denied && srv.cache != nil {
		cached, known = srv.cache.lookup(s.addr)
	}
	now := srv.now().Unix()
	srv.mu.Lock()
	switch {
	case known && s.client.sessions == 1:
		s.client.until = cached
		s.due, s.fresh = s.client.until.todo(srv.enabled, now)
	case s.client.sessions > 1:
		known = false
		s.due, s.fresh = s.client.until.todo(srv.enabled, now)
	default:
		s.client.until = stamps{}
		s.due, s.fresh = srv.enabled, true
	}
	srv.mu.Unlock()
	if known && s.due == 0 {
		s.log("PASS OLD %s", s.label)
		s.conclude()
		return false
	}
	return true
}

// mayWait is false when the session is over, as too many are tested.
func (s *session) mayWait() bool {
	srv := s.srv
	if match, err := srv.earning.MatchAddr(s.ctx, "", s.local.Addr()); err != nil || !match {
		s.veto, s.keep = true, true
		s.log("%sLIST VETO %s", srv.word("ALLOW", "WHITE"), s.label)
	}
	if sessions, _ := srv.load(); srv.set.PreQueueLimit > 0 && sessions >= srv.set.PreQueueLimit {
		s.log("reject: connect from %s: all screening ports busy", s.label)
		return s.dropWith("421 4.3.2 All screening ports are busy")
	}
	return true
}

// setUntil notes until when a test need not be done again.
func (s *session) setUntil(t test, until int64) {
	s.srv.mu.Lock()
	s.client.until[t] = until
	s.srv.mu.Unlock()
}

func (s *session) pass(t test, ttl time.Duration) {
	s.passed |= setOf(t)
	s.setUntil(t, s.srv.now().Add(ttl).Unix())
}

// refuse has the mail of the client refused.
func (s *session) refuse(reply string) {
	s.rcptReply = reply
	s.keep = true
}

// dropWith ends the session with a reply. It returns false, for callers that go on otherwise.
func (s *session) dropWith(reply string) bool {
	s.keep = true
	s.final = reply
	s.conclude()
	return false
}

// hangup ends the session of a client that has gone.
func (s *session) hangup() {
	s.hungUp, s.keep = true, true
	s.log("HANGUP after %s from %s in %s", seconds(s.srv.now().Sub(s.began)), s.label, s.phase)
	s.conclude()
}

// begin begins a phase.
func (s *session) begin(phase string) { s.phase, s.began = phase, s.srv.now() }

// conclude remembers the client if it passed, and gives its connection away or closes it.
func (s *session) conclude() {
	if s.failed != 0 || s.denied || s.veto {
		s.passed = 0
	}
	if s.passed != 0 {
		s.conclusion()
	}
	if s.keep {
		if !s.hungUp {
			s.send(s.final)
		}
		s.log("DISCONNECT %s", s.label)
		s.srv.leave(s)
		s.conn.Close()
		return
	}
	s.srv.leave(s)
	if err := s.srv.giveAway(s.conn); err != nil {
		s.srv.log.Warningf("cannot pass connection to service %s: %v", s.srv.shared.SMTPDService, err)
		s.send("421 4.3.2 All server ports are busy")
		s.conn.Close()
	}
}

// conclusion logs that the client passed all tests, and remembers it for those that it did pass.
func (s *session) conclusion() {
	srv := s.srv
	srv.mu.Lock()
	if s.passed == s.due {
		word := "OLD"
		if s.fresh {
			if s.client.passed++; s.client.passed == 1 {
				word = "NEW"
			}
		}
		s.log("PASS %s %s", word, s.label)
	}
	for t := range testCount {
		if !srv.enabled.has(t) && s.client.until[t] == stampNew {
			s.client.until[t] = stampDisabled
		}
	}
	until := s.client.until
	srv.mu.Unlock()
	if srv.cache != nil {
		srv.cache.update(s.addr, until)
	}
}

// writeTimeout bounds a reply to a client that does not read.
const writeTimeout = 5 * time.Second

// send sends a reply; false: the client is gone.
func (s *session) send(text string) bool {
	s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)) //nolint:errcheck // writing tells
	_, err := s.conn.Write(s.reply(text))
	return err == nil
}

// reply makes what goes over the wire from "550 5.7.1 text".
func (s *session) reply(text string) []byte {
	if s.srv.core.SoftBounce && text[0] == '5' {
		text = soften(text)
	}
	if text[0] != '4' && text[0] != '5' {
		return append([]byte(text), "\r\n"...)
	}
	r := smtp.Reply{Code: int(text[0]-'0')*100 + int(text[1]-'0')*10 + int(text[2]-'0'), Text: text[4:]}
	if e, used := smtp.ParseEnhanced(r.Text); used > 0 {
		r.Enhanced, r.Text = e, strings.TrimLeft(r.Text[used:], " ")
	}
	return s.withFooter(text, r).Append(nil)
}

// soften makes a permanent refusal a temporary one (soft_bounce).
func soften(text string) string {
	b := []byte(text)
	for _, i := range []int{0, 4} {
		if i < len(b) && b[i] == '5' {
			b[i] = '4'
		}
	}
	return string(b)
}

// seconds shows a time with two significant digits, and at most two behind the point.
func seconds(d time.Duration) string {
	d = max(d, 0)
	digits := 2
	switch {
	case d >= 10*time.Second:
		digits = 0
	case d >= time.Second:
		digits = 1
	}
	text := strconv.FormatFloat(d.Seconds(), 'f', digits, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}
