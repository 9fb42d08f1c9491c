package smtpd

import (
	"bytes"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/postmaster"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// HistorySettings are the parameters of transcripts.
type HistorySettings struct {
	FlushThreshold int `set:"smtpd_history_flush_threshold" default:"100" min:"1" doc:"lines of a transcript after which the postmaster is told at the end of a transaction, not of the session"`
}

var _ = postfix.Register("smtpd", HistorySettings{})

// allTrouble is what the server can tell the postmaster of.
const allTrouble = postmaster.Bounce | postmaster.Data | postmaster.Policy | postmaster.Protocol | postmaster.Resource | postmaster.Software

// history is what the postmaster may be told of a session.
type history struct {
	record   postmaster.Transcript
	noted    int              // how much of the replies not yet sent is in it
	trouble  postmaster.Class // what went wrong
	judged   bool             // a restriction said what is wrong with the reply that follows
	unlisted bool             // the restriction at work found that an address does not exist
	guessing bool             // the client tried AUTH: what is no command may be a password
	reason   string           // why the session is ended
}

// recording tells whether there may be something to tell.
func (s *session) recording() bool { return s.srv.notices.Wants(allTrouble) }

// heard records a command.
func (s *session) heard(line []byte) {
	if !s.recording() {
		return
	}
	s.noteReplies()
	shown, auth := postmaster.HideAuth(line)
	if auth {
		s.history.guessing = true
	} else if s.history.guessing {
		if name, _ := smtp.ParseCommand(line); lookup(name) == verbUnknown {
			shown = []byte(postmaster.Hidden)
		}
	}
	s.history.record.In(shown)
}

// heardSecret records that the client answered a challenge of AUTH.
func (s *session) heardSecret() {
	if s.recording() {
		s.noteReplies()
		s.history.record.In([]byte(postmaster.Hidden))
	}
}

// noteReplies records the replies that were given since it was last called, before they are sent.
func (s *session) noteReplies() {
	if !s.recording() {
		return
	}
	text := s.out[min(s.history.noted, len(s.out)):]
	for len(text) > 0 {
		var line []byte
		line, text, _ = bytes.Cut(text, crlf)
		s.history.record.Out(line)
	}
	s.history.noted = len(s.out)
}

// tellPostmaster ends a transcript that has become longer than threshold, and has the postmaster told
// if anything went wrong.
func (s *session) tellPostmaster(threshold int) {
	if !s.recording() {
		return
	}
	s.noteReplies()
	h := &s.history
	if h.record.Lines() <= threshold {
		return
	}
	if s.srv.notices.Wants(h.trouble) {
		s.srv.notices.Server(s.ctx, &postmaster.Session{Trouble: h.trouble, Transcript: &h.record, Peer: s.client.label, Reason: h.reason})
	}
	h.record.Reset()
	h.trouble = 0
}

// endHistory tells the postmaster at the end of the session.
func (s *session) endHistory() { s.tellPostmaster(0) }

// forgiven forgets what went wrong before a message was taken.
func (s *session) forgiven() { s.history.trouble = 0 }

// blame notes what kind of error a restriction found. The reply does not count then, unless it is
// only a warning and there is none.
func (s *session) blame(r smtp.Reply, warn bool) {
	h := &s.history
	class := postmaster.Policy
	switch {
	case h.unlisted:
		class = postmaster.Bounce
	case r == replyConfig:
		class = postmaster.Software
	case strings.HasSuffix(r.Text, ": Temporary lookup failure"):
		class = postmaster.Data
	}
	h.unlisted = false
	h.trouble |= class
	h.judged = !warn
}

// noteTrouble notes what kind of error a reply tells of.
func (s *session) noteTrouble(r smtp.Reply) {
	h := &s.history
	if r.Code < 400 {
		return
	}
	if !h.judged {
		h.trouble |= s.troubleOf(r)
	}
	h.judged = false
}

// noTrouble marks replies that tell the postmaster nothing: clients that were told before that they are
// not welcome, that must begin TLS first, or whose passwords are wrong.
const noTrouble postmaster.Class = 0

// troubles are the kinds of errors of replies that their codes do not tell.
var troubles = map[smtp.Reply]postmaster.Class{
	replyRewriteLookup: postmaster.Resource,
	replyNoSpace:       postmaster.Resource,
	replyFilterTrouble: postmaster.Resource,
	replyConfig:        postmaster.Software,
	replyInternal:      postmaster.Software,
	replyTooBig:        postmaster.Bounce,
	replyHELOFirst:     postmaster.Policy,
	replyETRNHELO:      postmaster.Policy,
	replyNoVrfy:        postmaster.Policy,
	replyTLSActive:     postmaster.Protocol,
	replyMustTLS:       noTrouble,
	replySync:          noTrouble,
	replyAuthAborted:   noTrouble,
	replyAuthLimit:     noTrouble,
	replyNoRcpt:        noTrouble,
	replyManyRcpt:      noTrouble,
}

// troubleOf is the kind of error of a reply.
func (s *session) troubleOf(r smtp.Reply) postmaster.Class {
	if class, known := troubles[r]; known {
		return class
	}
	switch {
	case s.where == "END-OF-MESSAGE" && r.Code == 451:
		return postmaster.Resource
	case s.where == "END-OF-MESSAGE" && r.Code == 554 && r.Enhanced == (smtp.Enhanced{5, 4, 0}):
		return postmaster.Bounce
	case strings.HasSuffix(r.Text, "bare <LF> received"), strings.HasSuffix(r.Text, "Error: too many errors"):
		return postmaster.Protocol
	case strings.HasSuffix(r.Text, "local data error"):
		return postmaster.Data
	}
	return troubleOfCode(r)
}

func troubleOfCode(r smtp.Reply) postmaster.Class {
	switch code := r.Code; {
	case r.Enhanced == smtp.Enhanced{5, 7, 0} && code == 503, code == 535, code == 454 && r.Enhanced == smtp.Enhanced{4, 7, 0}:
		return noTrouble
	case code == 421 && r.Enhanced[1] != 7:
		return noTrouble // timeouts, and the end of the service
	case code >= 500 && code < 510, code == 521, code == 555:
		return postmaster.Protocol
	}
	return postmaster.Policy
}
