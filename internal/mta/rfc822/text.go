package rfc822

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// Internal is the text of tokens without quotes.
func Internal(tokens []Token) string { return string(appendInternal(nil, tokens)) }

func appendInternal(b []byte, tokens []Token) []byte {
	for i := range tokens {
		switch t := &tokens[i]; t.Kind {
		case Address:
			b = appendInternal(b, t.List)
		case Atom, Quoted, Comment:
			b = append(b, t.Text...)
		case Literal:
			b = append(append(append(b, '['), t.Text...), ']')
		case Group:
			b = append(b, ':')
		default:
			b = append(b, byte(t.Kind))
		}
		if spaceAfter(tokens, i) {
			b = append(b, ' ')
		}
	}
	return b
}

// spaceAfter tells whether a blank must follow a token: after separators, before
// brackets, and between words.
func spaceAfter(tokens []Token, i int) bool {
	if i+1 == len(tokens) {
		return false
	}
	kind, next := tokens[i].Kind, tokens[i+1].Kind
	if kind == ',' || kind == Group || next == '<' {
		return true
	}
	return isText(kind) && isText(next)
}

func isText(k Kind) bool { return k >= Atom && k != Group }

// maxPhrase bounds what an address may have around it, in bytes. Sendmail's
// parsers had buffers of that size (CA-2003-07).
const maxPhrase = 250

// External is the text of tokens with the quotes that it needs.
func External(tokens []Token) string {
	var w writer
	w.write(tokens, " ")
	return string(w.b)
}

// Header is the text of a parsed list for a header: one address to a line.
// Where there is too much text around an address it is dropped, and stripped
// called with its beginning.
func Header(tokens []Token, stripped func(text string)) string {
	w := writer{bounded: true, stripped: stripped}
	w.write(tokens, "\n")
	return string(w.b)
}

type writer struct {
	b        []byte
	bounded  bool
	stripped func(string)

	start int    // of the text around the address
	addr  *Token // the last one, or the "<" of an empty one
	size  int    // of its text
}

func (w *writer) write(tokens []Token, afterComma string) {
	for i := range tokens {
		switch t := &tokens[i]; t.Kind {
		case ',':
			w.enforce()
			w.b = append(append(w.b, ','), afterComma...)
			w.start, w.addr, w.size = len(w.b), nil, 0
			continue
		case Address:
			n := len(w.b)
			w.b = AppendQuoted(w.b, Internal(t.List))
			w.addr, w.size = t, len(w.b)-n
		case Atom, Comment:
			w.b = append(w.b, t.Text...)
		case Quoted:
			w.b = append(appendEscaped(append(w.b, '"'), t.Text, "\"\\\r\n"), '"')
		case Literal:
			w.b = append(appendEscaped(append(w.b, '['), t.Text, "\\\r\n"), ']')
		case Group:
			w.b = append(w.b, ':')
		default:
			if t.Kind == '<' && i+1 < len(tokens) && tokens[i+1].Kind == '>' {
				w.addr, w.size = t, 0
			}
			w.b = append(w.b, byte(t.Kind))
		}
		if spaceAfter(tokens, i) {
			w.b = append(w.b, ' ')
		}
	}
	w.enforce()
}

// enforce drops the text around an address where it is too long.
func (w *writer) enforce() {
	if !w.bounded || w.addr == nil || len(w.b)-w.size <= w.start+maxPhrase {
		return
	}
	if w.stripped != nil {
		w.stripped(string(w.b[w.start:min(w.start+100, len(w.b))]))
	}
	w.b = append(w.b[:w.start], '<')
	if w.addr.Kind == Address {
		w.b = AppendQuoted(w.b, Internal(w.addr.List))
	}
	w.b = append(w.b, '>')
}

func appendEscaped(b []byte, s, set string) []byte {
	for i := range len(s) {
		if strings.IndexByte(set, s[i]) >= 0 {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return b
}

// AppendQuoted appends an address in internal form with quotes around its local
// part where that needs them. A source route before it stays, and the empty
// address is "".
func AppendQuoted(b []byte, addr string) []byte {
	if addr != "" && addr[0] == '@' {
		if i := strings.IndexByte(addr, ':'); i >= 0 {
			b = append(b, addr[:i+1]...)
			addr = addr[i+1:]
		}
	}
	if addr == "" {
		return append(b, `""`...)
	}
	return smtp.AppendAddress(b, addr)
}

// Quote is the external form of an address in internal form.
func Quote(addr string) string {
	if isPlain(addr) {
		return addr
	}
	return string(AppendQuoted(nil, addr))
}

// Unquote is the internal form of an address in external form: quotes and
// backslashes of its local part are gone.
func Unquote(addr string) string {
	if strings.IndexByte(addr, '"') < 0 && strings.IndexByte(addr, '\\') < 0 {
		return addr
	}
	b := make([]byte, 0, len(addr))
	i := 0
	if addr[0] == '@' {
		if n := strings.IndexByte(addr, ':'); n >= 0 {
			b = append(b, addr[:n+1]...)
			i = n + 1
		}
	}
	quoted := false
	domain, at := "", -1 // what follows the last "@" outside quotes
	for ; i < len(addr); i++ {
		c := addr[i]
		switch c {
		case '"':
			quoted = !quoted
			continue
		case '@':
			if !quoted {
				domain, at = addr[i:], len(b)
			}
		case '\\':
			if i+1 == len(addr) {
				continue
			}
			i++
			c = addr[i]
		}
		b = append(b, c)
	}
	if at >= 0 {
		b = append(b[:at], domain...) // nothing is quoted in it
	}
	return string(b)
}

// isPlain recognizes what is the same in both forms: atoms and dots on both
// sides of one "@".
func isPlain(addr string) bool {
	at := -1
	for i := range len(addr) {
		switch c := addr[i]; {
		case c == '@':
			if at >= 0 {
				return false
			}
			at = i
		case c == '.':
			if i == 0 || i+1 == len(addr) || addr[i-1] == '.' || at < 0 && addr[i+1] == '@' {
				return false
			}
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c == '-', c == '_', c == '+', c == '=':
		default:
			return false
		}
	}
	return at > 0
}
