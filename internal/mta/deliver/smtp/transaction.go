package smtp

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	wire "github.com/dovetail-mail/dovetail/internal/smtp"
)

// Errors of transact. The session must not be used again after them.
var (
	errBroken = errors.New("session broken")
	// errStale is a kept connection that turns out not to be fit for another
	// message. Nothing is decided, and nothing was accepted.
	errStale = errors.New("kept connection is stale")
)

// window is how much is sent before answers are read. It must fit into the
// socket buffers, or both sides would wait for the other to read (RFC 2920 3.1).
const window = 8 << 10

// transact sends the message for all undecided recipients over a session. What is
// undecided after it may be tried elsewhere. An error means that the session
// cannot be used again.
func (t *attempt) transact(ctx context.Context, s *session) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	t.watch(s)
	s.message = t.req.Message.ID
	if failed := t.unfit(s); failed != nil {
		t.fail(*failed)
		return nil
	}
	now := time.Now()
	if s.uses++; s.uses > 1 {
		s.began = now
	}
	x := transaction{attempt: t, s: s, ctx: ctx, start: now, sender: t.req.Message.Sender, probe: t.req.Verify && t.agent.set.VerifyTarget != "data"}
	s.rcpts = append(s.rcpts[:0], t.left...)
	s.accepted = s.accepted[:0]
	if out := t.agent.outgoing; out != nil {
		if err := out.envelope(ctx, &x); err != nil {
			t.agent.log.Warningf("%s: %v", s.message, err)
			t.fail(*s.lookupStatus())
			return nil
		}
	}
	return x.run()
}

// unfit says why this server cannot take the message at all, or nil.
func (t *attempt) unfit(s *session) *deliver.Status {
	size := t.req.Content.Size()
	var failed *deliver.Status
	switch {
	case s.sizeLimit > 0 && s.ext&extSize != 0 && size > s.sizeLimit:
		failed = s.fail(deliver.Bounced, wire.Enhanced{5, 3, 4}, "message size "+strconv.FormatInt(size, 10)+
			" exceeds size limit "+strconv.FormatInt(s.sizeLimit, 10)+" of server "+s.server.name)
	case t.req.Message.SMTPUTF8 && s.ext&extSMTPUTF8 == 0:
		failed = s.fail(deliver.Bounced, wire.Enhanced{5, 6, 7}, "SMTPUTF8 is required, but was not offered by host "+s.server.name)
	}
	return failed
}

// A transaction is one message on one session. Its commands have numbers: two of
// XFORWARD, MAIL FROM, one RCPT TO for each recipient, DATA.
type transaction struct {
	*attempt
	s       *session
	ctx     context.Context
	start   time.Time
	sender  string         // as it leaves
	outside map[int]string // recipients as they leave, where that is not as they are here
	unsaid  [2]bool        // XFORWARD commands that have nothing to say
	refused bool           // MAIL FROM was
	ready   bool           // the server waits for content
	probe   bool           // ends after RCPT TO (smtp_address_verify_target)
}

const (
	numClient  = iota // XFORWARD
	numSession        // XFORWARD
	numMail
	numRcpt // the first one
)

// run goes through the commands. With PIPELINING many are sent before the first
// answer is read.
func (x *transaction) run() error {
	s := x.s
	first, end := numMail, numRcpt+len(s.rcpts)+1
	if s.agent.set.SendXforward && s.ext&extXforward != 0 {
		first = numClient
	}
	if x.probe {
		end-- // no DATA
	}
	s.out = s.out[:0]
	for first < end {
		next := first
		for next < end && (next == first || s.ext&extPipelining != 0 && len(s.out) < window) {
			x.appendCommand(next)
			next++
		}
		if len(s.out) > 0 {
			if err := s.send(x.timeout(first)); err != nil {
				return x.lost(err, x.state(first))
			}
		}
		for ; first < next; first++ {
			if err := x.answer(first); err != nil {
				return err
			}
		}
		if x.refused && first < end || first == end-1 && len(s.accepted) == 0 && !x.probe {
			return x.reset()
		}
	}
	switch {
	case !x.ready:
		return x.reset()
	case x.req.Verify:
		return errBroken // all is said, and nothing is to be sent
	case len(s.accepted) == 0:
		return x.sendNothing()
	}
	if err := x.content(); err != nil {
		return err
	}
	return x.end()
}

// appendCommand adds command n to what is sent.
func (x *transaction) appendCommand(n int) {
	s := x.s
	switch {
	case n == numClient, n == numSession:
		before := len(s.out)
		attrs := xforwardClient
		if n == numSession {
			attrs = xforwardSession
		}
		s.out = s.appendXforward(s.out, x.req.Message, attrs)
		x.unsaid[n] = len(s.out) == before
	case n == numMail:
		s.out = x.appendMail(s.out)
	case n < numRcpt+len(s.rcpts):
		s.out = x.appendRcpt(s.out, s.rcpts[n-numRcpt])
	default:
		s.out = append(s.out, "DATA\r\n"...)
	}
}

