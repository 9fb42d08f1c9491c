package message

import (
	"bufio"
	"bytes"
	"html"
	"io"
	"strings"
)

// previewLength is how many characters a preview has.
const previewLength = 200

// Preview returns the beginning of the text of a message for a list of messages (RFC
// 8970), as Dovecot makes it: the first part that is text, of HTML what is not markup,
// runs of blanks and line ends as one blank, at most 200 characters. Quoted lines are
// left out unless there are no others; then it begins with ">". body gives the
// message as stored.
func Preview(s *Structure, body io.ReaderAt) (string, error) {
	p := &previewer{body: body, plain: excerpt{left: previewLength}, quoted: excerpt{left: previewLength - 1}}
	if err := p.part(&s.Root); err != nil {
		return "", err
	}
	switch {
	case p.plain.text.Len() > 0:
		return strings.TrimLeft(p.plain.text.String(), " "), nil
	case p.quoted.text.Len() > 0:
		return ">" + strings.TrimLeft(p.quoted.text.String(), " "), nil
	}
	return "", nil
}

// A previewer makes a preview.
type previewer struct {
	body   io.ReaderAt
	plain  excerpt
	quoted excerpt
	blank  bool // before the next character
}

// An excerpt is characters of the text.
type excerpt struct {
	text bytes.Buffer
	left int
}

// part looks for the first text that gives a preview.
func (p *previewer) part(part *Part) error {
	for _, child := range part.Children {
		if err := p.part(child); err != nil || p.plain.text.Len()+p.quoted.text.Len() > 0 {
			return err
		}
	}
	mediaType := part.MediaType()
	if len(part.Children) > 0 || !strings.HasPrefix(mediaType, "text/") || part.Body.Physical == 0 {
		return nil
	}
	r := NewTextReader(part, io.NewSectionReader(p.body, part.BodyOffset(), part.Body.Physical))
	if mediaType == "text/html" {
		r = &htmlReader{r: bufio.NewReader(r)}
	}
	return p.text(bufio.NewReader(r))
}

func (p *previewer) text(r io.RuneReader) error {
	target, lineStart := &p.plain, true
	for p.plain.left > 0 {
		c, size, err := r.ReadRune()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if lineStart {
			lineStart, target = false, &p.plain
			if c == '>' {
				target = &p.quoted
				continue
			}
		}
		switch {
		case c == ' ' || c >= '\t' && c <= '\r':
			p.blank = p.blank || target.text.Len() > 0
			lineStart = c == '\n'
		case c == 0 || c == '\uFEFF' && size > 1:
		default:
			p.add(target, c)
		}
	}
	return nil
}

// add adds a character. A blank counts as one; there is none at the end.
func (p *previewer) add(to *excerpt, c rune) {
	if to.left == 0 {
		return
	}
	to.left--
	if p.blank {
		if to.left == 0 {
			return
		}
		to.left--
		to.text.WriteByte(' ')
		p.blank = false
	}
	to.text.WriteRune(c)
}

// maxMarkup bounds what is read ahead to recognize a tag or an entity.
const maxMarkup = 16

// An htmlReader drops markup: tags, comments, scripts and styles. A tag leaves a blank
// where there was none; entities become characters, unknown ones vanish.
type htmlReader struct {
	r       *bufio.Reader
	quotes  int // blockquotes that are open
	newline bool
	last    byte
	pending []byte
}

func (h *htmlReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(h.pending) > 0 {
			k := copy(p[n:], h.pending)
			h.pending = h.pending[k:]
			n += k
			continue
		}
		c, err := h.r.ReadByte()
		if err != nil {
			if n > 0 {
				return n, nil
			}
			return 0, err
		}
		switch c {
		case '<':
			h.tag()
		case '&':
			h.entity()
		default:
			h.put(c)
		}
	}
	return n, nil
}

func (h *htmlReader) put(b ...byte) {
	h.pending = append(h.pending, b...)
	if len(b) > 0 {
		h.last = b[len(b)-1]
	}
}

// blank puts a blank unless one is there, or nothing.
func (h *htmlReader) blank() {
	if h.last != 0 && h.last != ' ' && h.last != '\n' {
		h.put(' ')
	}
}

// tag reads what begins with "<".
func (h *htmlReader) tag() {
	ahead, _ := h.r.Peek(maxMarkup) // at the end there is less
	low := bytes.ToLower(ahead)
	named := func(name string) bool {
		if !bytes.HasPrefix(low, []byte(name)) || len(low) == len(name) {
			return false
		}
		return strings.IndexByte(" \t\r\n>", low[len(name)]) >= 0
	}
	switch {
	case bytes.HasPrefix(low, []byte("!--")):
		h.skipPast("-->")
	case named("script"):
		h.skipPast("</script>")
		h.blank()
	case named("style"):
		h.skipPast("</style>")
		h.blank()
	case bytes.HasPrefix(low, []byte("![cdata[")):
		h.r.Discard(len("![cdata[")) //nolint:errcheck // it was seen
		h.cdata()
	case named("blockquote"):
		h.quotes++
		h.skipTag()
	case named("/blockquote") && h.quotes > 0:
		h.quotes--
		h.newline = true
		h.skipTag()
	default:
		h.skipTag()
	}
}

// skipTag reads to the end of a tag; ">" in quotes is not one.
func (h *htmlReader) skipTag() {
	for {
		c, err := h.r.ReadByte()
		if err != nil {
			return
		}
		switch c {
		case '"', '\'':
			h.skipQuoted(c)
		case '>':
			h.endTag()
			return
		}
	}
}

// skipQuoted reads to the end of what is in quotes in a tag.
func (h *htmlReader) skipQuoted(quote byte) {
	for {
		c, err := h.r.ReadByte()
		if err != nil || c == quote {
			return
		}
		if c == '\\' {
			h.r.ReadByte() //nolint:errcheck // the next call tells of the end
		}
	}
}

// endTag puts what a tag leaves.
func (h *htmlReader) endTag() {
	switch {
	case h.quotes > 0:
		h.put('\n', '>')
	case h.newline:
		h.put('\n')
	}
	h.newline = false
	h.blank()
}

// skipPast reads to the end of a word, whose letters have no case.
func (h *htmlReader) skipPast(end string) {
	matched := 0
	for matched < len(end) {
		c, err := h.r.ReadByte()
		if err != nil {
			return
		}
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c == end[matched] {
			matched++
			continue
		}
		matched = 0
		if c == end[0] {
			matched = 1
			if end == "-->" {
				matched = 2 // "--->"
			}
		}
	}
}

func (h *htmlReader) cdata() {
	for {
		c, err := h.r.ReadByte()
		if err != nil {
			return
		}
		if c == ']' {
			if ahead, _ := h.r.Peek(2); string(ahead) == "]>" {
				h.r.Discard(2) //nolint:errcheck // it was seen
				return
			}
		}
		h.put(c)
	}
}

// entity reads what begins with "&".
func (h *htmlReader) entity() {
	ahead, _ := h.r.Peek(maxMarkup)
	end := bytes.IndexAny(ahead, "; \t\r\n")
	if end < 0 || end >= 10 || ahead[end] != ';' {
		return // only the "&" is dropped
	}
	name := string(ahead[:end])
	h.r.Discard(end + 1) //nolint:errcheck // it was seen
	if text := html.UnescapeString("&" + name + ";"); text != "&"+name+";" {
		h.put([]byte(text)...)
	}
}
