package smtp

import (
	"bytes"
	"context"

	"github.com/dovetail-mail/dovetail/internal/mta/postmaster"
)

// clientTrouble is what a client can tell the postmaster of.
const clientTrouble = postmaster.Protocol | postmaster.Data

// history is what the postmaster may be told of a session, about one message.
type history struct {
	record  postmaster.Transcript
	trouble postmaster.Class
	secret  bool // what is said answers a challenge of AUTH
}

// said records lines that are about to be sent.
func (s *session) said(text []byte) {
	if !s.agent.notices.Wants(clientTrouble) {
		return
	}
	for len(text) > 0 {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte("\r\n"))
		shown, _ := postmaster.HideAuth(line)
		if s.history.secret {
			shown = []byte(postmaster.Hidden)
		}
		s.history.record.Out(shown)
	}
}

// heard records a line of a reply, and what smtp_reply_filter makes of it.
func (s *session) heard(line, filtered []byte) {
	if !s.agent.notices.Wants(clientTrouble) {
		return
	}
	line = appendPrintable(nil, line)
	s.history.record.In(line)
	if !bytes.Equal(line, appendPrintable(nil, filtered)) {
		s.history.record.Note("Replaced-by: ")
		s.history.record.Note("     " + string(filtered))
	}
}

// noteCode notes a reply that says that this side broke the protocol, or that is none to the
// question. As with Postfix, the session serves no other message after it.
func (s *session) noteCode(r *reply) {
	odd := r.code < 400 || r.code > 599 || r.code == 555 || r.code >= 500 && r.code < 510
	if odd || r.dsn[0] != 4 && r.dsn[0] != 5 {
		s.history.trouble |= postmaster.Protocol
		s.unfit = true
	}
}

// tellPostmaster ends the transcript about a message, and has the postmaster told if anything
// went wrong with it, unless it is itself a notice.
func (t *attempt) tellPostmaster(ctx context.Context, s *session) {
	n, h := t.agent.notices, &s.history
	if n.Wants(h.trouble) && h.record.Lines() > 0 && !n.Concerns(t.req.Message.Sender) {
		protocol := "SMTP"
		if t.agent.protocol == LMTP {
			protocol = "LMTP"
		}
		n.Client(context.WithoutCancel(ctx), protocol, &postmaster.Session{Trouble: h.trouble, Transcript: &h.record, Peer: s.server.relay})
	}
	h.record.Reset()
	h.trouble = 0
}