// timeout is how long the answer to command n may take.
func (x *transaction) timeout(n int) time.Duration {
	set := x.agent.set
	switch {
	case n < numMail:
		return set.XforwardTimeout
	case n == numMail:
		return set.MailTimeout
	case n < numRcpt+len(x.s.rcpts):
		return set.RcptTimeout
	}
	return set.DataInitTimeout
}

// state is what is going on while the answer to command n is awaited.
func (x *transaction) state(n int) string {
	switch {
	case n == numClient:
		return "sending XFORWARD name/address"
	case n == numSession:
		return "sending XFORWARD protocol/helo_name"
	case n == numMail:
		return "sending MAIL FROM"
	case n < numRcpt+len(x.s.rcpts):
		return "sending RCPT TO"
	}
	return "sending DATA command"
}

func (x *transaction) appendMail(b []byte) []byte {
	m := x.req.Message
	b = append(b, "MAIL FROM:<"...)
	b = x.appendAddress(b, x.sender)
	b = append(b, '>')
	ext := x.s.ext
	if ext&extSize != 0 {
		b = append(b, " SIZE="...)
		b = strconv.AppendInt(b, x.req.Content.Size(), 10)
	}
	if ext&ext8BitMIME != 0 && m.Encoding == "8bit" {
		b = append(b, " BODY=8BITMIME"...)
	} else if ext&ext8BitMIME != 0 && m.Encoding == "7bit" {
		b = append(b, " BODY=7BIT"...)
	}
	if ext&extDSN != 0 {
		if m.EnvID != "" {
			b = append(b, " ENVID="...)
			b = wire.AppendXtext(b, m.EnvID)
		}
		switch m.Ret {
		case queue.RetFull:
			b = append(b, " RET=FULL"...)
		case queue.RetHeaders:
			b = append(b, " RET=HDRS"...)
		}
	}
	if ext&extSMTPUTF8 != 0 && m.SMTPUTF8 {
		b = append(b, " SMTPUTF8"...)
	}
	if x.s.loggedIn && x.agent.set.DummyMailAuth {
		b = append(b, " AUTH=<>"...)
	}
	return append(b, '\r', '\n')
}

func (x *transaction) appendAddress(b []byte, addr string) []byte {
	if !x.agent.set.QuoteEnvelope {
		return append(b, addr...)
	}
	return wire.AppendAddress(b, addr)
}

// notifyNames are the words of NOTIFY in the order in which Postfix sends them.
var notifyNames = []struct {
	bit  uint8
	name string
}{{queue.NotifyNever, "NEVER"}, {queue.NotifySuccess, "SUCCESS"}, {queue.NotifyFailure, "FAILURE"}, {queue.NotifyDelay, "DELAY"}}

func (x *transaction) appendRcpt(b []byte, i int) []byte {
	r := &x.req.Recipients[i]
	addr, ok := x.outside[i]
	if !ok {
		addr = r.Address
	}
	b = append(b, "RCPT TO:<"...)
	b = x.appendAddress(b, addr)
	b = append(b, '>')
	if x.s.ext&extDSN != 0 {
		switch {
		case r.DSNOrcpt != "":
			b = append(b, " ORCPT="...)
			b = appendOriginal(b, r.DSNOrcpt)
		case r.Original != "": // the client named none
			b = append(b, " ORCPT=rfc822;"...)
			b = wire.AppendXtext(b, wire.QuoteAddress(r.Original))
		}
		sep := " NOTIFY="
		for _, n := range notifyNames {
			if r.Notify&n.bit != 0 {
				b = append(append(b, sep...), n.name...)
				sep = ","
			}
		}
	}
	return append(b, '\r', '\n')
}

// appendOriginal appends an original recipient with its type, which says how the address is
// encoded (RFC 6533 3).
func appendOriginal(b []byte, orcpt string) []byte {
	if kind, addr, ok := strings.Cut(orcpt, ";"); ok && strings.EqualFold(kind, "utf-8") {
		return wire.AppendUxtext(append(append(b, kind...), ';'), addr)
	}
	return wire.AppendXtext(b, orcpt)
}

