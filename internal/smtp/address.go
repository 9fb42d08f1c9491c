package smtp

import (
	"bytes"
	"errors"
	"strings"
)

// MaxAddress is the longest address taken, in bytes. RFC 5321 4.5.3.1.3 asks
// for 256; Postfix takes what fits its line limit.
const MaxAddress = 2048

// ErrAddress says that text is no address.
var ErrAddress = errors.New("bad address syntax")

// A Path is a parsed forward or reverse path.
type Path struct {
	Address string // internal form, without source route
	Routed  bool   // there was a source route
}

// atext marks the bytes of an atom (RFC 5322 3.2.3) and the dot. Bytes above
// 127 belong to it as RFC 6532 3.2 has it.
var atext = func() (t [256]bool) {
	for c := range 256 {
		t[c] = c >= 0x80 || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			strings.IndexByte("!#$%&'*+-/=?^_`{|}~.", byte(c)) >= 0
	}
	return
}()

// ParsePath reads a path as MAIL and RCPT have it, in brackets or bare: a
// mailbox with an optional source route, a local part alone, or nothing at
// all ("<>"). It does not check that the domain is a valid host name.
func ParsePath(b []byte) (Path, error) {
	if len(b) > MaxAddress {
		return Path{}, ErrAddress
	}
	if addr, ok := simplePath(b); ok {
		return Path{Address: string(addr)}, nil
	}
	return parsePath(b)
}

// simplePath recognizes "<atoms@atoms>", which is nearly every path.
func simplePath(b []byte) (addr []byte, ok bool) {
	if len(b) < 5 || b[0] != '<' || b[len(b)-1] != '>' {
		return nil, false
	}
	addr = b[1 : len(b)-1]
	at := -1
	for i, c := range addr {
		if atext[c] {
			continue
		}
		if c != '@' || at >= 0 {
			return nil, false
		}
		at = i
	}
	return addr, at > 0 && at < len(addr)-1
}

// pathParser holds the state of the tokenizer: RFC 822 words and specials with
// blanks and comments between them, as Postfix reads addresses everywhere.
type pathParser struct {
	in   []byte
	out  []byte
	word bool // the last token was a word: another one must not follow it
}

func parsePath(b []byte) (Path, error) {
	b = trimBlanks(b)
	for len(b) >= 2 && b[0] == '<' && b[len(b)-1] == '>' {
		b = trimBlanks(b[1 : len(b)-1])
	}
	if len(b) == 0 {
		return Path{}, nil
	}
	var path Path
	if b[0] == '@' {
		// "@host,@host:mailbox"; RFC 5321 4.1.2 says to accept and ignore it.
		route, rest, ok := cutRoute(b)
		if ok {
			b, path.Routed = rest, len(route) > 0
		}
	}
	p := pathParser{in: b, out: make([]byte, 0, len(b))}
	for len(p.in) > 0 {
		if !p.token() {
			return Path{}, ErrAddress
		}
	}
	if bytes.ContainsAny(p.out, "\r\n\x00") { // could not be passed on
		return Path{}, ErrAddress
	}
	if len(p.out) == 0 || p.out[len(p.out)-1] == '@' {
		return Path{}, ErrAddress
	}
	path.Address = string(p.out)
	return path, nil
}

func cutRoute(b []byte) (route, rest []byte, ok bool) {
	for i, c := range b {
		switch {
		case c == ':':
			return b[:i], b[i+1:], true
		case !atext[c] && c != '@' && c != ',' && c != '[' && c != ']' && !isBlank(c):
			return nil, nil, false
		}
	}
	return nil, nil, false
}

// token moves one token from in to out.
func (p *pathParser) token() bool {
	c := p.in[0]
	switch {
	case isBlank(c):
		p.in = p.in[1:]
		return true
	case c == '(':
		return p.comment()
	case c == '"':
		return p.startWord() && p.quoted()
	case c == '[':
		return p.startWord() && p.literal()
	case c == '@' || c == '.' || c == ':' || c == '%' || c == '!':
		p.word = false
		p.out = append(p.out, c)
		p.in = p.in[1:]
		return true
	case atext[c] || c == '\\':
		return p.startWord() && p.atom()
	}
	return false
}

func (p *pathParser) startWord() bool {
	ok := !p.word
	p.word = true
	return ok
}

func (p *pathParser) atom() bool {
	i := 0
	for ; i < len(p.in); i++ {
		c := p.in[i]
		if c == '\\' {
			if i++; i == len(p.in) {
				return false
			}
			p.out = append(p.out, p.in[i])
			continue
		}
		if !atext[c] || c == '%' || c == '!' || c == '.' {
			break
		}
		p.out = append(p.out, c)
	}
	p.in = p.in[i:]
	return true
}

func (p *pathParser) quoted() bool {
	for i := 1; i < len(p.in); i++ {
		switch c := p.in[i]; c {
		case '"':
			p.in = p.in[i+1:]
			return true
		case '\\':
			if i++; i == len(p.in) {
				return false
			}
			p.out = append(p.out, p.in[i])
		default:
			p.out = append(p.out, c)
		}
	}
	return false
}

func (p *pathParser) literal() bool {
	for i, c := range p.in {
		if c == ']' {
			p.out = append(p.out, p.in[:i+1]...)
			p.in = p.in[i+1:]
			return true
		}
	}
	return false
}

func (p *pathParser) comment() bool {
	depth := 0
	for i := 0; i < len(p.in); i++ {
		switch p.in[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				p.in = p.in[i+1:]
				return true
			}
		}
	}
	return false
}

// SplitAddress splits an address in internal form at its last "@". An address
// without one has no domain.
func SplitAddress(addr string) (local, domain string) {
	if i := strings.LastIndexByte(addr, '@'); i >= 0 {
		return addr[:i], addr[i+1:]
	}
	return addr, ""
}

// AppendAddress appends an address in external form: what was unquoted in the
// local part is quoted again where RFC 5321 4.1.2 asks for it.
func AppendAddress(b []byte, addr string) []byte {
	at := strings.LastIndexByte(addr, '@')
	local, domain := addr, ""
	if at >= 0 {
		local, domain = addr[:at], addr[at:]
	}
	if isDotString(local) || addr == "" {
		return append(b, addr...)
	}
	b = append(b, '"')
	for i := range len(local) {
		c := local[i]
		if c == '"' || c == '\\' || c == '\r' || c == '\n' {
			b = append(b, '\\')
		}
		b = append(b, c)
	}
	b = append(b, '"')
	return append(b, domain...)
}

// QuoteAddress returns an address in external form.
func QuoteAddress(addr string) string {
	local, _ := SplitAddress(addr)
	if isDotString(local) || addr == "" {
		return addr
	}
	return string(AppendAddress(nil, addr))
}

// isDotString tells whether a local part needs no quotes. Postfix takes dots
// anywhere but at the ends and next to each other.
func isDotString(local string) bool {
	if local == "" {
		return false
	}
	dot := true
	for i := range len(local) {
		c := local[i]
		if !atext[c] || c == '.' && dot {
			return false
		}
		dot = c == '.'
	}
	return !dot
}
