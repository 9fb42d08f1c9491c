package sqldb

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// ErrUnsafe is returned for a value that a statement has outside of quotes and
// that holds more than letters, digits, "_", "." and "-".
var ErrUnsafe = errors.New("value is not safe outside of quotes")

// A Query is a statement with %variables.
//
// Dovecot puts values into the text, with quotes in them escaped. Here a quoted text
// with variables is a parameter of the statement, so there is nothing to
// escape: WHERE u = '%n@%d' is sent as WHERE u = ? with the value "n@d". Names
// of tables and numbers cannot be parameters; where a variable stands outside
// of quotes, or in a quoted name, only values of harmless characters are taken.
type Query struct {
	d     *dialect
	parts []part
}

// A part is a piece of a statement.
type part struct {
	kind partKind
	text string
}

type partKind uint8

const (
	partSQL   partKind = iota // as it is
	partWord                  // a variable outside of quotes
	partValue                 // the content of quotes, with variables
)

// A dialect is what drivers differ in.
type dialect struct {
	doubleQuotes bool // "text" is a text, not a name
	backslash    bool // \x in a text is an escape
	parameter    string
	cut          func(string) int // the length of the variable at the beginning; nil for Dovecot's
}

func (d *dialect) cutVar(s string) int {
	if d.cut != nil {
		return d.cut(s)
	}
	return dovecot.CutVar(s)
}

// Parse takes a statement apart. It reports an error for a quote that is
// never closed.
func (p *Pool) Parse(statement string) (*Query, error) { return parse(p.d, statement) }

func parse(d *dialect, s string) (*Query, error) {
	q := &Query{d: d}
	start := 0 // of what is not in parts yet
	flush := func(end int) {
		if end > start {
			q.parts = append(q.parts, part{partSQL, s[start:end]})
		}
	}
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case strings.HasPrefix(s[i:], "/*"):
			n := strings.Index(s[i+2:], "*/")
			if n < 0 {
				return nil, fmt.Errorf("comment is never closed in: %s", s)
			}
			i += n + 4
		case strings.HasPrefix(s[i:], "--"):
			if strings.Contains(s[i:], "%") {
				return nil, fmt.Errorf("variables are not supported in a comment: %s", s[i:])
			}
			i = len(s)
		case c == '%':
			n := d.cutVar(s[i:])
			flush(i)
			q.parts = append(q.parts, part{partWord, s[i : i+n]})
			i += n
			start = i
		case d.isText(c):
			text, n := d.cutText(s[i:])
			if n == 0 {
				return nil, fmt.Errorf("quote is never closed in: %s", s)
			}
			if strings.Contains(text, "%") {
				if i > 0 && isWord(s[i-1]) {
					return nil, fmt.Errorf("variables are not supported in a text with a prefix as %s in: %s", s[i-1:i+1], s)
				}
				flush(i)
				q.parts = append(q.parts, part{partValue, text})
				start = i + n
			}
			i += n
		default:
			i++
		}
	}
	flush(len(s))
	return q, nil
}

func (d *dialect) isText(c byte) bool { return c == '\'' || c == '"' && d.doubleQuotes }

// cutText returns what the quoted text at the beginning of s means, and its length
// with quotes; 0 if it has no end. Variables stay as they are.
func (d *dialect) cutText(s string) (text string, n int) {
	quote := s[0]
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '%':
			n := d.cutVar(s[i:])
			if s[i+n-1] == quote { // "%'" is no variable
				n = 1
			}
			b.WriteString(s[i : i+n])
			i += n - 1
		case c == quote && i+1 < len(s) && s[i+1] == quote:
			b.WriteByte(quote)
			i++
		case c == quote:
			return b.String(), i + 1
		case c == '\\' && d.backslash && i+1 < len(s) && s[i+1] != '%': // \%% is \ and a variable
			i++
			b.WriteString(unescape(s[i]))
		default:
			b.WriteByte(c)
		}
	}
	return "", 0
}

// unescape returns what \c means in a text of MySQL. \_ keeps its backslash there,
// for LIKE.
func unescape(c byte) string {
	switch c {
	case '0':
		return "\x00"
	case 'b':
		return "\b"
	case 'n':
		return "\n"
	case 'r':
		return "\r"
	case 't':
		return "\t"
	case 'Z':
		return "\x1a"
	case '_':
		return `\_`
	}
	return string(c)
}

// Expand returns the statement and its parameters, with the variables replaced by
// expand. ErrUnsafe for a value that cannot stand where the statement has it.
func (q *Query) Expand(expand func(template string) (string, error)) (statement string, values []any, err error) {
	var b strings.Builder
	for _, p := range q.parts {
		if p.kind == partSQL {
			b.WriteString(p.text)
			continue
		}
		value, err := expand(p.text)
		if err != nil {
			return "", nil, err
		}
		if p.kind == partValue {
			values = append(values, value)
			b.WriteString(q.d.parameter)
			continue
		}
		if !isSafe(value) && p.text != "%%" {
			return "", nil, fmt.Errorf("%w: %s is '%s'", ErrUnsafe, p.text, value)
		}
		b.WriteString(value)
	}
	return b.String(), values, nil
}

// isWord reports whether a character before a quote changes what the text means (E”, N”).
func isWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '&'
}

// isSafe reports whether a value can only be a part of a name or number. Two
// dashes would begin a comment.
func isSafe(value string) bool {
	for i := range len(value) {
		c := value[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '.':
		case c == '-' && i+1 < len(value) && value[i+1] != '-' && i > 0:
		default:
			return false
		}
	}
	return true
}
