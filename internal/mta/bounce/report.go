package bounce

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/cleanup"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// mailTime is the form of dates in mail (RFC 5322 3.3) as Postfix writes them.
const mailTime = "Mon, _2 Jan 2006 15:04:05 -0700 (MST)"

func formatTime(t time.Time) string {
	return strings.Replace(t.Format(mailTime), ",  ", ", ", 1)
}

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
	r.line("From: Mail Delivery System <MAILER-DAEMON@%s>", r.core.Myorigin)
	subject, submitted := r.kind.subject, "auto-replied"
	if r.note.copy {
		subject, submitted = r.kind.postmaster, "auto-generated"
	}
	r.line("Subject: %s", subject)
	r.line("To: %s", r.note.to)
	r.line("Auto-Submitted: %s", submitted)
	r.line("MIME-Version: 1.0")
	r.line("Content-Type: multipart/report; report-type=delivery-status;")
	r.line("\tboundary=%q", r.boundary)
	r.encoding()
	r.line("")
}

// encoding says that 8-bit text follows, where the original has it.
func (r *report) encoding() {
	if r.m.Encoding == "8bit" {
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
	if r.m.Encoding == "8bit" {
		charset = "utf-8"
	}
	r.part("Notification", "text/plain; charset="+charset)
	r.encoding()
	r.line("")
	text := strings.NewReplacer(
		"$myhostname", r.core.Myhostname,
		"$delay_warning_time_hours", fmt.Sprint(int(r.set.DelayWarning/time.Hour)),
		"$maximal_queue_lifetime_days", fmt.Sprint(int(r.set.Lifetime/(24*time.Hour))),
	).Replace(r.kind.text)
	for line := range strings.Lines(text) {
		r.line("%s", strings.TrimSuffix(line, "\n"))
	}
	for _, i := range r.recipients {
		rcpt := &r.m.Recipients[i]
		r.line("")
		who := "<" + rcpt.Address + ">"
		if rcpt.Original != "" && !strings.EqualFold(rcpt.Original, rcpt.Address) {
			who += " (expanded from <" + rcpt.Original + ">)"
		}
		r.folded(who + ": " + r.m.Outcomes[i].Text)
	}
	r.line("")
}

// foldWidth is where lines of reasons are broken.
const foldWidth = 79

// folded writes text in lines of at most foldWidth, further ones indented.
func (r *report) folded(text string) {
	indent := ""
	for len(indent)+len(text) > foldWidth {
		at := strings.LastIndexByte(text[:foldWidth-len(indent)+1], ' ')
		if at <= 0 {
			if at = strings.IndexByte(text, ' '); at <= 0 {
				break
			}
		}
		r.line("%s%s", indent, text[:at])
		text, indent = strings.TrimLeft(text[at:], " "), "    "
	}
	r.line("%s%s", indent, text)
}

// status writes the part for programs (RFC 3464 2).
func (r *report) status() {
	m := r.m
	contentType := "message/delivery-status"
	if m.SMTPUTF8 {
		contentType = "message/global-delivery-status"
	}
	r.part("Delivery report", contentType)
	r.line("")
	r.line("Reporting-MTA: dns; %s", r.core.Myhostname)
	if m.EnvID != "" {
		r.line("Original-Envelope-Id: %s", m.EnvID)
	}
	r.line("X-%s-Queue-ID: %s", r.core.MailName, m.ID)
	r.line("X-%s-Sender: rfc822; %s", r.core.MailName, m.Sender)
	r.line("Arrival-Date: %s", formatTime(m.Arrival))
	for _, i := range r.recipients {
		r.line("")
		r.recipientStatus(&m.Recipients[i], &m.Outcomes[i])
	}
	r.line("")
}

func (r *report) recipientStatus(rcpt *queue.Recipient, o *queue.Outcome) {
	r.line("Final-Recipient: rfc822; %s", rcpt.Address)
	switch {
	case rcpt.DSNOrcpt != "":
		r.line("Original-Recipient: %s", rcpt.DSNOrcpt)
	case rcpt.Original != "":
		r.line("Original-Recipient: rfc822;%s", rcpt.Original)
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
		diagnostic = "X-" + r.core.MailName + "; " + o.Text
	}
	r.folded("Diagnostic-Code: " + diagnostic)
	if r.kind == &delay {
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
	whole := r.kind.whole && !r.note.copy && r.m.Ret != queue.RetHeaders && content.Size() <= int64(r.set.SizeLimit)
	r.buf.Reset()
	description, contentType := r.kind.part, "message/rfc822"
	if r.m.SMTPUTF8 {
		contentType = "message/global"
	}
	if !whole {
		description += " Headers"
		contentType = "text/rfc822-headers"
	}
	r.part(description, contentType)
	r.encoding()
	r.line("")
	r.line("Return-Path: <%s>", smtp.QuoteAddress(r.m.Sender))
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

// headerOnly passes a message on up to the end of its header.
type headerOnly struct {
	w    io.Writer
	last [3]byte // the last bytes passed on
	done bool
}

// Write passes p on, or the part of it that belongs to the header. It always
// takes all of p.
func (h *headerOnly) Write(p []byte) (int, error) {
	if h.done {
		return len(p), nil
	}
	joined := append(h.last[:], p...)
	end := len(p)
	if i := bytes.Index(joined, []byte("\n\r\n")); i >= 0 {
		h.done = true
		end = max(0, i+1-len(h.last))
	}
	if _, err := h.w.Write(p[:end]); err != nil {
		return 0, err
	}
	copy(h.last[:], joined[max(0, len(joined)-len(h.last)):])
	return len(p), nil
}
