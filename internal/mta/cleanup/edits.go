package cleanup

import (
	"bytes"
	"context"
	"io"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/headercheck"
	"github.com/dovetail-mail/dovetail/internal/mta/milter"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/rfc822"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// edits are the changes that milters make to a draft and its envelope.
type edits struct {
	m         *Message
	ctx       context.Context //nolint:containedctx // of the one call that it lives in
	env       *queue.Envelope
	unchecked bool // milter_header_checks have decided: the rest is not looked up
}

var _ milter.Message = (*edits)(nil)

// Headers is for milters.
func (e *edits) Headers(visit func(header []byte) bool) {
	for i := range e.m.draft.fields {
		f := &e.m.draft.fields[i]
		if !f.hidden && !visit(unwrapped(f.text)) {
			return
		}
	}
}

// unwrapped is a header with "\n" between its lines and nothing behind the last.
func unwrapped(text []byte) []byte {
	return bytes.TrimSuffix(bytes.ReplaceAll(text, crlf, lfByte), lfByte)
}

// Body is for milters.
func (e *edits) Body() (io.Reader, error) { return e.m.draft.body.reader(), nil }

// AddHeader is for milters.
func (e *edits) AddHeader(name, value string) milter.Verdict {
	return e.InsertHeader(len(e.m.draft.fields), name, value)
}

// InsertHeader is for milters.
func (e *edits) InsertHeader(index int, name, value string) milter.Verdict {
	text, v := e.header(name, value)
	if text == nil {
		return v
	}
	return e.failed(e.m.draft.insert(index, text), v)
}

// ChangeHeader is for milters.
func (e *edits) ChangeHeader(index int, name, value string) milter.Verdict {
	d := e.m.draft
	i := d.find(name, index)
	switch {
	case i < 0 && value == "":
		return milter.Verdict{}
	case i < 0:
		return e.AddHeader(name, value)
	case value == "":
		d.size -= len(d.fields[i].text)
		d.fields = append(d.fields[:i], d.fields[i+1:]...)
		return milter.Verdict{}
	}
	text, v := e.header(name, value)
	if text != nil {
		d.size += len(text) - len(d.fields[i].text)
		d.fields[i].text = text
	}
	return v
}

// header makes a header of name and value; nil for one that is not to be.
func (e *edits) header(name, value string) ([]byte, milter.Verdict) {
	line := name + ":" + withoutCR(value)
	if !headercheck.IsHeader(line) {
		e.m.c.log.Warningf("%s: ignoring attempt from Milter to add a header without a valid name: \"%s\"", e.m.id, printable(name))
		return nil, milter.Verdict{}
	}
	line, keep, v := e.checkAdded(line)
	if !keep {
		return nil, v
	}
	return bytes.Clone(e.m.formatHeader([]byte(line))), v
}

// failed is the verdict where a change could not be made.
func (e *edits) failed(err error, v milter.Verdict) milter.Verdict {
	if err == nil {
		return v
	}
	m := e.m
	m.c.log.Warningf("%s: %v", m.id, err)
	if err == errHeaderSize || err == errBodySize {
		m.refuse(badContent, replyTooBig)
	} else {
		m.refuse(writeError, replyWrite)
	}
	return milter.Verdict{Action: milter.Reject, Reply: m.refusal}
}

// ChangeFrom is for milters. Of ESMTP's parameters those are taken that are kept with the
// sender.
func (e *edits) ChangeFrom(addr, params string) milter.Verdict {
	m := e.m
	for param := range strings.FieldsSeq(params) {
		name, value, _ := strings.Cut(param, "=")
		text, ok := smtp.ParseXtext([]byte(value))
		switch {
		case strings.EqualFold(name, "RET") && strings.EqualFold(value, "FULL"):
			e.env.Ret = queue.RetFull
		case strings.EqualFold(name, "RET") && strings.EqualFold(value, "HDRS"):
			e.env.Ret = queue.RetHeaders
		case strings.EqualFold(name, "ENVID") && ok && text == printable(text):
			e.env.EnvID = text
		default:
			m.c.log.Warningf("Ignoring bad ESMTP parameter \"%s\" in SMFI_CHGFROM request", printable(param))
		}
	}
	sender, several := internalAddress(addr)
	if several {
		m.c.log.Warningf("%s: Milter request to add multi-sender: \"%s\"", m.id, printable(addr))
	}
	m.origin.Sender, m.senderKnown = sender, false
	e.env.Sender = m.senderAddress()
	m.noteUTF8(e.env.Sender)
	if m.c.plain || m.origin.Unmapped || m.origin.Internal || e.env.Sender == "" {
		return e.verdict()
	}
	l := e.recipients()
	m.copyTo(e.ctx, l, "sender_bcc_maps", m.c.senderBCC, e.env.Sender)
	e.env.Recipients = l.all
	return e.verdict()
}

// verdict is Continue, unless the message was refused meanwhile.
func (e *edits) verdict() milter.Verdict {
	if e.m.status != accepted {
		return milter.Verdict{Action: milter.Reject, Reply: e.m.refusal}
	}
	return milter.Verdict{}
}

// internalAddress is the first address of a text.
func internalAddress(text string) (addr string, several bool) {
	found := false
	for _, t := range rfc822.ParseList(text, 0) {
		if t.Kind != rfc822.Address {
			continue
		}
		if found {
			return addr, true
		}
		addr, found = rfc822.Internal(t.List), true
	}
	return addr, false
}

// recipients is the list of those that there are, to add more.
func (e *edits) recipients() *recipientList {
	l := e.m.newRecipientList(e.env)
	for i := range e.env.Recipients {
		l.add(e.env.Recipients[i])
	}
	return l
}

// AddRcpt is for milters.
func (e *edits) AddRcpt(addr, params string) milter.Verdict {
	m := e.m
	var r queue.Recipient
	if params != "" {
		rc, err := smtp.ParseRcptArgs([]byte("TO:<x> "+params), smtp.ExtDSN)
		if err != nil {
			m.c.log.Warningf("%s: ignoring ESMTP argument from Milter or header/body_checks: \"%.100s\"", m.id, printable(params))
		} else {
			r.Notify, r.DSNOrcpt = uint8(rc.Notify), rc.ORcpt
		}
	}
	to, several := internalAddress(addr)
	if several {
		m.c.log.Warningf("%s: Milter or header/body_checks request to add multi-recipient: \"%s\"", m.id, printable(addr))
	}
	if to == "" {
		m.c.log.Warningf("%s: ignoring attempt from Milter to add null recipient", m.id)
		return milter.Verdict{}
	}
	to = m.recipientAddress(e.ctx, to)
	m.noteUTF8(to)
	r.Address, r.Original = to, to
	l := e.recipients()
	m.expand(l, r)
	e.env.Recipients = l.all
	return e.verdict()
}

// DeleteRcpt is for milters: it removes all that a recipient became.
func (e *edits) DeleteRcpt(addr string) milter.Verdict {
	rcpt, _ := internalAddress(addr)
	kept := e.env.Recipients[:0]
	for _, r := range e.env.Recipients {
		original := r.Original
		if original == "" {
			original = r.Address
		}
		if original != rcpt {
			kept = append(kept, r)
		}
	}
	e.env.Recipients = kept
	return milter.Verdict{}
}

// ReplaceBody is for milters.
func (e *edits) ReplaceBody() (milter.BodyWriter, milter.Verdict) {
	return &newBody{e: e}, milter.Verdict{}
}

// newBody is a body under way, with CRLF at the end of each line.
type newBody struct {
	e    *edits
	body spool
	last byte // before what comes next
	err  error
}

// Write is for milters.
func (b *newBody) Write(p []byte) milter.Verdict {
	for len(p) > 0 && b.err == nil {
		n := bytes.IndexByte(p, '\n')
		if n < 0 {
			b.put(p)
			break
		}
		b.put(p[:n])
		if b.last != '\r' {
			b.put(crByte)
		}
		b.put(lfByte)
		p = p[n+1:]
	}
	return b.e.failed(b.err, milter.Verdict{})
}

// put adds bytes that need no change.
func (b *newBody) put(p []byte) {
	if len(p) == 0 || b.err != nil {
		return
	}
	b.last = p[len(p)-1]
	if limit := b.e.m.c.core.MessageSizeLimit; limit > 0 && b.body.length()+int64(len(p)) > limit {
		b.err = errBodySize
		return
	}
	b.err = b.body.write(p, b.e.m.draft.file)
}

// Close is for milters.
func (b *newBody) Close() milter.Verdict {
	if b.err == nil && b.last != '\n' && b.last != 0 {
		b.put(crlf)
	}
	if b.err != nil {
		b.body.close()
		return b.e.failed(b.err, milter.Verdict{})
	}
	d := b.e.m.draft
	d.body.close()
	d.body, d.hasBody = b.body, true
	return milter.Verdict{}
}
