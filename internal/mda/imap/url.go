package imap

import (
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// A messageURL is the IMAP URL of a message or a part of one (RFC 5092 section 5, with URL-PARTIAL), by
// names that are the server's, without the server.
type messageURL struct {
	mailbox     string // in UTF-8
	uidValidity uint32 // 0 for any
	uid         uint32
	section     section
}

// A urlError is what is wrong with a URL of a client, in Dovecot's words.
type urlError string

func (e urlError) Error() string { return string(e) }

// parseMessageURL reads a URL relative to the server or, without a leading slash, to the mailbox that is
// selected. base is nil if none is.
func parseMessageURL(text string, base *selected) (*messageURL, error) {
	if scheme, _, ok := strings.Cut(text, ":"); ok && strings.EqualFold(scheme, "imap") {
		return nil, urlError("Invalid IMAP URL: Absolute URL is not allowed here")
	}
	u := &messageURL{}
	path, absolute := strings.CutPrefix(text, "/")
	if !absolute && base != nil {
		u.mailbox, u.uidValidity = base.name, base.view.UIDValidity()
	}
	segments := strings.Split(path, "/")
	for _, parse := range []func([]string) ([]string, error){u.parseMailbox, u.parseUID, u.parseSection, u.parsePartial} {
		var err error
		if segments, err = parse(segments); err != nil {
			return nil, fmt.Errorf("Invalid IMAP URL: %w", err)
		}
	}
	switch {
	case len(segments) > 0:
		return nil, urlError("Invalid IMAP URL: Unexpected IMAP URL path segment: `" + segments[0] + "'")
	case u.mailbox == "":
		return nil, urlError("Mailbox-relative IMAP URL, but no mailbox selected")
	case u.uid == 0:
		return nil, urlError("Invalid messagepart IMAP URL")
	}
	return u, nil
}

// parseMailbox reads enc-mailbox [";UIDVALIDITY=" nz-number].
func (u *messageURL) parseMailbox(segments []string) ([]string, error) {
	var name []string
	for len(segments) > 0 && !strings.HasPrefix(strings.ToUpper(segments[0]), ";UID=") {
		part, extension, last := strings.Cut(segments[0], ";")
		text, err := url.PathUnescape(part)
		if err != nil || strings.ContainsRune(text, 0) {
			return nil, urlError("Invalid URL encoding in mailbox reference")
		}
		if text != "" {
			name = append(name, text)
		}
		segments = segments[1:]
		if !last {
			continue
		}
		value, ok := cutPrefixFold(extension, "UIDVALIDITY=")
		if !ok {
			return nil, urlError("Encountered stray ';' in mailbox reference")
		}
		if u.uidValidity, err = urlNumber(value, "UIDVALIDITY"); err != nil {
			return nil, err
		}
		break
	}
	if len(name) > 0 {
		u.mailbox = strings.Join(name, "/")
	}
	return segments, nil
}

// parseUID reads ";UID=" nz-number.
func (u *messageURL) parseUID(segments []string) (rest []string, err error) {
	if len(segments) == 0 {
		return nil, nil
	}
	value, ok := cutPrefixFold(segments[0], ";UID=")
	if !ok {
		return segments, nil
	}
	if strings.Contains(value, ";") {
		return nil, urlError("Encountered stray ';' in UID path segment")
	}
	u.uid, err = urlNumber(value, "UID")
	return segments[1:], err
}

// parseSection reads ";SECTION=" enc-section, in which slashes may be.
func (u *messageURL) parseSection(segments []string) ([]string, error) {
	u.section.peek = true
	if len(segments) == 0 || u.uid == 0 {
		return segments, nil
	}
	spec, ok := cutPrefixFold(segments[0], ";SECTION=")
	if !ok {
		return segments, nil
	}
	segments = segments[1:]
	for len(segments) > 0 && !strings.HasPrefix(segments[0], ";") {
		spec += "/" + segments[0]
		segments = segments[1:]
	}
	text, err := url.PathUnescape(spec)
	switch {
	case spec == "":
		return nil, urlError("Empty SECTION value")
	case err != nil || u.section.parseSpec(strings.ToUpper(text)) != nil,
		u.section.text == textFields, u.section.text == textFieldsNot:
		return nil, urlError("Invalid section")
	}
	return segments, nil
}

// parsePartial reads ";PARTIAL=" number ["." nz-number].
func (u *messageURL) parsePartial(segments []string) ([]string, error) {
	if len(segments) == 0 || u.uid == 0 {
		return segments, nil
	}
	value, ok := cutPrefixFold(segments[0], ";PARTIAL=")
	if !ok {
		return segments, nil
	}
	start, length, counted := strings.Cut(value, ".")
	from, err := strconv.ParseInt(start, 10, 63)
	u.section.partial, u.section.start, u.section.length = true, from, 1<<62
	if counted && err == nil {
		u.section.length, err = strconv.ParseInt(length, 10, 63)
	}
	switch {
	case value == "":
		return nil, urlError("Empty PARTIAL value")
	case counted && length == "":
		return nil, urlError("Empty PARTIAL size")
	case start == "":
		return nil, urlError("Empty PARTIAL offset")
	case err != nil || from < 0 || u.section.length < 0:
		return nil, urlError("Value '" + value + "' is not a valid IMAP number")
	case u.section.length == 0:
		return nil, urlError("PARTIAL size cannot be zero")
	}
	return segments[1:], nil
}

func cutPrefixFold(text, prefix string) (string, bool) {
	if len(text) < len(prefix) || !strings.EqualFold(text[:len(prefix)], prefix) {
		return text, false
	}
	return text[len(prefix):], true
}

// urlNumber reads the nz-number that is the value of what.
func urlNumber(text, what string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	switch {
	case text == "":
		return 0, urlError("Empty " + what + " value")
	case err != nil:
		return 0, urlError("Value '" + text + "' is not a valid IMAP number")
	case n == 0:
		return 0, urlError(what + " cannot be zero")
	}
	return uint32(n), nil
}

// A urlPart is what a URL means, open for reading.
type urlPart struct {
	mbox *mailbox.Mailbox
	msg  *mailbox.Message
	body mailbox.Body
}

// openPart opens what a URL means. It must be closed.
func (c *command) openPart(u *messageURL) (*urlPart, error) {
	mbox, err := c.user.Mailbox(c.ctx, u.mailbox)
	if err != nil {
		return nil, urlError(err.Error())
	}
	p := &urlPart{mbox: mbox}
	if err := p.open(c, u); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *urlPart) open(c *command, u *messageURL) error {
	snap, err := p.mbox.Sync(c.ctx)
	if err != nil {
		return err
	}
	if u.uidValidity != 0 && u.uidValidity != snap.UIDValidity() {
		return urlError("Invalid UIDVALIDITY")
	}
	if _, ok := snap.Find(u.uid); !ok {
		return urlError("Message not found")
	}
	if p.msg, err = p.mbox.Message(u.uid); err != nil {
		return urlError("Message not found")
	}
	p.body, err = p.msg.Open()
	return err
}

func (p *urlPart) close() {
	if p.body != nil {
		p.body.Close()
	}
	p.mbox.Close()
}

// writePart writes what a URL means to w.
func (c *command) writePart(w io.Writer, u *messageURL) error {
	p, err := c.openPart(u)
	if err != nil {
		return err
	}
	defer p.close()
	ext, err := u.section.find(c, p.msg, p.body)
	if err != nil {
		return err
	}
	from, n := u.section.cut(ext.virtual)
	var r io.Reader = io.NewSectionReader(p.body, ext.offset, ext.size)
	if ext.size != ext.virtual {
		r = message.NewCRLFReader(r)
	}
	if _, err := io.CopyN(io.Discard, r, from); err != nil {
		return err
	}
	_, err = io.CopyN(w, r, n)
	return err
}

// find finds the section in a message.
func (s *section) find(c *command, msg *mailbox.Message, body mailbox.Body) (extent, error) {
	if s.whole() {
		virtual, err := msg.VirtualSize()
		return extent{0, body.Size(), virtual}, err
	}
	tree, err := msg.Parts(c.ctx, body)
	if err != nil {
		return extent{}, err
	}
	ext, _ := s.extent(tree) // a part that is not there is empty
	return ext, nil
}
