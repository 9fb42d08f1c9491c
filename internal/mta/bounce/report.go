package bounce

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dovetail-mail/dovetail/internal/mta/cleanup"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

func formatTime(t time.Time) string { return string(cleanup.AppendDate(nil, t)) }

// report writes one notification. Lines end in CRLF.
type report struct {
	*Bouncer
	out        *cleanup.Message
	m          *queue.Message
	recipients []int
	kind       *kind
	note       note
	now        time.Time
	boundary   string
	buf        bytes.Buffer
}

// line writes one line.
func (r *report) line(format string, args ...any) {
	fmt.Fprintf(&r.buf, format+"\r\n", args...)
}

func (r *report) write() error {
	r.boundary = fmt.Sprintf("%s.%d/%s", r.m.ID, r.now.Unix(), r.core.Myhostname)
	r.header()
	r.line("This is a MIME-encapsulated message.")
	r.line("")
	r.text()
	r.status()
	if _, err := r.out.Write(r.buf.Bytes()); err != nil {
		return err
	}
	return r.original()
}

func (r *report) header() {
	r.line("Received: by %s (%s)", r.core.Myhostname, r.core.MailName)
	r.line("\tid %s; %s", r.out.ID(), formatTime(r.now))
	r.line("Date: %s", formatTime(r.now))
	r.line("From: %s", r.complete(r.kind.template.From))
	submitted := "auto-replied"
	if r.note.copy {
		submitted = "auto-generated"
	}
	r.line("Subject: %s", r.kind.subject(r.note.copy))
	r.line("To: %s", r.complete(smtp.QuoteAddress(r.note.to)))
	if r.set.Threaded {
		if id := r.messageID(); id != "" {
			r.line("References: %s", id)
			r.line("In-Reply-To: %s", id)
		}
	}
	r.line("Auto-Submitted: %s", submitted)
	r.line("MIME-Version: 1.0")
	r.line("Content-Type: multipart/report; report-type=delivery-status;")
	r.line("\tboundary=%q", r.boundary)
	if e := r.encoding(r.m); e != "" {
		if e == "7bit" && !r.kind.ascii() {
			e = "8bit"
		}
		r.line("Content-Transfer-Encoding: %s", e)
	}
	r.line("")
}

// complete adds the domain to an address of a header that has none.
func (r *report) complete(value string) string {
	if strings.Contains(value, "@") {
		return value
	}
	if at := strings.IndexByte(value, '>'); at >= 0 {
		return value[:at] + "@" + r.core.Myorigin + value[at:]
	}
	user, rest, comment := strings.Cut(value, " ")
	if comment {
		rest = " " + rest
	}
	return user + "@" + r.core.Myorigin + rest
}

// partEncoding ends the header of a part, where its text may be 8-bit.
func (r *report) partEncoding() {
	if r.encoding(r.m) == "8bit" {
		r.line("Content-Transfer-Encoding: 8bit")
	}
}

func (r *report) part(description, contentType string) {
	r.line("--%s", r.boundary)
	r.line("Content-Description: %s", description)
	r.line("Content-Type: %s", contentType)
}

// text writes the part for people.
func (r *report) text() {
	charset := "us-ascii"
	switch {
	case !r.kind.ascii():
		charset = r.kind.template.Charset
	case r.encoding(r.m) == "8bit":
		charset = "utf-8"
	}
	r.part("Notification", "text/plain; charset="+charset)
	r.partEncoding()
	r.line("")
	if !r.note.copy {
		r.explain()
	}
	for _, i := range r.recipients {
		rcpt := &r.m.Recipients[i]
		r.line("")
		who := "<" + smtp.QuoteAddress(rcpt.Address) + ">"
		if r.expanded(rcpt) {
			who += " (expanded from <" + smtp.QuoteAddress(rcpt.Original) + ">)"
		}
		r.folded(who + ": " + r.m.Outcomes[i].Text)
	}
	r.line("")
}

// expanded tells whether to show what address a recipient was before aliases.
func (r *report) expanded(rcpt *queue.Recipient) bool {
	return rcpt.Original != "" && (r.kind.alone || !strings.EqualFold(rcpt.Original, rcpt.Address))
}

// explain writes what the notification means.
func (r *report) explain() {
	for line := range strings.Lines(r.kind.text) {
		r.line("%s", strings.TrimSuffix(line, "\n"))
	}
}

// foldWidth is where lines of reasons are broken, foldIndent what further lines
// begin with.
const (
	foldWidth  = 79
	foldIndent = "    "
)

// folded writes text in lines of at most foldWidth bytes, as far as there are
// blanks to break them at. The text comes from other systems: it cannot begin a
// line of its own.
func (r *report) folded(text string) {
	text = printable(text)
	for indent := ""; ; indent = foldIndent {
		at := foldAt(text, foldWidth-len(indent))
		r.line("%s%s", indent, strings.TrimRight(text[:at], " "))
		if text = strings.TrimLeft(text[at:], " "); text == "" {
			return
		}
	}
}

// foldAt returns how much of text goes on a line: all, or up to the last blank
// within width, or else to the first.
func foldAt(text string, width int) int {
	if len(text) <= width {
		return len(text)
	}
	if at := strings.LastIndexByte(text[:width+1], ' '); at > 0 {
		return at
	}
	if at := strings.IndexByte(text, ' '); at > 0 {
		return at
	}
	return len(text)
}

