package queuefile

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// An Entry is what a log in defer/, bounce/ or trace/ says about a recipient.
type Entry struct {
	Recipient string // internal form
	Original  string // internal form; empty if it is the recipient
	Offset    int64  // of the recipient in the queue file; 0 if it is not said
	Orcpt     string
	Notify    int
	Status    string // "4.4.1"
	Action    string // RFC 3464 2.3.3: "delayed", "failed", ...
	DiagType  string // "smtp", with DiagText
	DiagText  string
	MTAType   string // "dns", with MTAName
	MTAName   string
	Reason    string
}

const (
	maxLogLine = 64 << 10
	maxEntries = 1 << 20
)

// ReadLog reads a log. What it does not know it skips.
func ReadLog(r io.Reader) ([]Entry, error) {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, 4096), maxLogLine)
	var all []Entry
	var e Entry
	begun := false
	for in.Scan() {
		line := in.Text()
		if line == "" {
			if begun {
				all = append(all, e)
			}
			e, begun = Entry{}, false
			if len(all) > maxEntries {
				return nil, fmt.Errorf("%w: log with more than %d entries", ErrCorrupt, maxEntries)
			}
			continue
		}
		if e.line(line) {
			begun = true
		}
	}
	if begun {
		all = append(all, e)
	}
	if in.Err() == bufio.ErrTooLong {
		return all, fmt.Errorf("%w: log with a line of more than %d bytes", ErrCorrupt, maxLogLine)
	}
	return all, in.Err()
}

// line takes one line and says whether it was understood.
func (e *Entry) line(line string) bool {
	if strings.HasPrefix(line, "<") {
		// The old form, "<recipient>: reason"; newer ones add the fields.
		addr, reason, ok := strings.Cut(line, ">: ")
		if ok {
			e.Recipient, e.Reason = unquote(addr[1:]), reason
		}
		return ok
	}
	name, value, ok := strings.Cut(line, "=")
	if !ok {
		return false
	}
	switch name {
	case "recipient":
		e.Recipient = unquote(strings.Trim(value, "<>"))
	case "original_recipient":
		e.Original = unquote(value)
	case "offset":
		e.Offset = int64(number(value))
	case "notify_flags":
		e.Notify = number(value)
	default:
		if to := e.text(name); to != nil {
			*to = value
			return true
		}
		return false
	}
	return true
}

// text returns the field of a name.
func (e *Entry) text(name string) *string {
	switch name {
	case "dsn_orig_rcpt":
		return &e.Orcpt
	case "status":
		return &e.Status
	case "action":
		return &e.Action
	case "diag_type":
		return &e.DiagType
	case "diag_text":
		return &e.DiagText
	case "mta_type":
		return &e.MTAType
	case "mta_mname":
		return &e.MTAName
	case "reason":
		return &e.Reason
	}
	return nil
}

// unquote turns an address into internal form; what is none stays as it is.
func unquote(addr string) string {
	if path, err := smtp.ParsePath([]byte(addr)); err == nil {
		return path.Address
	}
	return addr
}

// WriteLog writes a log as Postfix does.
func WriteLog(w io.Writer, entries []Entry) error {
	out := bufio.NewWriter(w)
	for i := range entries {
		out.WriteString(entries[i].format()) //nolint:errcheck // Flush says it
	}
	return out.Flush()
}

func (e *Entry) format() string {
	var b strings.Builder
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s=%s\n", name, printable(value))
		}
	}
	rcpt := smtp.QuoteAddress(e.Recipient)
	fmt.Fprintf(&b, "\n<%s>: %s\n", printable(rcpt), printable(e.Reason))
	if rcpt == "" {
		rcpt = "<>"
	}
	field("recipient", rcpt)
	if e.Original != e.Recipient {
		field("original_recipient", smtp.QuoteAddress(e.Original))
	}
	if e.Offset > 0 {
		field("offset", strconv.FormatInt(e.Offset, 10))
	}
	field("dsn_orig_rcpt", e.Orcpt)
	if e.Notify != 0 {
		field("notify_flags", strconv.Itoa(e.Notify))
	}
	field("status", e.Status)
	field("action", e.Action)
	if e.DiagType != "" && e.DiagText != "" {
		field("diag_type", e.DiagType)
		field("diag_text", e.DiagText)
	}
	if e.MTAType != "" && e.MTAName != "" {
		field("mta_type", e.MTAType)
		field("mta_mname", e.MTAName)
	}
	field("reason", e.Reason)
	b.WriteByte('\n')
	return b.String()
}

// printable keeps a value on its line. UTF-8 stays, as the addresses of SMTPUTF8
// have it.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}
