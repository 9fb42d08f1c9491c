package imap

import (
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// sectionText is what of its part a section is.
type sectionText uint8

const (
	textAll       sectionText = iota // the part's body; of the message: all of it
	textHeader                       // HEADER
	textFields                       // HEADER.FIELDS
	textFieldsNot                    // HEADER.FIELDS.NOT
	textBody                         // TEXT
	textMIME                         // MIME
)

// A section is BODY[...] (RFC 3501 6.4.5), or another item that is written in its
// turn among sections.
type section struct {
	item     item   // if it is one; nothing else is set then
	label    string // in the reply, with the origin of a partial
	path     []int  // part numbers
	text     sectionText
	fields   []string // of textFields and textFieldsNot, in upper case
	peek     bool
	binary   bool // BINARY (RFC 3516)
	sizeOnly bool // BINARY.SIZE
	partial  bool
	start    int64 // of a partial
	length   int64
}

// rfc822Sections are the old names of sections.
var rfc822Sections = map[string]section{
	"RFC822":        {label: "RFC822"},
	"RFC822.HEADER": {label: "RFC822.HEADER", text: textHeader, peek: true},
	"RFC822.TEXT":   {label: "RFC822.TEXT", text: textBody},
}

// maxPathLen is how many part numbers a section may have.
const maxPathLen = 100

// parseSection reads BODY[...], BODY.PEEK[...] or the like with BINARY, of which name is the
// first argument in upper case. Field names come as arguments of their own.
func parseSection(name string, args imapwire.Args) (s section, rest imapwire.Args, err error) {
	item := "BODY"
	after, ok := strings.CutPrefix(name, item)
	if !ok {
		item = "BINARY"
		after, ok = strings.CutPrefix(name, item)
		s.binary = ok
	}
	if !ok {
		if strings.HasPrefix(name, "RFC822.") {
			return s, nil, bad("Unknown parameter " + name)
		}
		return s, nil, bad("Unknown parameter: " + name)
	}
	if after, s.peek = strings.CutPrefix(after, ".PEEK"); s.binary && !s.peek {
		after, s.sizeOnly = strings.CutPrefix(after, ".SIZE")
		s.peek = s.sizeOnly
	}
	spec, ok := strings.CutPrefix(after, "[")
	if !ok {
		if after != "" && after[0] != '.' {
			return s, nil, bad("Unknown parameter: " + name)
		}
		return s, nil, s.bad("parameter: Missing '['")
	}
	rest = args.Rest()
	spec, end, closed := strings.Cut(spec, "]")
	label := item + "[" + spec
	if s.sizeOnly {
		label = item + ".SIZE[" + spec
	}
	if s.parseSpec(spec) != nil {
		return s, nil, s.bad("section")
	}
	if s.text == textFields || s.text == textFieldsNot {
		if closed || len(rest) == 0 || rest[0].Kind != imapwire.List {
			return s, nil, s.bad("section")
		}
		if label, err = s.parseFields(label, rest.List()); err != nil {
			return s, nil, err
		}
		if rest = rest.Rest(); len(rest) > 0 && rest[0].Kind == imapwire.Atom {
			end, closed = strings.CutPrefix(string(rest[0].Data), "]")
			rest = rest.Rest()
		}
	}
	if !closed {
		return s, nil, s.bad("parameter: Missing ']'")
	}
	s.label = label + "]"
	if s.sizeOnly {
		return s, rest, nil // Dovecot takes no notice of a partial
	}
	return s, rest, s.parsePartial(end)
}

// bad returns an error about the section.
func (s *section) bad(what string) error {
	if s.binary {
		return bad("Invalid BINARY[..] " + what)
	}
	return bad("Invalid BODY[..] " + what)
}

var errSection = &imapwire.Error{Text: "Invalid BODY[..] section"}

// parseSpec reads what stands between the brackets: part numbers and a name.
func (s *section) parseSpec(spec string) error {
	for spec != "" && '0' <= spec[0] && spec[0] <= '9' {
		number, after, more := strings.Cut(spec, ".")
		n, err := strconv.ParseUint(number, 10, 31)
		if err != nil || len(s.path) == maxPathLen || more && after == "" {
			return errSection
		}
		s.path = append(s.path, int(n))
		spec = after
	}
	switch spec {
	case "":
		s.text = textAll
	case "HEADER":
		s.text = textHeader
	case "HEADER.FIELDS":
		s.text = textFields
	case "HEADER.FIELDS.NOT":
		s.text = textFieldsNot
	case "TEXT":
		s.text = textBody
	case "MIME":
		if len(s.path) == 0 {
			return errSection
		}
		s.text = textMIME
	default:
		return errSection
	}
	return nil
}

// parseFields reads field names and returns the label with them as Dovecot
// repeats them.
func (s *section) parseFields(label string, list imapwire.Args) (string, error) {
	if len(list) == 0 {
		return "", errSection
	}
	b := append([]byte(label), " ("...)
	for ; len(list) > 0; list = list.Rest() {
		if list[0].Kind == imapwire.List {
			return "", bad("Invalid BODY[..] parameter: Header list contains non-strings")
		}
		name := imapwire.AppendUpper(nil, list[0].Data)
		s.fields = append(s.fields, string(name))
		if list[0].Kind == imapwire.Atom {
			b = append(b, name...)
		} else {
			b = imapwire.AppendString(b, name)
		}
		b = append(b, ' ')
	}
	b[len(b)-1] = ')'
	return string(b), nil
}

// parsePartial reads <start.length>, or nothing.
func (s *section) parsePartial(text string) error {
	if text == "" {
		return nil
	}
	text, ok := strings.CutPrefix(text, "<")
	if !ok {
		return s.bad("parameter: Unexpected data after ']'")
	}
	text, after, ok := strings.Cut(text, ">")
	start, length, counted := strings.Cut(text, ".")
	from, valid := imapwire.ParseUint([]byte(start))
	if !valid {
		return s.bad("parameter: Too big partial start")
	}
	s.partial, s.start, s.length = true, int64(from), 1<<62
	if counted {
		n, valid := imapwire.ParseUint([]byte(length))
		if !valid {
			return s.bad("parameter: Too big partial end")
		}
		s.length = int64(n)
	}
	if !ok {
		return s.bad("parameter: Missing '>' in partial")
	}
	if after != "" {
		return s.bad("parameter: Unexpected data after '>'")
	}
	s.label += "<" + start + ">"
	return nil
}

// whole reports whether the section is the whole message.
func (s *section) whole() bool { return s.text == textAll && len(s.path) == 0 }

// isFields reports whether the section is fields of the message's header, which
// are cached.
func (s *section) isFields() bool { return s.text == textFields && len(s.path) == 0 }

// isHeader reports whether the section counts as header in the log.
func (s *section) isHeader() bool {
	return s.text == textHeader || s.text == textFields || s.text == textFieldsNot || s.text == textMIME
}

// An extent is a piece of a stored message.
type extent struct {
	offset  int64 // physical
	size    int64 // physical
	virtual int64 // size with every line ended by CRLF
}

// extent finds the section in a message. It is false if there is no such part.
func (s *section) extent(tree *message.Structure) (extent, bool) {
	part, ok := tree.Part(s.path)
	if !ok {
		return extent{}, false
	}
	header := extent{part.Offset, part.Header.Physical, part.Header.Virtual}
	body := extent{part.BodyOffset(), part.Body.Physical, part.Body.Virtual}
	switch {
	case s.text == textMIME:
		return header, true
	case s.text == textAll && len(s.path) > 0:
		return body, true
	case s.text == textAll:
		return extent{header.offset, header.size + body.size, header.virtual + body.virtual}, true
	}
	if len(s.path) > 0 {
		// HEADER and TEXT are those of the message that the part is.
		if part.Flags&message.RFC822 == 0 || len(part.Children) == 0 {
			return extent{}, false
		}
		part = part.Children[0]
		header = extent{part.Offset, part.Header.Physical, part.Header.Virtual}
		body = extent{part.BodyOffset(), part.Body.Physical, part.Body.Virtual}
	}
	if s.text == textBody {
		return body, true
	}
	return header, true
}