// printable replaces what is not text.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c == utf8.RuneError {
			return '?'
		}
		return c
	}, s)
}

// status writes the part for programs (RFC 3464 2).
func (r *report) status() {
	m := r.m
	contentType := "message/delivery-status"
	if m.SMTPUTF8 {
		contentType = "message/global-delivery-status"
	}
	r.part("Delivery report", contentType)
	if m.SMTPUTF8 {
		r.partEncoding()
	}
	r.line("")
	r.line("Reporting-MTA: dns; %s", r.core.Myhostname)
	if m.EnvID != "" {
		r.line("Original-Envelope-Id: %s", printable(m.EnvID))
	}
	r.line("X-%s-Queue-ID: %s", r.mailName(), m.ID)
	r.line("X-%s-Sender: %s; %s", r.mailName(), addressType(m.Sender), r.sender())
	r.line("Arrival-Date: %s", formatTime(m.Arrival))
	for _, i := range r.recipients {
		r.line("")
		r.recipientStatus(&m.Recipients[i], &m.Outcomes[i])
	}
	r.line("")
}

// mailName is mail_name as a word of a header (RFC 3464 2.1.1: an atom).
func (r *report) mailName() string {
	return strings.Map(func(c rune) rune {
		if strings.ContainsRune(" \t\r\n()<>@,;:\\\".[]", c) {
			return '-'
		}
		return c
	}, r.core.MailName)
}

// sender is the original's, the name of this system where it is null.
func (r *report) sender() string {
	if r.m.Sender == "" {
		return "MAILER-DAEMON@" + r.core.Myhostname
	}
	return smtp.QuoteAddress(r.m.Sender)
}

func (r *report) recipientStatus(rcpt *queue.Recipient, o *queue.Outcome) {
	r.line("Final-Recipient: %s; %s", addressType(rcpt.Address), smtp.QuoteAddress(rcpt.Address))
	switch {
	case rcpt.DSNOrcpt != "":
		r.line("Original-Recipient: %s", printable(rcpt.DSNOrcpt))
	case rcpt.Notify == queue.NotifyNever: // a copy, which only has one if it went through an alias
		if r.expanded(rcpt) {
			r.line("Original-Recipient: rfc822; %s", smtp.QuoteAddress(rcpt.Original))
		}
	case rcpt.Original != "":
		r.line("Original-Recipient: %s;%s", addressType(rcpt.Original), smtp.QuoteAddress(rcpt.Original))
	}
	action := o.Action
	if action == "" {
		action = r.kind.action
	}
	r.line("Action: %s", action)
	r.line("Status: %s", o.DSN)
	if o.RemoteMTA != "" {
		r.line("Remote-MTA: %s", o.RemoteMTA)
	}
	diagnostic := o.RemoteCode
	if diagnostic == "" {
		diagnostic = "X-" + r.mailName() + "; " + o.Text
	}
	r.folded("Diagnostic-Code: " + diagnostic)
	if r.kind.until {
		r.line("Will-Retry-Until: %s", formatTime(r.m.Arrival.Add(r.set.Lifetime)))
	}
}

// original writes the message that the report is about, or its header.
func (r *report) original() error {
	content, err := r.store.Content(r.m)
	if err != nil {
		return err
	}
	defer content.Close() //nolint:errcheck // it was only read
	whole := r.kind.whole && content.Size() <= int64(r.set.SizeLimit)
	if r.note.copy {
		whole = whole && r.m.Sender == "" // nobody else will see it
	} else {
		whole = whole && r.m.Ret != queue.RetHeaders
	}
	r.buf.Reset()
	description, contentType := r.kind.part, "message/rfc822"
	if r.m.SMTPUTF8 {
		contentType = "message/global"
	}
	if !whole {
		description += " Headers"
		contentType = "text/rfc822-headers"
		if r.m.SMTPUTF8 {
			contentType = "message/global-headers"
		}
	}
	r.part(description, contentType)
	r.partEncoding()
	r.line("")
	r.line("Return-Path: <%s>", r.sender())
	if _, err := r.out.Write(r.buf.Bytes()); err != nil {
		return err
	}
	var w io.Writer = r.out
	if !whole {
		w = &headerOnly{w: r.out}
	}
	if _, err := content.WriteTo(w); err != nil {
		return err
	}
	r.buf.Reset()
	r.line("")
	r.line("--%s--", r.boundary)
	_, err = r.out.Write(r.buf.Bytes())
	return err
}

// headerOnly passes a message on up to the empty line that ends its header.
type headerOnly struct {
	w      io.Writer
	inLine bool
	cr     bool // a CR at the beginning of a line was held back
	done   bool
}

// Write passes on what of p belongs to the header. It always takes all of p.
func (h *headerOnly) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && !h.done {
		switch {
		case h.inLine:
		case !h.cr && p[0] == '\r':
			h.cr, p = true, p[1:]
			continue
		case p[0] == '\n':
			h.done = true
			continue
		case h.cr:
			h.cr = false
			if _, err := io.WriteString(h.w, "\r"); err != nil {
				return 0, err
			}
		}
		end := bytes.IndexByte(p, '\n') + 1
		h.inLine = end == 0
		if h.inLine {
			end = len(p)
		}
		if _, err := h.w.Write(p[:end]); err != nil {
			return 0, err
		}
		p = p[end:]
	}
	return n, nil
}
