package smtpd

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/dovetail-mail/dovetail/internal/haproxy"
	"github.com/dovetail-mail/dovetail/internal/mta/cleanup"
	"github.com/dovetail-mail/dovetail/internal/mta/milter"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/mta/tlsserver"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// A session is the dialogue with one client.
type session struct {
	srv  *Server
	ctx  context.Context
	conn net.Conn
	r    *smtp.Reader
	out  []byte      // replies not yet sent
	idle atomic.Bool // waits for a command, with no transaction open

	client   clientInfo
	upstream haproxy.Header // who the client is, where a proxy says so
	forward  forwardInfo
	tls      tlsserver.Session // zero: no TLS
	login    login
	discard  keywords

	heloName string
	proto    string // "SMTP" or "ESMTP"

	over      bool   // the transaction ends with the reply, which may speak of it
	site      string // of ETRN
	tx        transaction
	msg       *cleanup.Message // from the first recipient on
	filtering *filtering       // in its place, where there is a filter before the queue
	line      string           // the command under way, for that filter
	rcptNow   string           // recipient being looked at, for log lines
	content   content

	milters       *milter.Session // nil: none
	milterBegun   bool            // they have heard of a transaction
	milterRefusal smtp.Reply      // to the recipient that they hear of
	milterAddress resolvedAddress // of macros

	counts       [verbCount]counter
	errors       int
	junk         int
	where        string // what the client did last, for log lines
	contentBytes int64  // received of the content under way; -1: none
	turn         int    // commands until others are served
	closing      bool   // no more commands
	pipelined    bool   // the client did not wait where it must
	denied       string // why every command is refused; empty: not
	deniedReply  smtp.Reply
	early        earlyDefers
	counted      bool // the connection is counted by anvil
	hangup       bool // the connection ends without a reply
	bareLF       bool // a bare LF was noted
	history      history
}

// transaction is what MAIL and RCPT said.
type transaction struct {
	open       bool
	sender     string
	instance   string // names the transaction for policy servers
	auth       string // AUTH=, for the log and policies
	mail       smtp.Mail
	mailLine   string // the MAIL command, for a filter
	local      bool   // from one of local_header_rewrite_clients
	recipients []queue.Recipient
	overshoot  int
	chunks     chunkState
	defers     pendingDefers
	actions    messageActions
	resolved   resolve.Result
	resolvedOf string // recipient that resolved is for
}

// login is who the client is, after AUTH.
type login struct{ method, user string }

func newSession(s *Server) *session {
	return &session{srv: s, r: smtp.NewReader(nil, s.set.LineLengthLimit)}
}

// begin prepares a session, which may have served another connection before.
func (s *session) begin(ctx context.Context, conn net.Conn) {
	s.history.record.Reset()
	*s = session{srv: s.srv, r: s.r, history: history{record: s.history.record}, ctx: ctx, conn: conn, proto: "SMTP", where: "CONNECT", contentBytes: -1, discard: s.srv.discard}
	s.r.Reset(conn, s.srv.set.LineLengthLimit)
	s.r.SetTimeout(s.srv.set.Timeout)
	s.startRequest()
}

// end drops what the session holds.
func (s *session) end() {
	s.conn.Close()
	s.r.Release()
	s.conn, s.ctx = nil, nil
	s.tx = transaction{}
}

// errEnd ends a session that the server has said goodbye to.
var errEnd = errors.New("session over")

// serve speaks with the client until one of both has enough.
func (s *session) serve() {
	defer func() {
		if p := recover(); p != nil {
			s.srv.log.Errorf("panic: session with %s: %v\n%s", s.client.label, p, debug.Stack())
			s.abortMessage()
			s.closeMilters()
			s.release()
		}
	}()
	known := s.readProxy()
	s.identify()
	s.logConnect()
	err := errEnd
	if known {
		err = s.greet()
	}
	for err == nil && !s.closing {
		err = s.next()
	}
	s.finish(err)
}

// finish writes the last lines about a session.
func (s *session) finish(err error) {
	s.abortMessage()
	switch {
	case err == nil || err == errEnd:
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.conn.SetWriteDeadline(time.Now().Add(goodbyeTimeout))
		if s.srv.stopping.Load() {
			s.reply(s.hostReply(421, smtp.Enhanced{4, 3, 2}, "Error: service is shutting down"))
			break
		}
		s.reply(s.hostReply(421, smtp.Enhanced{4, 4, 2}, "Error: timeout exceeded"))
		s.logEnd("timeout")
		s.history.reason = "timeout"
	case s.where != "END-OF-MESSAGE":
		s.logEnd("lost connection")
		s.history.reason = "lost connection"
	}
	if !s.hangup {
		s.flush()
	}
	s.endHistory()
	s.closeMilters()
	s.release()
	s.logDisconnect()
}

