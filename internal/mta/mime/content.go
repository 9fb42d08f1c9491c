package mime

import "strings"

// encoding is a Content-Transfer-Encoding (RFC 2045 6). Its domain is what the
// encoded data consist of.
type encoding struct{ name, domain string }

// encodings are those known; the first one is the default.
var encodings = []encoding{
	{"7bit", "7bit"}, {"8bit", "8bit"}, {"binary", "binary"}, {"base64", "7bit"}, {"quoted-printable", "7bit"},
}

// setEncoding reads the value of a Content-Transfer-Encoding header.
func (s *State) setEncoding(value string) {
	sc := scanner{in: value, specials: `()<>@,;:\".[]`}
	t, ok := sc.next()
	if !ok || t.kind != word {
		return
	}
	for _, e := range encodings {
		if strings.EqualFold(t.text, e.name) {
			s.encoding = e
		}
	}
}

// contentType reads the value of a Content-Type header (RFC 2045 5).
func (s *State) contentType(value string) {
	sc := scanner{in: value, specials: `()<>@,;:\"/[]?=`}
	item, ok := sc.item()
	if !ok || len(item) == 0 {
		s.ctype = other
	}
	if len(item) == 0 || item[0].kind != word {
		return
	}
	subtype := ""
	if len(item) >= 3 && item[1].kind == '/' && item[2].kind == word {
		subtype = strings.ToLower(item[2].text)
	}
	switch strings.ToLower(item[0].text) {
	case "text":
		s.ctype = text
	case "message":
		s.ctype = message
		switch subtype {
		case "rfc822":
			s.ctype = messageRFC822
		case "global":
			s.ctype = messageGlobal
		case "partial", "external-body":
			s.ctype = messageLimited
		}
	case "multipart":
		s.ctype = multipart
		def := text
		if subtype == "digest" {
			def = messageRFC822 // RFC 2046 5.1.5
		}
		s.boundaries(&sc, def)
	}
}

// boundaries takes every boundary parameter, though there should be one: which of them
// others go by is not known.
func (s *State) boundaries(sc *scanner, def contentType) {
	for {
		item, ok := sc.item()
		if !ok {
			return
		}
		if len(item) < 3 || item[0].kind != word || !strings.EqualFold(item[0].text, "boundary") || item[1].kind != '=' {
			continue
		}
		// One level more is allowed than the limit says, as in Postfix.
		if len(s.stack)-1 > s.opt.MaxDepth {
			s.problem(TooDeep, s.header)
			continue
		}
		b := item[2].text
		s.stack = append(s.stack, boundary{b[:min(len(b), s.opt.MaxBoundary)], def})
	}
}

// checkDomain looks for encodings that would hide parts (RFC 2045 6.4).
func (s *State) checkDomain() {
	bad := false
	switch s.ctype {
	case messageLimited:
		bad = s.encoding.domain != "7bit"
	case messageRFC822, multipart:
		bad = s.encoding.name != s.encoding.domain
	}
	if bad {
		s.problem(EncodingDomain, []byte(s.encoding.name))
	}
}

// token kinds of a structured header; a special is its own character.
const (
	word rune = -1 - iota
	quotedString
)

type token struct {
	kind rune
	text string
}

// A scanner takes a structured header apart (RFC 2045 5.1).
type scanner struct {
	in       string
	specials string
}

// maxItem is how many tokens of a parameter are looked at.
const maxItem = 3

// item takes the tokens up to the next ";". ok is false at the end.
func (s *scanner) item() (item []token, ok bool) {
	for {
		t, more := s.next()
		if !more {
			return item, len(item) > 0
		}
		if t.kind == ';' {
			return item, true
		}
		if len(item) < maxItem {
			item = append(item, t)
		}
	}
}

// next takes the next token. Blanks and comments are left out.
func (s *scanner) next() (t token, ok bool) {
	for s.in != "" {
		c := s.in[0]
		switch {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			s.in = s.in[1:]
		case c == '(':
			s.comment()
		case c == '"':
			return token{quotedString, s.quoted()}, true
		case s.isSpecial(c):
			s.in = s.in[1:]
			return token{rune(c), ""}, true
		default:
			i := 1
			for i < len(s.in) && s.in[i] != ' ' && !s.isSpecial(s.in[i]) {
				i++
			}
			t = token{word, s.in[:i]}
			s.in = s.in[i:]
			return t, true
		}
	}
	return token{}, false
}

func (s *scanner) isSpecial(c byte) bool {
	return c < ' ' || c == 0x7f || strings.IndexByte(s.specials, c) >= 0
}

func (s *scanner) comment() {
	depth := 0
	for i := 0; i < len(s.in); i++ {
		switch s.in[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				s.in = s.in[i+1:]
				return
			}
		case '\\':
			i++
		}
	}
	s.in = ""
}

// quoted takes a quoted string; where it is folded, the line end goes with the blanks
// before it.
func (s *scanner) quoted() string {
	var b []byte
	for i := 1; i < len(s.in); i++ {
		switch c := s.in[i]; c {
		case '"':
			s.in = s.in[i+1:]
			return string(b)
		case '\n':
			for len(b) > 0 && strings.IndexByte(" \t\r\n", b[len(b)-1]) >= 0 {
				b = b[:len(b)-1]
			}
		case '\\':
			if i++; i < len(s.in) {
				b = append(b, s.in[i])
			}
		default:
			b = append(b, c)
		}
	}
	s.in = ""
	return string(b)
}
