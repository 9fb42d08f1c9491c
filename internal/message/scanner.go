package message

// A scanner reads the tokens of structured fields (RFC 5322 3.2, RFC 2045 5.1)
// with the leniency of Dovecot's parser: folds are blanks, obsolete forms are
// accepted, and bytes above 0x7f count as text.
type scanner struct {
	data []byte
	i    int

	// comment is the last comment skipped, if keepComment.
	comment     []byte
	keepComment bool
}

// A step tells how reading a token ended.
type step int8

const (
	failed step = -1 // syntax error
	atEnd  step = 0  // read, and nothing follows
	more   step = 1  // read, and something follows
)

func (s *scanner) end() bool { return s.i >= len(s.data) }

// peek returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	if s.i < len(s.data) {
		return s.data[s.i]
	}
	return 0
}

// The classes of bytes.
const (
	classAtext = 1 << iota // RFC 5322 atext, and bytes above 0x7f
	classToken             // RFC 2045 token
	classDot               // "."
	classBlank             // blanks and line ends
	classQuote             // double quote
)

var classes = func() (c [256]uint8) {
	for i := range c {
		switch {
		case i >= 0x80:
			c[i] = classAtext | classToken
		case i >= '0' && i <= '9', i >= 'a' && i <= 'z', i >= 'A' && i <= 'Z':
			c[i] = classAtext | classToken
		case i > ' ' && i < 0x7f:
			c[i] = classToken
		}
	}
	for _, b := range []byte("!#$%&'*+-/=?^_`{|}~") {
		c[b] |= classAtext
	}
	for _, b := range []byte(`()<>@,;:\"/[]?=`) {
		c[b] &^= classToken
	}
	c['.'] |= classDot
	c['"'] |= classQuote
	for _, b := range []byte(" \t\r\n") {
		c[b] |= classBlank
	}
	return c
}()

func is(b byte, class uint8) bool { return classes[b]&class != 0 }

// skipLWSP skips blanks, folds and comments.
func (s *scanner) skipLWSP() step {
	for s.i < len(s.data) {
		switch c := s.data[s.i]; {
		case is(c, classBlank):
			s.i++
		case c == '(':
			if !s.skipComment() {
				return failed
			}
		default:
			return more
		}
	}
	return atEnd
}

// skipComment skips a comment with those nested in it.
func (s *scanner) skipComment() bool {
	level := 0
	if s.keepComment {
		s.comment = s.comment[:0]
	}
	start := s.i + 1
	for ; s.i < len(s.data); s.i++ {
		switch s.data[s.i] {
		case '(':
			level++
		case ')':
			level--
			if level == 0 {
				s.addComment(start)
				s.i++
				return true
			}
		case '\n':
			s.addComment(start)
			start = s.i + 1
		case 0:
			s.addComment(start)
			start = s.i + 1
			if s.keepComment {
				s.comment = append(s.comment, replacement...)
			}
		case '\\':
			if s.escapesNUL() {
				continue
			}
			s.addComment(start)
			start = s.i + 1
			s.i++
		}
	}
	return false
}

// escapesNUL reports whether a NUL follows, which a backslash does not quote.
func (s *scanner) escapesNUL() bool {
	return s.i+1 < len(s.data) && s.data[s.i+1] == 0
}

func (s *scanner) addComment(start int) {
	if s.keepComment && start < s.i {
		s.comment = append(s.comment, s.data[start:s.i]...)
	}
}

// atom appends an atom and skips what follows it.
func (s *scanner) atom(b *[]byte) step {
	return s.run(b, classAtext)
}

// atomOrDot is atom with dots allowed anywhere.
func (s *scanner) atomOrDot(b *[]byte) step {
	start := s.i
	for s.i < len(s.data) && is(s.data[s.i], classAtext|classDot) {
		s.i++
	}
	*b = append(*b, s.data[start:s.i]...)
	return s.skipLWSP()
}

func (s *scanner) run(b *[]byte, class uint8) step {
	start := s.i
	for s.i < len(s.data) && is(s.data[s.i], class) {
		s.i++
	}
	if s.i == start {
		return failed
	}
	*b = append(*b, s.data[start:s.i]...)
	return s.skipLWSP()
}

// token appends a MIME token, which may be empty, and skips what follows it.
func (s *scanner) token(b *[]byte) step {
	start := s.i
	for s.i < len(s.data) && is(s.data[s.i], classToken) {
		s.i++
	}
	*b = append(*b, s.data[start:s.i]...)
	return s.skipLWSP()
}

// dotAtom appends a dot-atom, with blanks allowed around the dots.
func (s *scanner) dotAtom(b *[]byte) step {
	for {
		if st := s.run(b, classAtext); st != more || s.peek() != '.' {
			return st
		}
		*b = append(*b, '.')
		s.i++
		if st := s.skipLWSP(); st != more {
			return failed
		}
	}
}

// looseDotAtom is dotAtom with dots in any place, but no blanks after them.
func (s *scanner) looseDotAtom(b *[]byte) step {
	st := failed
	for {
		for s.peek() == '.' {
			*b = append(*b, '.')
			s.i++
			if s.end() {
				return atEnd
			}
			st = more
		}
		if s.peek() == '@' {
			return st
		}
		if st = s.atom(b); st != more || s.peek() != '.' {
			return st
		}
	}
}

// quoted appends the text of a quoted string and skips what follows it.
func (s *scanner) quoted(b *[]byte) step {
	s.i++
	start := s.i
	for ; s.i < len(s.data); s.i++ {
		switch s.data[s.i] {
		case '"':
			*b = append(*b, s.data[start:s.i]...)
			s.i++
			return s.skipLWSP()
		case '\n':
			*b = append(*b, s.data[start:s.i]...)
			start = s.i + 1
		case 0:
			*b = append(append(*b, s.data[start:s.i]...), replacement...)
			start = s.i + 1
		case '\\':
			if s.escapesNUL() {
				continue
			}
			if s.i+1 == len(s.data) {
				return failed
			}
			*b = append(*b, s.data[start:s.i]...)
			start = s.i + 1
			s.i++
		}
	}
	return failed
}

// phrase appends words joined by single blanks.
func (s *scanner) phrase(b *[]byte) step {
	if s.peek() == '.' {
		return failed
	}
	return s.words(b)
}

func (s *scanner) words(b *[]byte) step {
	for {
		var st step
		if s.peek() == '"' {
			st = s.quoted(b)
		} else {
			st = s.atomOrDot(b)
		}
		if st != more {
			return st
		}
		if !is(s.peek(), classAtext|classDot|classQuote) {
			return more
		}
		*b = append(*b, ' ')
	}
}

// domain appends what follows an "@": a dot-atom or a literal.
func (s *scanner) domain(b *[]byte) step {
	s.i++
	if s.skipLWSP() != more {
		return failed
	}
	if s.peek() != '[' {
		return s.dotAtom(b)
	}
	start := s.i
	for ; s.i < len(s.data); s.i++ {
		switch s.data[s.i] {
		case '[':
			if s.i > start {
				return failed
			}
		case ']':
			s.i++
			*b = append(*b, s.data[start:s.i]...)
			return s.skipLWSP()
		case '\\':
			s.i++
		}
	}
	return failed
}
