package table

import (
	"errors"
	"regexp/syntax"
	"strconv"
	"strings"
)

// What regcomp(3) of the C library says.
var (
	errParen     = errors.New(`Unmatched ( or \(`)
	errBracket   = errors.New(`Unmatched [, [^, [:, [., or [=`)
	errBackslash = errors.New(`Trailing backslash`)
	errRepeat    = errors.New(`Invalid preceding regular expression`)
	errBrace     = errors.New(`Invalid content of \{\}`)
	errClass     = errors.New(`Invalid character class name`)
)

// posixReason is regcomp's text for an error of the regular expression parser.
func posixReason(err error) error {
	var e *syntax.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code {
	case syntax.ErrMissingParen, syntax.ErrUnexpectedParen:
		return errParen
	case syntax.ErrMissingBracket:
		return errBracket
	case syntax.ErrInvalidCharRange:
		if strings.Contains(e.Expr, "[:") {
			return errClass
		}
		return errors.New(`Invalid range end`)
	case syntax.ErrMissingRepeatArgument, syntax.ErrInvalidRepeatOp:
		return errRepeat
	case syntax.ErrInvalidRepeatSize:
		return errBrace
	case syntax.ErrTrailingBackslash:
		return errBackslash
	}
	return errors.New("Invalid regular expression")
}

// A posixReader translates an extended regular expression of POSIX, with the extensions of
// the GNU library, into the language of package regexp.
type posixReader struct {
	in     string
	out    strings.Builder
	atom   int   // where the last atom begins in out, or -1 where a repetition has nothing to repeat
	times  int   // repetitions after it
	groups []int // beginnings in out of groups that are open
}

// translatePOSIX returns what package regexp calls the pattern. Go's \d, (?i) and lazy
// repetitions have no meaning in POSIX, and a backslash none in brackets.
func translatePOSIX(pattern string) (string, error) {
	r := &posixReader{in: pattern, atom: -1}
	for r.in != "" {
		if err := r.next(); err != nil {
			return "", err
		}
	}
	if len(r.groups) > 0 {
		return "", errParen
	}
	return r.out.String(), nil
}

// begin begins an atom.
func (r *posixReader) begin() { r.atom, r.times = r.out.Len(), 0 }

func (r *posixReader) next() error {
	c := r.in[0]
	switch c {
	case '\\':
		return r.escape()
	case '[':
		return r.bracket()
	case '(':
		r.groups = append(r.groups, r.out.Len())
		r.out.WriteByte(c)
		r.atom = -1
	case ')':
		last := len(r.groups) - 1
		if last < 0 {
			r.begin()
			r.out.WriteString(`\)`)
			break
		}
		r.atom, r.times = r.groups[last], 0
		r.groups = r.groups[:last]
		r.out.WriteByte(c)
	case '|':
		r.out.WriteByte(c)
		r.atom = -1
	case '*', '+', '?':
		r.in = r.in[1:]
		return r.repeat(string(c))
	case '{':
		return r.brace()
	case '^':
		r.out.WriteByte(c)
		r.atom = -1
	default:
		r.begin()
		r.out.WriteByte(c)
		if c >= 0x80 { // the rest of a character
			for len(r.in) > 1 && r.in[1]&0xc0 == 0x80 {
				r.in = r.in[1:]
				r.out.WriteByte(r.in[0])
			}
		}
	}
	r.in = r.in[1:]
	return nil
}

// repeat puts a repetition behind the last atom. A second one repeats the first.
func (r *posixReader) repeat(op string) error {
	if r.atom < 0 {
		return errRepeat
	}
	if r.times > 0 {
		text := r.out.String()
		r.out.Reset()
		r.out.WriteString(text[:r.atom] + "(?:" + text[r.atom:] + ")")
	}
	r.times++
	r.out.WriteString(op)
	return nil
}

// brace reads {n}, {n,}, {,m} or {n,m}.
func (r *posixReader) brace() error {
	end := strings.IndexByte(r.in, '}')
	switch {
	case r.atom < 0:
		return errRepeat
	case strings.Trim(r.in[1:max(end, 1)], "0123456789,") != "" || end == 1:
		return errBrace
	case end < 0:
		return errors.New(`Unmatched \{`)
	case strings.Count(r.in[:end], ",") > 1:
		return errBrace
	}
	least, most, ranged := strings.Cut(r.in[1:end], ",")
	if least == "" {
		least = "0"
	}
	if n, err := strconv.Atoi(most); most != "" && err == nil {
		if m, err := strconv.Atoi(least); err == nil && m > n {
			return errBrace
		}
	}
	r.in = r.in[end+1:]
	op := "{" + least + "}"
	if ranged {
		op = "{" + least + "," + most + "}"
	}
	return r.repeat(op)
}

// escape reads a backslash and what follows.
func (r *posixReader) escape() error {
	if len(r.in) < 2 {
		return errBackslash
	}
	c := r.in[1]
	r.begin()
	switch c {
	case 'w', 'W', 's', 'S', 'b', 'B':
		r.out.WriteString(r.in[:2])
	case '<':
		r.out.WriteString(`\b`)
	case '>':
		r.out.WriteString(`\b`)
	case '`':
		r.out.WriteString(`\A`)
	case '\'':
		r.out.WriteString(`\z`)
	default:
		if c < 0x80 && !isAlnum(c) {
			r.out.WriteByte('\\')
		}
		r.out.WriteByte(c)
	}
	r.in = r.in[2:]
	return nil
}

func isAlnum(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
}

// bracket reads [...].
func (r *posixReader) bracket() error {
	r.begin()
	r.out.WriteByte('[')
	i := 1
	if i < len(r.in) && r.in[i] == '^' {
		r.out.WriteByte('^')
		i++
	}
	for first := true; ; first = false {
		if i >= len(r.in) && first {
			return errors.New("Invalid regular expression")
		}
		if i >= len(r.in) {
			return errBracket
		}
		c := r.in[i]
		switch {
		case c == ']' && !first:
			r.out.WriteByte(']')
			r.in = r.in[i+1:]
			return nil
		case c == '[' && i+1 < len(r.in) && strings.IndexByte(":.=", r.in[i+1]) >= 0:
			kind := r.in[i+1]
			end := strings.Index(r.in[i+2:], string(kind)+"]")
			if end < 0 {
				return errBracket
			}
			name := r.in[i+2 : i+2+end]
			i += end + 4
			switch {
			case kind == ':':
				r.out.WriteString("[:" + name + ":]")
			case len(name) == 1:
				r.out.WriteString(`\x{` + hexByte(name[0]) + "}")
			default:
				return errors.New("Invalid collation character")
			}
			continue
		case strings.IndexByte(`\[]&~`, c) >= 0, c == '^':
			r.out.WriteByte('\\')
			r.out.WriteByte(c)
		default:
			r.out.WriteByte(c)
		}
		i++
	}
}

func hexByte(c byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[c>>4], digits[c&15]})
}
