package smtp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	wire "github.com/dovetail-mail/dovetail/internal/smtp"
)

// Errors of transact. The session must not be used again after them.
var (
	errBroken  = errors.New("session broken")
	errRefused = errors.New("transaction refused")
)

// transact sends the message for all undecided recipients over a session. It
// takes those that were decided from t.left. An error means that the session
// cannot be used again; what is then undecided may be tried elsewhere.
func (t *attempt) transact(ctx context.Context, s *session) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if status := t.unfit(s); status != nil {
		t.failAll(*status)
		t.last = *status
		return nil
	}
	now := time.Now()
	if s.uses++; s.uses > 1 {
		s.began = now
	}
	x := &transaction{attempt: t, s: s, start: now, rcpts: slices.Clone(t.left)}
	s.conn.SetWriteDeadline(now.Add(s.agent.set.MailTimeout))
	return x.run()
}

// unfit says why this server cannot take the message at all, or nil.
func (t *attempt) unfit(s *session) *deliver.Status {
	size := t.req.Content.Size()
	if s.sizeLimit > 0 && size > s.sizeLimit {
		return s.fail(deliver.Bounced, wire.Enhanced{5, 3, 4},
			fmt.Sprintf("message size %d exceeds size limit %d of server %s", size, s.sizeLimit, s.server))
	}
	if t.req.Message.SMTPUTF8 && s.ext&extSMTPUTF8 == 0 {
		return s.fail(deliver.Bounced, wire.Enhanced{5, 6, 7},
			"SMTPUTF8 is required, but was not offered by host "+s.server.String())
	}
	return nil
}

// A transaction is one message on one session.
type transaction struct {
	*attempt
	s        *session
	start    time.Time
	rcpts    []int // recipients of this transaction
	accepted []int // those that RCPT TO accepted
}

func (x *transaction) run() error {
	s := x.s
	pipelining := s.ext&extPipelining != 0
	s.out = x.appendMail(s.out[:0])
	if pipelining {
		for _, i := range x.rcpts {
			s.out = x.appendRcpt(s.out, i)
		}
		s.out = append(s.out, "DATA\r\n"...)
	}
	if err := x.send("sending MAIL FROM"); err != nil {
		return err
	}
	mailOK, err := x.readMail()
	if err != nil || !mailOK && !pipelining {
		return err
	}
	if err := x.recipients(mailOK, pipelining); err != nil {
		return err
	}
	return x.data(pipelining)
}

func (x *transaction) appendMail(b []byte) []byte {
	m := x.req.Message
	b = append(b, "MAIL FROM:<"...)
	b = wire.AppendAddress(b, m.Sender)
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
	if ext&extSMTPUTF8 != 0 && m.SMTPUTF8 {
		b = append(b, " SMTPUTF8"...)
	}
	if ext&extDSN != 0 {
		switch m.Ret {
		case queue.RetFull:
			b = append(b, " RET=FULL"...)
		case queue.RetHeaders:
			b = append(b, " RET=HDRS"...)
		}
		if m.EnvID != "" {
			b = append(b, " ENVID="...)
			b = wire.AppendXtext(b, m.EnvID)
		}
	}
	return append(b, '\r', '\n')
}

// notifyNames are the words of NOTIFY in the order in which Postfix sends them.
var notifyNames = []struct {
	bit  uint8
	name string
}{{queue.NotifyNever, "NEVER"}, {queue.NotifySuccess, "SUCCESS"}, {queue.NotifyFailure, "FAILURE"}, {queue.NotifyDelay, "DELAY"}}

func (x *transaction) appendRcpt(b []byte, i int) []byte {
	r := &x.req.Recipients[i]
	b = append(b, "RCPT TO:<"...)
	b = wire.AppendAddress(b, r.Address)
	b = append(b, '>')
	if x.s.ext&extDSN != 0 {
		b = appendDSN(b, r)
	}
	return append(b, '\r', '\n')
}

func appendDSN(b []byte, r *deliver.Recipient) []byte {
	sep := " NOTIFY="
	for _, n := range notifyNames {
		if r.Notify&n.bit != 0 {
			b = append(append(b, sep...), n.name...)
			sep = ","
		}
	}
	if r.DSNOrcpt != "" {
		b = append(b, " ORCPT="...)
		b = wire.AppendXtext(b, r.DSNOrcpt)
	}
	return b
}

// send writes the commands gathered in the session's buffer.
func (x *transaction) send(state string) error {
	if _, err := x.s.conn.Write(x.s.out); err != nil {
		return x.lost(err, state)
	}
	return nil
}

// lost notes that the session broke while it was in state.
func (x *transaction) lost(err error, state string) error {
	x.last = *x.s.lost(err, state)
	x.last.Transmit = x.start
	return errBroken
}

func (x *transaction) readMail() (ok bool, err error) {
	x.s.r.SetTimeout(x.s.agent.set.MailTimeout)
	reply, err := x.s.r.ReadReply()
	if err != nil {
		return false, x.lost(err, "sending MAIL FROM")
	}
	if reply.Code/100 == 2 {
		return true, nil
	}
	x.decideAll(reply, "MAIL FROM")
	if x.s.ext&extPipelining == 0 {
		return false, errRefused
	}
	return false, nil
}

// decideAll gives all undecided recipients the status of one reply.
func (x *transaction) decideAll(reply wire.Reply, command string) {
	status := x.s.answered(reply, command)
	status.Transmit = x.start
	x.last = status
	x.failAll(status)
}