// goodbyeTimeout bounds the last reply to a client that was too slow.
const goodbyeTimeout = 5 * time.Second

// greet opens the dialogue.
func (s *session) greet() error {
	if s.srv.set.TLSWrappermode {
		if err := s.wrap(); err != nil || s.closing {
			return err
		}
	}
	if s.r.Poll() > 0 {
		s.logPipelining()
		if s.srv.set.ForbidUnauthPipelining {
			s.reply(replySync)
			return errEnd
		}
	}
	if r, ok := s.admit(); !ok {
		s.reply(r)
		return errEnd
	}
	if !s.srv.set.DelayReject {
		if r, ok := s.checkConnect(); !ok {
			s.deny(r)
			return nil
		}
	}
	s.welcome()
	return nil
}

// deny greets the client with a refusal; every command but QUIT is refused
// from then on. A code x21 ends the session.
func (s *session) deny(r smtp.Reply) {
	s.reply(r)
	s.denied = "Error: access denied for " + s.client.label
	s.deniedReply = reply(503, smtp.Enhanced{5, 7, 0}, s.denied)
}

// next reads and does one command.
func (s *session) next() error {
	if s.errors >= s.srv.set.HardErrorLimit {
		s.reply(s.hostReply(421, smtp.Enhanced{4, 7, 0}, "Error: too many errors"))
		s.logEnd("too many errors")
		s.history.reason = "too many errors"
		return errEnd
	}
	s.startRequest()
	line, err := s.readLine()
	if err != nil {
		return err
	}
	if s.r.BareLF() && s.rejectsBareLF() {
		return s.refuseBareLF()
	}
	s.noteBareLF()
	s.command(line)
	return s.content.broken
}

// command does one command line.
func (s *session) command(line []byte) {
	if s.srv.core.SMTPUTF8Enable && !isASCII(line) && !utf8.Valid(line) {
		s.fail(replyBadUTF8)
		return
	}
	line, ok := s.filtered(line)
	if !ok {
		return
	}
	if s.srv.filter != nil {
		s.line = string(line)
	}
	name, args := smtp.ParseCommand(line)
	switch {
	case len(name) == 0:
		s.fail(replyBadSyntax)
		return
	case s.isNoop(name):
		s.reply(replyOK)
		s.countJunk()
		return
	}
	v := lookup(name)
	c := &commands[v]
	s.counts[v].total++
	var r smtp.Reply
	switch {
	case v == verbUnknown && s.isForeign(name, line):
		return
	case s.denied != "" && v != verbQUIT:
		r = s.deniedReply
	case v == verbUnknown:
		if r = s.milterUnknown(string(name)); r.Code == 0 {
			r = replyUnknown
		}
	case s.srv.level == tlsEncrypt && s.tls.Protocol == "" && c.flags&beforeTLS == 0:
		r = replyMustTLS
	default:
		s.where = c.name
		if !s.mayRun(c) {
			return
		}
		r = c.run(s, args)
	}
	s.rcptNow = ""
	if s.content.broken != nil {
		return
	}
	s.done(v, r)
	if s.over {
		s.over = false
		s.tellPostmaster(s.srv.history.FlushThreshold)
		s.reset()
	}
	if c.flags&junk != 0 {
		s.countJunk()
	}
}

// mayRun looks for input behind a command that the client must await the reply to.
func (s *session) mayRun(c *command) bool {
	if c.flags&lastInRow == 0 && s.proto == "ESMTP" {
		return true
	}
	forbid := s.srv.set.ForbidUnauthPipelining
	if s.r.Buffered() == 0 && (!forbid || s.r.Poll() == 0) {
		return true
	}
	s.logPipelining()
	if forbid {
		s.reply(replySync)
		s.closing = true
	}
	return !forbid
}

// countJunk counts a command that does nothing for mail.
func (s *session) countJunk() {
	if s.junk++; s.junk > s.srv.set.JunkCommandLimit+1 {
		s.errors++
	}
}

// done writes the reply to a command, unless it was written already, and
// counts the command as done or failed.
func (s *session) done(v verb, r smtp.Reply) {
	switch {
	case s.hangup || r.Code == codeRestarted:
		return
	case r.Code == overshootCode:
		r.Code = replyManyRcpt.Code
		s.counts[v].ok++
	case r.Code >= 400:
		s.errors++
	case v != verbUnknown:
		s.counts[v].ok++
	}
	s.reply(r)
}

// reset ends the transaction, if there is one.
func (s *session) reset() {
	s.abortMessage()
	s.milterReset()
	s.tx = transaction{}
	s.forward = forwardInfo{}
	s.content = content{}
	s.contentBytes = -1
}

func (s *session) abortMessage() {
	if s.msg != nil {
		s.msg.Abort()
		s.msg = nil
	}
	if s.filtering != nil {
		s.filtering.close()
		s.filtering = nil
	}
}
