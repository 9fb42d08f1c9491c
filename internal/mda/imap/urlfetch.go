package imap

import (
	"errors"
	"strings"
	"unicode"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// What URLFETCH tells of a URL (RFC 5524).
type urlItems uint8

const (
	urlBody urlItems = 1 << iota
	urlBinary
	urlStructure
	urlExtended // the answer is a list
)

// urlFetch is URLFETCH (RFC 4467 8, RFC 5524).
func (c *command) urlFetch() error {
	if !c.hasURLAuth() {
		return errNoURLAuth
	}
	args, err := c.dec.Args(0)
	if err != nil {
		return err
	}
	type fetch struct {
		url   string
		items urlItems
	}
	var list []fetch
	for ; len(args) > 0; args = args.Rest() {
		if len(list) == maxURLs {
			return errArguments
		}
		f := fetch{items: urlBody}
		raw, ok := args[0].AString()
		if args[0].Kind == imapwire.List {
			inner := args.List()
			if len(inner) == 0 {
				return errArguments
			}
			raw, ok = inner[0].AString()
			if f.items, err = parseURLItems(inner.Rest()); err != nil {
				return err
			}
		}
		if !ok {
			return errArguments
		}
		f.url = string(raw)
		list = append(list, f)
	}
	if len(list) == 0 {
		return errArguments
	}
	for _, f := range list {
		if err := c.fetchURL(f.url, f.items); err != nil {
			return err
		}
	}
	return nil
}

var urlItemNames = map[string]urlItems{"BODY": urlBody, "BINARY": urlBinary, "BODYPARTSTRUCTURE": urlStructure}

func parseURLItems(args imapwire.Args) (items urlItems, err error) {
	for ; len(args) > 0; args = args.Rest() {
		if args[0].Kind != imapwire.Atom {
			return 0, bad("Invalid URL fetch parameter.")
		}
		item := urlItemNames[string(imapwire.AppendUpper(nil, args[0].Data))]
		if item == 0 {
			return 0, bad("Unknown URL fetch parameter: " + string(args[0].Data))
		}
		items |= item
	}
	if items&urlBody != 0 && items&urlBinary != 0 {
		return 0, bad("URL cannot have both BODY and BINARY fetch parameters.")
	}
	if items == 0 {
		items = urlBody
	}
	return items | urlExtended, nil
}

// fetchURL answers one URL. What cannot be had is NIL.
func (c *command) fetchURL(text string, items urlItems) error {
	u, err := parseAuthURL(text)
	if err != nil {
		return c.refuseURL(text, "fetch", err)
	}
	if err := c.mayFetch(u); err != nil {
		return c.refuseURL(text, "fetch", err)
	}
	if err := c.verify(u); err != nil {
		return c.refuseURL(text, "fetch", err)
	}
	p, err := c.openPart(&u.messageURL)
	if err != nil {
		return c.refuseURL(text, "read", err)
	}
	defer p.close()
	u.section.binary = items&urlBinary != 0
	// The fetcher's position in a message that it reads in pieces is that of another mailbox.
	c.session.partial = lastPartial{}
	defer func() { c.session.partial = lastPartial{} }()
	f := fetcher{command: c, program: &program{}, uid: u.uid, msg: p.msg, body: p.body}
	if f.structure, err = p.msg.Parts(c.ctx, p.body); err != nil {
		return c.refuseURL(text, "read", err)
	}
	return f.answerURL(text, &u.section, items)
}

// refuseURL tells that a URL gives nothing, and why.
func (c *command) refuseURL(text, what string, err error) error {
	var wrong urlError
	if !errors.As(err, &wrong) {
		c.log.Errorf("URLFETCH: %v", err)
		wrong = "Internal server error"
	}
	b := imapwire.AppendAString(append(c.buf(), "* URLFETCH "...), text)
	b = append(b, " NIL\r\n* NO Failed to "...)
	b = append(b, what...)
	b = append(b, " URLAUTH \""...)
	for _, reason := range [...]string{strings.Map(inText, text), "\": ", string(wrong), ".\r\n"} {
		b = append(b, reason...)
	}
	return c.put(b)
}

// inText drops what a line must not have.
func inText(r rune) rune {
	if unicode.IsControl(r) {
		return -1
	}
	return r
}

// answerURL writes what a URL gives. All that can go wrong is found out before the answer begins.
func (f *fetcher) answerURL(text string, s *section, items urlItems) error {
	var part *message.Part
	if items&urlStructure != 0 {
		var ok bool
		if part, ok = f.structure.Part(s.path); !ok {
			return f.refuseURL(text, "read", urlError("Message part not found"))
		}
	}
	var d decoding
	if s.decodes() {
		var err error
		if d, err = f.decoding(s); err != nil {
			return f.refuseURL(text, "read", err)
		}
		if d.refused {
			refused := f.refused
			f.refused = nil
			return f.refuseURL(text, "read", urlError(refused.Error()))
		}
	}
	b := imapwire.AppendAString(append(f.buf(), "* URLFETCH "...), text)
	if items&urlExtended != 0 {
		b = append(b, " ("...)
	}
	if part != nil {
		b = append(b, "BODYPARTSTRUCTURE "...)
		b = (&message.Structure{Root: *part}).AppendBodyStructure(b)
		if items&(urlBody|urlBinary) != 0 {
			b = append(b, ' ')
		}
	}
	if items&urlExtended != 0 {
		s.label = map[urlItems]string{urlBody: "BODY", urlBinary: "BINARY"}[items&(urlBody|urlBinary)]
	}
	if err := f.put(b); err != nil {
		return err
	}
	if err := f.writeURLText(s, d, items); err != nil {
		return f.urlFailed(err)
	}
	if items&urlExtended != 0 {
		return f.write(")\r\n")
	}
	return f.write("\r\n")
}

// urlFailed ends the session, because an answer cannot be finished.
func (c *command) urlFailed(err error) error {
	if c.ended == nil {
		c.log.Errorf("URLFETCH failed: %v", err)
		c.bye = "URLFETCH failed"
		c.end(err)
	}
	return c.ended
}

// writeURLText writes the literal, if one is wanted.
func (f *fetcher) writeURLText(s *section, d decoding, items urlItems) error {
	switch {
	case items&(urlBody|urlBinary) == 0:
		return nil
	case s.decodes():
		return f.writeBinary(s, d)
	}
	return f.writeSection(s, nil)
}
