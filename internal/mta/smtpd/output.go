package smtpd

import (
	"time"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// hostReply is a reply that names the server first.
func (s *session) hostReply(code int, e smtp.Enhanced, text string) smtp.Reply {
	return reply(code, e, s.srv.core.Myhostname+" "+text)
}

// fail answers a line without a command.
func (s *session) fail(r smtp.Reply) {
	s.errors++
	s.reply(r)
}

// reply adds a reply to those that will be sent. After enough errors the
// client has to wait for it.
func (s *session) reply(r smtp.Reply) {
	if r.Code == 0 {
		return
	}
	if s.errors >= s.srv.set.SoftErrorLimit && s.srv.set.ErrorSleepTime > 0 && !s.closing {
		s.flush()
		s.pause(s.srv.set.ErrorSleepTime)
	}
	s.noteTrouble(r)
	if r.Code >= 400 {
		r = s.withFooter(s.softened(s.filteredReply(r)))
	}
	s.out = r.Append(s.out)
	if r.Code == 421 || r.Code == 521 {
		s.closing = true
	}
}

// softened makes a refusal a temporary one if soft_bounce is on.
func (s *session) softened(r smtp.Reply) smtp.Reply {
	if !s.srv.core.SoftBounce || r.Code/100 != 5 {
		return r
	}
	r.Code -= 100
	if !r.Enhanced.IsZero() {
		r.Enhanced = r.Enhanced.WithClass(r.Code)
	}
	return r
}

// maxOut is how much is kept back of the replies to a client that pipelines
// a lot.
const maxOut = 4 << 10

// maxTurn is how many commands a session does before others are served: among a thousand clients who send without end and never read,
// one who waits for each reply waits for a turn of all of them each time.
const maxTurn = 32

// pause waits, but not longer than the server runs.
func (s *session) pause(d time.Duration) {
	const step = 100 * time.Millisecond
	for ; d > 0 && !s.srv.stopping.Load(); d -= step {
		time.Sleep(min(d, step))
	}
}

// flush sends the replies before the session waits.
func (s *session) flush() error {
	err := s.send()
	if cap(s.out) > keepOut {
		s.out = nil
	}
	return err
}

// send sends the replies, of which there will be more at once.
func (s *session) send() error {
	if len(s.out) == 0 {
		return nil
	}
	s.noteReplies()
	_, err := s.conn.Write(s.out)
	s.out, s.history.noted = s.out[:0], 0
	return err
}

// keepOut is the largest reply buffer that a session keeps while it waits.
const keepOut = 512
