package postmaster

import (
	"context"
	"fmt"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/cleanup"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// Settings are the parameters of notices.
type Settings struct {
	NotifyClasses   string `set:"notify_classes" default:"resource, software" doc:"what the postmaster is told of"`
	ErrorRecipient  string `set:"error_notice_recipient" default:"postmaster" nonempty:"yes" doc:"who gets transcripts of sessions with errors"`
	BounceRecipient string `set:"bounce_notice_recipient" default:"postmaster" nonempty:"yes" doc:"who gets transcripts of sessions with errors of class bounce"`
	HeaderFrom      string `set:"header_from_format" default:"standard" nonempty:"yes" doc:"form of From headers: standard or obsolete"`
}

var _ = postfix.Register("postmaster", Settings{})

// Notices sends notices. It is safe for concurrent use; nil sends none.
type Notices struct {
	set     Settings
	core    postfix.Core
	classes Class
	cleanup *cleanup.Cleanup
	log     *maillog.Logger
}

// New returns what sends notices with the parameters of main; nil if there is nothing
// that could be told.
func New(main *postfix.Main, c *cleanup.Cleanup, log *maillog.Logger) (*Notices, error) {
	n := &Notices{cleanup: c, log: log}
	if err := main.Decode(&n.set); err != nil {
		return nil, err
	}
	if err := main.Decode(&n.core); err != nil {
		return nil, err
	}
	var err error
	if n.classes, err = parseClasses(n.set.NotifyClasses); err != nil {
		return nil, err
	}
	if n.classes == 0 || c == nil {
		return nil, nil
	}
	return n, nil
}

// Wants tells whether the postmaster is to be told of errors of these classes.
func (n *Notices) Wants(c Class) bool { return n != nil && n.classes&c != 0 }

// Concerns tells whether the sender of a message is the one of notices: whatever happens to them is
// not told.
func (n *Notices) Concerns(sender string) bool {
	return sender == "" || n != nil && sender == n.sender()
}

// sender is the envelope sender of notices, which are not bounced.
func (n *Notices) sender() string { return n.core.DoubleBounceSender + "@" + n.core.Myhostname }

// A Session is what a notice tells.
type Session struct {
	Trouble    Class
	Transcript *Transcript
	Peer       string // who the session was with: "name[address]"
	Reason     string // why the server ended the session; empty: it did not
}

// Server tells of a session with a client.
func (n *Notices) Server(ctx context.Context, s *Session) {
	b := fmt.Appendf(nil, "Subject: %s SMTP server: errors from %s\r\n\r\n", n.core.MailName, s.Peer)
	b = appendTranscript(b, s.Transcript)
	if s.Reason != "" {
		b = fmt.Appendf(b, "Session aborted, reason: %s\r\n", s.Reason)
	}
	to := n.set.ErrorRecipient
	if s.Trouble&Bounce != 0 {
		to = n.set.BounceRecipient
	}
	n.send(ctx, to, append(b, "\r\n"...))
}

// Client tells of a session with a server, in the protocol named.
func (n *Notices) Client(ctx context.Context, protocol string, s *Session) {
	b := fmt.Appendf(nil, "Subject: %s %s client: errors from %s\r\n\r\n", n.core.MailName, protocol, s.Peer)
	b = fmt.Appendf(b, "Unexpected response from %s.\r\n\r\n", s.Peer)
	n.send(ctx, n.set.ErrorRecipient, appendTranscript(b, s.Transcript))
}

func appendTranscript(b []byte, t *Transcript) []byte {
	b = append(b, "Transcript of session follows.\r\n\r\n"...)
	return append(t.appendTo(b), "\r\n"...)
}

// send queues a notice. It is a convenience: when it cannot be queued, a line in the log tells.
func (n *Notices) send(ctx context.Context, to string, text []byte) {
	if err := n.queue(ctx, to, text); err != nil {
		n.log.Warningf("postmaster notify: %v", err)
	}
}

func (n *Notices) queue(ctx context.Context, to string, text []byte) error {
	out, err := n.cleanup.Start(ctx, cleanup.Origin{Sender: n.sender(), Local: true, Internal: true, Source: "notify"})
	if err != nil {
		return err
	}
	date := cleanup.AppendDate(nil, time.Now())
	b := fmt.Appendf(nil, "Received: by %s (%s)\r\n\tid %s; %s\r\nDate: %s\r\n", n.core.Myhostname, n.core.MailName, out.ID(), date, date)
	b = append(n.appendAddresses(b), text...)
	b = append(b, "For other details, see the local mail logfile\r\n"...)
	if _, err := out.Write(b); err != nil {
		out.Abort()
		return err
	}
	return out.Finish(ctx, &queue.Envelope{Sender: n.sender(), Recipients: []queue.Recipient{{Address: to}}, RewriteContext: "local"})
}

// appendAddresses writes From and To, which names error_notice_recipient whoever gets the notice.
func (n *Notices) appendAddresses(b []byte) []byte {
	from, to := "MAILER-DAEMON@"+n.core.Myhostname, smtp.QuoteAddress(n.set.ErrorRecipient)
	if n.set.HeaderFrom == "obsolete" {
		return fmt.Appendf(b, "From: %s (Mail Delivery System)\r\nTo: %s (Postmaster)\r\n", from, to)
	}
	return fmt.Appendf(b, "From: Mail Delivery System <%s>\r\nTo: Postmaster <%s>\r\n", from, to)
}
