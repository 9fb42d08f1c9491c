package smtp

import (
	"errors"
	"net"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/postmaster"
	wire "github.com/dovetail-mail/dovetail/internal/smtp"
)

// The texts of statuses are Postfix's: the dialogues in testdata compare them.

// fail is a status that comes from here, not from the server's answer. It
// concerns the server as a whole.
func (s *session) fail(action deliver.Action, dsn wire.Enhanced, text string) *deliver.Status {
	return &deliver.Status{Action: action, Enhanced: dsn, Text: text, Relay: s.server.relay, Uses: s.uses, Connected: s.began, Dead: action == deliver.Deferred}
}

// lost is the status after the connection broke or stood still.
func (s *session) lost(err error, state string) *deliver.Status {
	text := "lost connection with " + s.server.name + " while " + state
	switch {
	case errors.Is(err, errData):
		return s.localError()
	case isTimeout(err):
		text = "conversation with " + s.server.name + " timed out while " + state
	case errors.Is(err, errReplyLength):
		text = "Protocol error: host " + s.server.name + " sent an endless reply while " + state
	}
	return s.fail(deliver.Deferred, wire.Enhanced{4, 4, 2}, text)
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// localError is the status after something failed here in the middle of a session.
func (s *session) localError() *deliver.Status {
	s.history.trouble |= postmaster.Data
	status := s.fail(deliver.Deferred, wire.Enhanced{4, 3, 0}, "local data error while talking to "+s.server.name)
	status.Dead = false
	return status
}

// refused is the status after a greeting or EHLO was answered with an error.
func (s *session) refused(r *reply) *deliver.Status {
	return s.rejected(r, "host "+s.server.name+" refused to talk to me: "+r.String())
}

// rejected is a status with the server's code and a text that says what it was about.
func (s *session) rejected(r *reply, text string) *deliver.Status {
	s.noteCode(r)
	action := deliver.Bounced
	if r.dsn[0] == 4 {
		action = deliver.Deferred
	}
	status := s.fail(action, r.dsn, text)
	if r.dsn[0] != 4 && r.dsn[0] != 5 {
		status.Enhanced, status.Text = protocolError, "Protocol error: "+text
	}
	s.remote(status, r.String())
	return status
}

// answered is the status of a recipient after the server said no to a command.
func (s *session) answered(r *reply, command string, start time.Time) deliver.Status {
	status := s.rejected(r, "host "+s.server.name+" said: "+r.String()+" (in reply to "+command+" command)")
	status.Transmit, status.Dead = start, false
	return *status
}

// accepted is the status of a recipient for whom the server has taken the message.
// Who offers DSN reports success itself, if asked to (RFC 3461 6.2.1).
func (s *session) delivered(r *reply, start time.Time) deliver.Status {
	status := deliver.Status{
		Action: deliver.Relayed, Enhanced: r.dsn, Text: r.String(), Relay: s.server.relay, Uses: s.uses,
		Connected: s.began, Transmit: start,
	}
	switch {
	case s.ext&extDSN != 0:
		status.Action = deliver.Delivered
	case s.agent.protocol == LMTP && s.agent.set.AssumeFinal:
		status.Action = deliver.Final
	}
	return status
}

// remote notes what the server said, for the delivery status notification.
func (s *session) remote(status *deliver.Status, said string) {
	status.RemoteMTA = "dns; " + s.server.host
	status.RemoteCode = "smtp; " + said
}
