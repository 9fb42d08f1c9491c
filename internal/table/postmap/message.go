package postmap

import (
	"errors"
	"io"
	"strings"
)

// messageKeys reads a message and calls fn with each header and each line of the body, as
// header_checks and body_checks see them. A header of several lines is one key, with its
// newlines. With keys.mime the headers of parts and of attached messages are headers, too.
func messageKeys(in io.Reader, keys keyMode, fn func(key string) error) error {
	m := &messageReader{keys: keys, fn: fn, inHeader: true}
	err := eachLine(in, m.line)
	if errors.Is(err, errEnough) {
		return nil
	}
	if err != nil {
		return err
	}
	return m.endHeader()
}

// errEnough ends reading when nothing of interest can follow.
var errEnough = errors.New("no more keys")

// maxBoundaries bounds multiparts in multiparts.
const maxBoundaries = 100

type messageReader struct {
	keys     keyMode
	fn       func(string) error
	inHeader bool
	header   []string // lines of the header being read
	// What the Content-Type of the part being read says.
	boundary string
	message  bool
	open     []string // boundaries of the multiparts around
}

func (m *messageReader) line(text string) error {
	if m.keys.mime && strings.HasPrefix(text, "--") {
		if i := m.delimits(text); i >= 0 {
			return m.delimiter(text, i)
		}
	}
	if !m.inHeader {
		return m.body(text)
	}
	switch {
	case len(m.header) > 0 && (strings.HasPrefix(text, " ") || strings.HasPrefix(text, "\t")):
		m.header = append(m.header, text)
		return nil
	case isHeader(text):
		if err := m.endHeader(); err != nil {
			return err
		}
		m.header = []string{text}
		return nil
	}
	if err := m.endHeaders(); err != nil {
		return err
	}
	if text != "" && !m.inHeader {
		if err := m.body(""); err != nil { // the line that should have been between
			return err
		}
		return m.body(text)
	}
	return m.body(text)
}

// isHeader reports whether a line begins a header: a name of printable characters and a colon.
func isHeader(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case c == ':':
			return i > 0
		case c == ' ' || c == '\t':
			// Blanks may be between the name and the colon only.
			return i > 0 && strings.HasPrefix(strings.TrimLeft(text[i:], " \t"), ":")
		case c < 33 || c > 126:
			return false
		}
	}
	return false
}

func (m *messageReader) body(text string) error {
	if !m.keys.body {
		return nil
	}
	return m.fn(text)
}

// endHeader is the end of one header.
func (m *messageReader) endHeader() error {
	if len(m.header) == 0 {
		return nil
	}
	text := strings.Join(m.header, "\n")
	m.header = nil
	if m.keys.mime {
		m.contentType(text)
	}
	if !m.keys.headers {
		return nil
	}
	return m.fn(text)
}

// endHeaders is the end of the headers of the message or of a part.
func (m *messageReader) endHeaders() error {
	if err := m.endHeader(); err != nil {
		return err
	}
	if !m.keys.mime {
		m.inHeader = false
		if !m.keys.body {
			return errEnough
		}
		return nil
	}
	if m.boundary != "" && len(m.open) < maxBoundaries {
		m.open = append(m.open, m.boundary)
	}
	m.inHeader = m.message // those of the attached message follow
	m.boundary, m.message = "", false
	return nil
}

// contentType learns how the body of the part is built.
func (m *messageReader) contentType(header string) {
	name, value, _ := strings.Cut(header, ":")
	if !strings.EqualFold(strings.TrimSpace(name), "content-type") {
		return
	}
	kind, params, _ := strings.Cut(value, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	m.message = kind == "message/rfc822"
	m.boundary = ""
	if !strings.HasPrefix(kind, "multipart/") {
		return
	}
	for params != "" {
		var param string
		param, params = cutParam(params)
		key, value, _ := strings.Cut(param, "=")
		if strings.EqualFold(strings.TrimSpace(key), "boundary") {
			m.boundary = unquote(strings.TrimSpace(value))
		}
	}
}

// cutParam cuts at the first semicolon outside of quotes.
func cutParam(s string) (param, rest string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ';' && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

func unquote(s string) string {
	if !strings.HasPrefix(s, `"`) {
		word, _, _ := strings.Cut(s, " ")
		return word
	}
	var b strings.Builder
	for i := 1; i < len(s) && s[i] != '"'; i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// delimits returns which of the multiparts around a line delimits, or -1.
func (m *messageReader) delimits(text string) int {
	for i := len(m.open) - 1; i >= 0; i-- {
		if strings.HasPrefix(text[2:], m.open[i]) {
			return i
		}
	}
	return -1
}

// delimiter begins the next part of a multipart, or ends it.
func (m *messageReader) delimiter(text string, i int) error {
	if err := m.endHeader(); err != nil {
		return err
	}
	m.boundary, m.message = "", false
	m.inHeader = true
	if strings.HasPrefix(text[2+len(m.open[i]):], "--") {
		m.inHeader = false
		m.open = m.open[:i]
	} else {
		m.open = m.open[:i+1]
	}
	return m.body(text)
}
