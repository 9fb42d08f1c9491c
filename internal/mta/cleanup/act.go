package cleanup

import (
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/headercheck"
	"github.com/dovetail-mail/dovetail/internal/mta/rfc822"
)

// act does what a table says about a line. It returns the line that goes on, and whether
// one does.
func (f *filter) act(kind headercheck.Context, line []byte, v headercheck.Verdict) (out []byte, keep bool) {
	m := f.m
	switch v.Action {
	case headercheck.Reject:
		reason := v.Text
		if reason == "" {
			reason = "message content rejected"
		}
		reason = m.refuseContent(reason)
		f.on = false
		f.log("reject", kind, line, reason)
	case headercheck.Warn:
		f.log("warning", kind, line, v.Text)
	case headercheck.Info:
		f.log("info", kind, line, v.Text)
	case headercheck.Filter:
		f.transport = v.Text
		f.log("filter", kind, line, v.Text)
	case headercheck.Pass:
		f.log("pass", kind, line, v.Text)
		f.on = false
	case headercheck.Discard:
		f.log("discard", kind, line, v.Text)
		f.on, f.discard, m.dropped = false, true, true
	case headercheck.Hold:
		if !f.hold && !f.discard {
			f.log("hold", kind, line, v.Text)
			f.hold = true
		}
	case headercheck.Prepend:
		f.log("prepend", kind, line, v.Text)
		m.write([]byte(v.Text + "\r\n"))
	case headercheck.Replace:
		f.log("replace", kind, line, v.Text)
		return []byte(v.Text), true
	case headercheck.Redirect:
		f.redirect = v.Text
		f.log("redirect", kind, line, v.Text)
		f.on = false
	case headercheck.BCC:
		f.bcc = append(f.bcc, v.Text)
		f.log("bcc", kind, line, v.Text)
	case headercheck.Strip:
		f.log("strip", kind, line, v.Text)
		return nil, false
	case headercheck.Ignore:
		return nil, false
	}
	return line, true
}

// log tells of an action, and what it is about.
func (f *filter) log(action string, kind headercheck.Context, line []byte, text string) {
	about := f.m.contextOf(action, kind, line)
	f.m.c.log.Append(maillog.Info, func(b []byte) []byte {
		b = append(b, about...)
		if text != "" {
			b = append(append(b, ": "...), text...)
		}
		return b
	})
}

// logSender and logRecipient are the addresses of the envelope as the log has them.
func (m *Message) logSender() string {
	if sender := m.senderAddress(); sender != "" {
		return rfc822.Quote(sender)
	}
	return ""
}

func (m *Message) logRecipient() string {
	return rfc822.Quote(m.recipientAddress(m.ctx, m.recipient))
}