// recipients reads, and without pipelining sends, each RCPT TO.
func (x *transaction) recipients(mailOK, pipelining bool) error {
	s := x.s
	s.r.SetTimeout(s.agent.set.RcptTimeout)
	for _, i := range x.rcpts {
		if !pipelining {
			s.out = x.appendRcpt(s.out[:0], i)
			if err := x.send("sending RCPT TO"); err != nil {
				return err
			}
		}
		reply, err := s.r.ReadReply()
		if err != nil {
			return x.lost(err, "sending RCPT TO")
		}
		if mailOK {
			x.recipient(i, reply)
		}
	}
	return nil
}

// recipient handles the answer to one RCPT TO.
func (x *transaction) recipient(i int, reply wire.Reply) {
	if reply.Code/100 == 2 {
		x.accepted = append(x.accepted, i)
		return
	}
	// RFC 5321 4.5.3.1.10: 552 to RCPT TO may mean too many recipients.
	if reply.Code == 552 {
		reply.Code = 452
		if !reply.Enhanced.IsZero() {
			reply.Enhanced[0] = 4
		}
	}
	status := x.s.answered(reply, "RCPT TO")
	status.Transmit = x.start
	x.decide(i, status)
}

// decide gives one recipient its status. One refused for now stays in left.
func (x *transaction) decide(i int, status deliver.Status) {
	if status.Action == deliver.Deferred {
		if x.each == nil {
			x.each = make(map[int]deliver.Status)
		}
		x.each[i] = status
		return
	}
	x.left = slices.DeleteFunc(x.left, func(j int) bool { return j == i })
	x.report(i, status)
}

// data sends the content, if anybody is to have it.
func (x *transaction) data(pipelining bool) error {
	s := x.s
	if !pipelining {
		if len(x.accepted) == 0 {
			return x.reset()
		}
		s.out = append(s.out[:0], "DATA\r\n"...)
		if err := x.send("sending DATA command"); err != nil {
			return err
		}
	}
	s.r.SetTimeout(s.agent.set.DataInitTimeout)
	reply, err := s.r.ReadReply()
	if err != nil {
		return x.lost(err, "sending DATA command")
	}
	switch {
	case reply.Code/100 != 3 && len(x.accepted) == 0:
		return x.reset()
	case reply.Code/100 != 3:
		x.decideAccepted(reply, "DATA")
		return x.reset()
	case len(x.accepted) == 0:
		return x.sendNothing()
	}
	if err := x.content(); err != nil {
		return err
	}
	return x.done()
}

// sendNothing ends a DATA that the server accepted although it had no
// recipients (RFC 2920 3.1).
func (x *transaction) sendNothing() error {
	x.s.out = append(x.s.out[:0], ".\r\n"...)
	if err := x.send("sending end of data"); err != nil {
		return err
	}
	if _, err := x.s.r.ReadReply(); err != nil {
		return x.lost(err, "sending end of data")
	}
	return nil
}

// content sends the message and the final dot.
func (x *transaction) content() error {
	s := x.s
	s.conn.SetWriteDeadline(time.Now().Add(s.agent.set.DataXferTimeout))
	w := wire.NewDataWriter(&xferWriter{s: s})
	if _, err := x.req.Content.WriteTo(w); err != nil {
		w.Abort()
		if errors.Is(err, errWrite) {
			return x.lost(err, "sending message body")
		}
		x.last = *s.fail(deliver.Deferred, wire.Enhanced{4, 3, 0}, "local data error while talking to "+s.server.String())
		return errBroken
	}
	if err := w.Close(); err != nil {
		return x.lost(err, "sending message body")
	}
	return nil
}

// errWrite marks errors of the connection, as opposed to those of the queue.
var errWrite = errors.New("write to server")

// xferWriter gives each piece of content smtp_data_xfer_timeout.
type xferWriter struct {
	s *session
	n int
}

func (w *xferWriter) Write(p []byte) (int, error) {
	if w.n++; w.n > 1 {
		w.s.conn.SetWriteDeadline(time.Now().Add(w.s.agent.set.DataXferTimeout))
	}
	n, err := w.s.conn.Write(p)
	if err != nil {
		err = fmt.Errorf("%w: %w", errWrite, err)
	}
	return n, err
}

// done reads the answer to the final dot; with LMTP one for each accepted
// recipient (RFC 2033 4.2).
func (x *transaction) done() error {
	s := x.s
	s.r.SetTimeout(s.agent.set.DataDoneTimeout)
	const state = "sending end of data -- message may be sent more than once"
	if s.agent.protocol == LMTP {
		for _, i := range x.accepted {
			reply, err := s.r.ReadReply()
			if err != nil {
				return x.lost(err, state)
			}
			status := s.answered(reply, "end of DATA")
			status.Transmit = x.start
			x.decide(i, status)
		}
		return nil
	}
	reply, err := s.r.ReadReply()
	if err != nil {
		return x.lost(err, state)
	}
	x.decideAccepted(reply, "end of DATA")
	return nil
}

// decideAccepted gives all accepted recipients the status of one reply.
func (x *transaction) decideAccepted(reply wire.Reply, command string) {
	status := x.s.answered(reply, command)
	status.Transmit = x.start
	for _, i := range x.accepted {
		x.decide(i, status)
	}
}

// reset makes the session ready for another message.
func (x *transaction) reset() error {
	s := x.s
	s.out = append(s.out[:0], "RSET\r\n"...)
	if _, err := s.conn.Write(s.out); err != nil {
		return errBroken
	}
	s.r.SetTimeout(20 * time.Second) // smtp_rset_timeout
	if reply, err := s.r.ReadReply(); err != nil || reply.Code/100 != 2 {
		return errBroken
	}
	return nil
}
