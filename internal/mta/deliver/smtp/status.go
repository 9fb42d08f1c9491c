package smtp

import (
	"errors"
	"net"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	wire "github.com/dovetail-mail/dovetail/internal/smtp"
)

// The texts of statuses are Postfix's (smtp_trouble.c, smtp_proto.c show their effect in
// bounces and log lines).

// fail is a status that comes from here, not from the server's answer.
func (s *session) fail(action deliver.Action, dsn wire.Enhanced, text string) *deliver.Status {
	return &deliver.Status{Action: action, Enhanced: dsn, Text: text, Relay: s.server.relay(), Connected: s.began, Dead: s.opened.IsZero()}
}

// lost is the status after the connection broke or stood still.
func (s *session) lost(err error, state string) *deliver.Status {
	var ne net.Error
	text := "lost connection with " + s.server.String() + " while " + state
	switch {
	case errors.As(err, &ne) && ne.Timeout():
		text = "conversation with " + s.server.String() + " timed out while " + state
	case errors.Is(err, wire.ErrReplySyntax), errors.Is(err, wire.ErrReplyLength):
		text = "Protocol error: host " + s.server.String() + " sent a malformed reply while " + state
	}
	return s.fail(deliver.Deferred, wire.Enhanced{4, 4, 2}, text)
}

// refused is the status after a greeting or EHLO was answered with an error.
// The next server may be friendlier, so it is never permanent.
func (s *session) refused(reply wire.Reply) *deliver.Status {
	status := s.fail(deliver.Deferred, reply.Enhanced, "host "+s.server.String()+" refused to talk to me: "+said(reply))
	status.Enhanced[0] = 4
	s.remote(status, reply)
	return status
}

// answered is the status that a reply to a command means for a recipient.
func (s *session) answered(reply wire.Reply, command string) deliver.Status {
	status := deliver.Status{Relay: s.server.relay(), Connected: s.began, Enhanced: reply.Enhanced}
	if status.Enhanced.IsZero() {
		status.Enhanced = wire.Enhanced{uint16(reply.Code / 100), 0, 0}
	}
	s.remote(&status, reply)
	switch reply.Code / 100 {
	case 2:
		status.Action = deliver.Delivered
		if s.ext&extDSN == 0 {
			status.Action = deliver.Relayed
		}
		status.Text = said(reply)
		return status
	case 5:
		status.Action = deliver.Bounced
	default:
		status.Action = deliver.Deferred
	}
	status.Text = "host " + s.server.String() + " said: " + said(reply) + " (in reply to " + command + " command)"
	return status
}

// remote notes what the server said, for the delivery status notification.
func (s *session) remote(status *deliver.Status, reply wire.Reply) {
	status.RemoteMTA = "dns; " + s.server.host
	status.RemoteCode = "smtp; " + said(reply)
}

// said is a reply as Postfix shows it: the lines with their codes, in one line.
func said(reply wire.Reply) string {
	return strings.ReplaceAll(strings.TrimSuffix(string(reply.Append(nil)), "\r\n"), "\r\n", " ")
}
