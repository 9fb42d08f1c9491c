package mailbox

// validList tells whether b is one IMAP list: parentheses in pairs, strings that end. A cache
// that was damaged must not make a client take what follows for something else.
func validList(b []byte) bool {
	s := listScanner{b: b}
	return s.list() && s.at == len(b)
}

// appendBodyOf appends the BODY that follows from the inside of a BODYSTRUCTURE: the same
// without extension data (RFC 3501 7.4.2).
func appendBodyOf(b, structure []byte) ([]byte, bool) {
	s := listScanner{b: structure}
	b = append(b, '(')
	b, ok := s.body(b, 0)
	return append(b, ')'), ok && s.at == len(structure)
}

// A listScanner reads IMAP data.
type listScanner struct {
	b  []byte
	at int
}

// maxListDepth bounds the nesting of lists.
const maxListDepth = 400

// list skips one list or anything else that stands in one.
func (s *listScanner) list() bool {
	depth := 0
	for {
		switch s.peek() {
		case '(':
			if depth++; depth > maxListDepth {
				return false
			}
			s.at++
		case ')':
			if depth == 0 {
				return false
			}
			depth--
			s.at++
		case ' ':
			if depth == 0 {
				return false
			}
			s.at++
			continue
		default:
			if !s.word() {
				return false
			}
		}
		if depth == 0 {
			return true
		}
	}
}

func (s *listScanner) peek() byte {
	if s.at < len(s.b) {
		return s.b[s.at]
	}
	return 0
}

// word skips a string, literal, number or NIL.
func (s *listScanner) word() bool {
	switch s.peek() {
	case '"':
		return s.quoted()
	case '{':
		return s.literal()
	default:
		from := s.at
		for c := s.peek(); c > ' ' && c < 0x7f && c != '(' && c != ')' && c != '"' && c != '{'; c = s.peek() {
			s.at++
		}
		return s.at > from
	}
}

func (s *listScanner) quoted() bool {
	for s.at++; s.at < len(s.b); s.at++ {
		switch s.b[s.at] {
		case '"':
			s.at++
			return true
		case '\\':
			s.at++
		case 0, '\r', '\n':
			return false
		}
	}
	return false
}

func (s *listScanner) literal() bool {
	n, digits := 0, 0
	for s.at++; '0' <= s.peek() && s.peek() <= '9' && digits < 9; s.at++ {
		n, digits = 10*n+int(s.b[s.at]-'0'), digits+1
	}
	if digits == 0 || len(s.b)-s.at < 3+n || string(s.b[s.at:s.at+3]) != "}\r\n" {
		return false
	}
	s.at += 3 + n
	return true
}

// skip skips n items and the blanks before them.
func (s *listScanner) skip(n int) bool {
	for range n {
		if s.peek() != ' ' {
			return false
		}
		s.at++
		if !s.list() {
			return false
		}
	}
	return true
}

// body copies the inside of the structure of a part up to its end.
func (s *listScanner) body(b []byte, depth int) ([]byte, bool) {
	if depth > maxListDepth {
		return b, false
	}
	if s.peek() == '(' {
		return s.multipart(b, depth)
	}
	from := s.at
	kind, subtype := s.text(), ""
	if s.peek() == ' ' {
		s.at++
		subtype = s.text()
	}
	// Parameters, id, description, encoding, octets.
	if kind == "" || subtype == "" || !s.skip(5) {
		return b, false
	}
	b = append(b, s.b[from:s.at]...)
	switch {
	case equalASCII(kind, `"text"`):
		from = s.at
		if !s.skip(1) {
			return b, false
		}
		b = append(b, s.b[from:s.at]...)
	case equalASCII(kind, `"message"`) && equalASCII(subtype, `"rfc822"`):
		var ok bool
		if b, ok = s.embedded(b, depth); !ok {
			return b, false
		}
	}
	return b, s.rest()
}

// embedded copies envelope, structure and lines of a message in a message.
func (s *listScanner) embedded(b []byte, depth int) ([]byte, bool) {
	from := s.at
	if !s.skip(1) || s.peek() != ' ' {
		return b, false
	}
	s.at++
	if s.peek() != '(' {
		// Not parsed as a message: what was skipped is extension data.
		s.at = from
		return b, true
	}
	s.at++
	b = append(b, s.b[from:s.at]...)
	b, ok := s.body(b, depth+1)
	if !ok || s.peek() != ')' {
		return b, false
	}
	from = s.at
	s.at++
	if !s.skip(1) {
		return b, false
	}
	return append(b, s.b[from:s.at]...), true
}

// multipart copies parts and subtype.
func (s *listScanner) multipart(b []byte, depth int) ([]byte, bool) {
	for s.peek() == '(' {
		s.at++
		b = append(b, '(')
		var ok bool
		if b, ok = s.body(b, depth+1); !ok || s.peek() != ')' {
			return b, false
		}
		s.at++
		b = append(b, ')')
	}
	from := s.at
	if !s.skip(1) {
		return b, false
	}
	return append(b, s.b[from:s.at]...), s.rest()
}

// rest skips extension data.
func (s *listScanner) rest() bool {
	for s.peek() == ' ' {
		if !s.skip(1) {
			return false
		}
	}
	return s.at == len(s.b) || s.peek() == ')'
}

// text returns the string at hand as it stands there; "" if there is none.
func (s *listScanner) text() string {
	from := s.at
	if c := s.peek(); c != '"' && c != '{' || !s.word() {
		return ""
	}
	return string(s.b[from:s.at])
}

// equalASCII compares without regard to case.
func equalASCII(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		x := a[i]
		if 'A' <= x && x <= 'Z' {
			x += 'a' - 'A'
		}
		if x != b[i] {
			return false
		}
	}
	return true
}
