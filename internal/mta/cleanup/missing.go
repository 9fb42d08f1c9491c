package cleanup

import (
	"bytes"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/headercheck"
	"github.com/dovetail-mail/dovetail/internal/mta/rfc822"
)

// lastHeader ends the header: those that are missing are added behind it.
func (m *Message) lastHeader() {
	m.endHeader()
	m.stage = inBody
	if m.err != nil || m.dropped {
		return
	}
	if m.addsMissing() {
		m.addMissing()
	}
	if m.seen&seenMessageID == 0 {
		m.logID("message-id=", []byte("<>"))
	}
}

func (m *Message) addsMissing() bool {
	return m.completes() || m.c.set.AddMissingHeaders
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
		m.seen |= id
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
	if undisclosed := m.c.set.UndisclosedHeader; m.seen&seenRecipient == 0 && undisclosed != "" {
		if headercheck.IsHeader(undisclosed) {
			b = append(append(b, undisclosed...), "\r\n"...)
		} else {
			m.c.log.Warningf("bad undisclosed_recipients_header header text %q -- need \"headername: headervalue\"", undisclosed)
		}
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
	sender := m.senderAddress()
	name := strings.NewReplacer("\r", " ", "\n", " ").Replace(m.origin.FullName)
	switch {
	case sender == "":
		return append(b, "MAILER-DAEMON"...)
	case name == "":
		return rfc822.AppendQuoted(b, sender)
	case m.c.set.HeaderFromFormat == "obsolete":
		b = append(rfc822.AppendQuoted(b, sender), ' ')
		return append(b, rfc822.External(rfc822.ParseList("("+name+")", 0))...)
	}
	if tokens := phrase(name, m.c.set.AddressTokenLimit); len(tokens) > 0 {
		b = append(b, rfc822.External(tokens)...)
		b = append(b, ' ')
	}
	b = append(b, '<')
	return append(rfc822.AppendQuoted(b, sender), '>')
}

// phrase makes a display name of a full name: words with a blank between them, or a quoted
// string where there is more than words in it (RFC 5322 3.2.5).
func phrase(name string, limit int) []rfc822.Token {
	if strings.ContainsAny(name, "%!()<>@,;:\\\".[]") {
		return []rfc822.Token{{Kind: rfc822.Quoted, Text: name}}
	}
	return rfc822.Scan(name, limit)
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
