package cleanup

import (
	"bytes"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// lastHeader ends the header: those that are missing are added behind it.
func (m *Message) lastHeader() {
	m.endHeader()
	m.stage = inBody
	if m.err != nil {
		return
	}
	if m.addsMissing() {
		m.addMissing()
	} else if m.seen&(seenMessageID|seenResentMessageID) == 0 {
		m.logID("message-id=", []byte("<>"))
	}
}

func (m *Message) addsMissing() bool {
	return m.origin.Local || m.c.set.AddMissingHeaders
}

// addMissing adds Message-Id, Date, From and the header for undisclosed
// recipients, in Postfix's order; as Resent-* where the message was resent.
func (m *Message) addMissing() {
	prefix, id, date, from := "", seenMessageID, seenDate, seenFrom
	if m.seen&seenResent != 0 {
		prefix, id, date, from = "Resent-", seenResentMessageID, seenResentDate, seenResentFrom
	}
	if m.seen&(id|date|from) == id|date|from && (m.c.set.UndisclosedHeader == "" || m.seen&seenRecipient != 0) {
		return
	}
	b := m.header.text[:0]
	if m.seen&id == 0 {
		b = append(append(b, prefix...), "Message-Id: "...)
		start := len(b)
		b = m.appendMessageID(b)
		name := "message-id="
		if prefix != "" {
			name = "resent-message-id="
		}
		m.logID(name, b[start:])
		b = append(b, "\r\n"...)
	}
	if m.seen&date == 0 {
		b = append(append(b, prefix...), "Date: "...)
		b = AppendDate(b, m.arrival)
		b = append(b, "\r\n"...)
	}
	if m.seen&from == 0 {
		b = append(append(b, prefix...), "From: "...)
		b = m.appendFrom(b)
		b = append(b, "\r\n"...)
	}
	if m.seen&seenRecipient == 0 && m.c.set.UndisclosedHeader != "" {
		b = append(append(b, m.c.set.UndisclosedHeader...), "\r\n"...)
	}
	m.header.text = b
	m.write(b)
}

// appendMessageID makes a message id of the queue id, with the time where
// queue ids are used again.
func (m *Message) appendMessageID(b []byte) []byte {
	b = append(b, '<')
	if !m.c.core.EnableLongQueueIDs {
		b = m.arrival.UTC().AppendFormat(b, "20060102150405.")
	}
	b = append(b, m.id...)
	b = append(b, '@')
	b = append(b, m.c.core.Myhostname...)
	return append(b, '>')
}

// AppendDate appends a date as Postfix writes it in headers. Its day is padded
// with a blank (Postfix before 3.9).
func AppendDate(b []byte, t time.Time) []byte {
	return t.AppendFormat(b, "Mon, _2 Jan 2006 15:04:05 -0700 (MST)")
}

func (m *Message) appendFrom(b []byte) []byte {
	sender := m.origin.Sender
	if sender == "" {
		sender = "MAILER-DAEMON"
	}
	name := m.origin.FullName
	switch {
	case name == "":
		return smtp.AppendAddress(b, sender)
	case m.c.set.HeaderFromFormat == "obsolete":
		b = append(smtp.AppendAddress(b, sender), " ("...)
		for i := range len(name) {
			if c := name[i]; c == '(' || c == ')' || c == '\\' {
				b = append(b, '\\')
			}
			b = append(b, name[i])
		}
		return append(b, ')')
	}
	b = appendPhrase(b, name)
	b = append(b, " <"...)
	return append(smtp.AppendAddress(b, sender), '>')
}

// appendPhrase appends a display name, quoted where RFC 5322 3.2.5 asks for it.
func appendPhrase(b []byte, name string) []byte {
	special := false
	for i := range len(name) {
		switch c := name[i]; c {
		case '(', ')', '<', '>', '@', ',', ';', ':', '\\', '"', '.', '[', ']':
			special = true
		default:
			special = special || c < ' ' || c == 0x7f
		}
	}
	if !special {
		return append(b, name...)
	}
	b = append(b, '"')
	for i := range len(name) {
		if c := name[i]; c == '"' || c == '\\' {
			b = append(b, '\\')
		}
		b = append(b, name[i])
	}
	return append(b, '"')
}

// logID writes the line that tells the message id.
func (m *Message) logID(name string, value []byte) {
	value = bytes.TrimSpace(value)
	m.c.log.Append(maillog.Info, func(b []byte) []byte {
		b = append(b, m.id...)
		b = append(b, ": "...)
		b = append(b, name...)
		return append(b, value...)
	})
}
