package cleanup

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// A status is why a message is refused. Of several the highest one is told, as
// Postfix's SMTP server orders them.
type status uint8

const (
	accepted status = iota
	writeError
	badContent
	tooManyHops
	deferred
)

// refuse notes that the message will not be taken. What follows of it is looked at
// still, for the log, but not kept.
func (m *Message) refuse(s status, reply smtp.Reply) {
	m.dropped = true
	if s > m.status {
		m.status, m.refusal = s, reply
	}
}

// lookupFailed refuses a message for a table that could not be asked. of names what was
// looked up.
func (m *Message) lookupFailed(param, of string) {
	m.c.log.Warningf("%s: %s map lookup problem%s -- message not accepted, try again later", m.id, param, of)
	m.refuse(writeError, replyWrite)
}

// refuseContent refuses a message with a reason of the administrator, which may begin with
// a status code of its own. It returns the reason as the log has it.
func (m *Message) refuseContent(reason string) string {
	e, n := smtp.ParseEnhanced(reason)
	text := strings.TrimLeft(reason[n:], " \t")
	if e.IsZero() {
		e, text = smtp.Enhanced{5, 7, 1}, reason
	}
	if e[0] != 4 && e[0] != 5 {
		m.c.log.Warningf("bad DSN action in %s -- need 4.x.x or 5.x.x", reason)
		e[0] = 4
	}
	m.hasReason = true
	if e[0] == 4 {
		m.refuse(deferred, smtp.Reply{Code: 451, Enhanced: e, Text: text})
	} else {
		m.refuse(badContent, smtp.Reply{Code: 550, Enhanced: e, Text: text})
	}
	return strings.TrimRight(e.String()+" "+text, " ")
}