// answer reads the answer to command n.
func (x *transaction) answer(n int) error {
	if n < numMail && x.unsaid[n] {
		return nil
	}
	s := x.s
	reply, err := s.reply(x.timeout(n))
	if err != nil {
		return x.lost(err, x.state(n))
	}
	if x.strange(n, &reply) {
		return x.stale()
	}
	class := reply.code / 100
	switch {
	case n < numMail:
		if class != 2 {
			s.agent.log.Warningf("host %s said: %s (in reply to %s command)", s.server.relay, reply.String(), x.state(n)[len("sending "):])
		}
	case n == numMail && class != 2:
		x.refused = true
		x.fail(s.answered(&reply, "MAIL FROM", x.start))
	case n == numMail, x.refused && n < numRcpt+len(s.rcpts):
	case n < numRcpt+len(s.rcpts):
		if class == 2 && x.probe {
			x.success(s.rcpts[n-numRcpt], s.delivered(&reply, x.start))
			return nil
		}
		if class == 2 {
			s.accepted = append(s.accepted, s.rcpts[n-numRcpt])
			return nil
		}
		x.decide(s.rcpts[n-numRcpt], s.answered(&reply, "RCPT TO", x.start))
	case class == 3:
		x.ready = true
		if x.req.Verify {
			x.verified(&reply)
		}
	case len(s.accepted) > 0:
		x.fail(s.answered(&reply, "DATA", x.start))
	}
	return nil
}

// verified ends a probe up to DATA: the recipients can be delivered to.
func (x *transaction) verified(reply *reply) {
	status := x.s.delivered(reply, x.start)
	for _, i := range x.s.accepted {
		x.success(i, status)
	}
}

// strange says whether an answer shows that a kept connection is not where it should
// be: the server is about to close it, or answers something else.
func (x *transaction) strange(n int, r *reply) bool {
	if x.s.uses == 1 {
		return false
	}
	class := r.code / 100
	data := n == numRcpt+len(x.s.rcpts)
	return r.code == 421 && n <= numMail || class != 4 && class != 5 && (class == 3) != data
}

// stale gives a kept connection up, and what was said over it.
func (x *transaction) stale() error {
	x.soft, x.notes = x.soft[:0], x.notes[:0]
	return errStale
}

// lost ends the session: it broke while it was in state. A kept connection may just
// have been closed by the server.
func (x *transaction) lost(err error, state string) error {
	if x.s.uses > 1 && !isTimeout(err) && !x.ready {
		return x.stale()
	}
	failed := x.s.lost(err, state)
	failed.Transmit = x.start
	if x.refused { // which says more
		x.notes = append(x.notes, failed.Text)
		return errBroken
	}
	x.fail(*failed)
	return errBroken
}

// sendNothing ends a DATA that the server accepted although it had no
// recipients (RFC 2920 3.1).
func (x *transaction) sendNothing() error {
	s := x.s
	s.out = append(s.out[:0], ".\r\n"...)
	if err := s.send(s.agent.set.DataDoneTimeout); err != nil {
		return errBroken
	}
	if s.agent.protocol == LMTP {
		return nil // RFC 2033 4.2: one answer for each recipient accepted, so none
	}
	if _, err := s.reply(s.agent.set.DataDoneTimeout); err != nil {
		return errBroken
	}
	return nil
}

// end reads the answer to the final dot; with LMTP one for each accepted
// recipient (RFC 2033 4.2).
func (x *transaction) end() error {
	s := x.s
	s.said([]byte("."))
	if s.agent.protocol == LMTP {
		for _, i := range s.accepted {
			if err := x.endOf(i); err != nil {
				return err
			}
		}
		return nil
	}
	reply, err := s.reply(s.agent.set.DataDoneTimeout)
	if err != nil {
		return x.lost(err, stateEnd)
	}
	if reply.code/100 != 2 {
		x.fail(s.answered(&reply, "end of DATA", x.start))
		return nil
	}
	status := s.delivered(&reply, x.start)
	for _, i := range s.accepted {
		x.success(i, status)
	}
	return nil
}

// endOf reads the answer for one recipient.
func (x *transaction) endOf(i int) error {
	reply, err := x.s.reply(x.agent.set.DataDoneTimeout)
	if err != nil {
		return x.lost(err, stateEnd)
	}
	if reply.code/100 == 2 {
		x.success(i, x.s.delivered(&reply, x.start))
		return nil
	}
	x.decide(i, x.s.answered(&reply, "end of DATA", x.start))
	return nil
}

const (
	stateBody = "sending message body"
	stateEnd  = "sending end of data -- message may be sent more than once"
)

// success reports one recipient; what the server said is noted where the sender
// wants to know of it.
func (x *transaction) success(i int, status deliver.Status) {
	m := x.req.Message
	if x.req.Recipients[i].Notify&queue.NotifySuccess != 0 || m.Trace != 0 || m.Warned {
		x.s.remote(&status, status.Text)
	}
	x.decide(i, status)
}

// reset makes the session ready for another message.
func (x *transaction) reset() error {
	if reply, err := x.s.ask("RSET", x.agent.set.RsetTimeout); err != nil || reply.code/100 != 2 {
		return errBroken
	}
	return nil
}
