package imap

import (
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
)

// What is said to clients and to the log, in Dovecot's words.
const (
	replyContinue = "+ OK\r\n"
	replyIdling   = "+ idling\r\n"
	replyStill    = "* OK Still here\r\n"
	replyClosed   = "* OK [CLOSED] Previous mailbox closed.\r\n"

	byeLogout     = "Logging out"
	byeShutdown   = "Server shutting down."
	byeInactivity = "Disconnected for inactivity."
	byeDeleted    = "Selected mailbox was deleted, have to disconnect."
	byeBroken     = "IMAP session state is inconsistent, please relogin."
	byeOutput     = "Disconnected for inactivity in reading our output"

	textNoSpace       = "Not enough disk space"
	textReadOnly      = "Mailbox is read-only"
	textInternal      = "Internal error occurred. Refer to server log for more information."
	textNoMessages    = "No messages found."
	textStoreReadOnly = "Store ignored with read-only mailbox."
	textExpunged      = "Some of the requested messages no longer exist."
	textNotMUTF7      = "Mailbox name is not valid mUTF-7"
)

// The conditions of replies that are failures.
const (
	condNo  = "NO "
	condBad = "BAD "
)

// A reply is a failure with the answer the client gets.
type reply struct {
	cond string // condNo or condBad
	code string // response code with brackets and a blank, or empty
	text string
}

func (r *reply) Error() string { return strings.TrimSpace(r.code + r.text) }

// Failures that any command may have.
var (
	errNotSelected    = &reply{cond: condBad, text: "No mailbox selected."}
	errNotMUTF7       = &reply{cond: condNo, text: textNotMUTF7}
	errExpunged       = &reply{cond: condNo, code: "[EXPUNGEISSUED] ", text: textExpunged}
	errFetch          = &reply{cond: condNo, code: "[SERVERBUG] ", text: textInternal}
	errUnknownCommand = &imapwire.Error{Text: "Unknown command"}
	errArguments      = &imapwire.Error{Text: "Invalid arguments"}
	errMissing        = &imapwire.Error{Text: "Missing arguments"}
	errSet            = &imapwire.Error{Text: "Invalid messageset"}
	errUIDSet         = &imapwire.Error{Text: "Invalid uidset"}
)

// bad returns a syntax error with the given text.
func bad(text string) error { return &imapwire.Error{Text: text} }

// tagged writes the tagged reply of a command: condition, response code or
// other prefix, text, and how long the command took.
func (c *command) tagged(cond, code, text string) error {
	b := c.buf()
	if c.tag == "" {
		b = append(b, '*')
	} else {
		b = append(b, c.tag...)
	}
	b = append(b, ' ')
	b = append(b, cond...)
	b = append(b, code...)
	b = append(b, strings.TrimSuffix(text, ".")...)
	b = c.appendTiming(b)
	return c.put(append(b, '.', '\r', '\n'))
}

// appendTiming appends how long the command ran and how long it waited for the
// client, as Dovecot does: " (0.001 + 0.000 secs)".
func (c *command) appendTiming(b []byte) []byte {
	waited := c.conn.blocked - c.blocked
	b = append(b, " ("...)
	b = appendSeconds(b, time.Since(c.started)-waited)
	b = append(b, " + "...)
	b = appendSeconds(b, waited)
	return append(b, " secs)"...)
}

// appendSeconds appends d as seconds with milliseconds, rounded up.
func appendSeconds(b []byte, d time.Duration) []byte {
	ms := int64((max(d, 0) + time.Millisecond - 1) / time.Millisecond)
	b = strconv.AppendInt(b, ms/1000, 10)
	return append(b, '.', byte('0'+ms/100%10), byte('0'+ms/10%10), byte('0'+ms%10))
}

// appendInternal returns the text for failures that are the server's.
func appendInternal(now time.Time) string {
	return textInternal + now.Format(" [2006-01-02 15:04:05]")
}

// appendInactivity returns the reason for the log.
func appendInactivity(d time.Duration) string {
	return "Inactivity - no input for " + strconv.Itoa(int(d/time.Second)) + " secs"
}
