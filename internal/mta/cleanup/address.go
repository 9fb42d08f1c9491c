package cleanup

import (
	"bytes"
	"context"
	"iter"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// splitAddresses yields the addresses of a list: they are separated by commas,
// or by blanks, outside quotes, brackets and comments.
func splitAddresses(s string) iter.Seq[string] {
	return func(yield func(string) bool) {
		start, depth := -1, 0
		quoted := false
		for i := 0; i < len(s); i++ {
			c := s[i]
			blank := c == ' ' || c == '\t' || c == '\r' || c == '\n'
			if !quoted && depth == 0 && (c == ',' || blank) {
				if start >= 0 && !yield(s[start:i]) {
					return
				}
				start = -1
				continue
			}
			if start < 0 {
				start = i
			}
			switch {
			case c == '\\':
				i++
			case c == '"':
				quoted = !quoted
			case quoted:
			case c == '<' || c == '(':
				depth++
			case (c == '>' || c == ')') && depth > 0:
				depth--
			}
		}
		if start >= 0 {
			yield(s[start:])
		}
	}
}

// addressHeader writes a header of addresses, completed where the message is
// local, or remote_header_rewrite_domain says with what.
func (m *Message) addressHeader() {
	h := &m.header
	value := h.text[h.name+1:]
	if isComplete(value) || !m.completes() {
		m.write(h.text)
		return
	}
	context := "remote"
	if m.origin.Local {
		context = "local"
	}
	r := listRewriter{m: m, context: context, in: bytes.TrimSpace(value), limit: m.c.set.AddressTokenLimit}
	if !r.run() {
		m.write(h.text)
		return
	}
	b := append([]byte(nil), h.text[:h.name+1]...)
	m.write(r.appendFolded(b))
}

func (m *Message) completes() bool {
	return m.origin.Local || m.c.res.RewritesRemote()
}

// isComplete recognizes the usual header, whose one address has a complete
// domain already: nothing is to be done about it.
func isComplete(value []byte) bool {
	at := -1
	for i, c := range value {
		switch c {
		case '@':
			if at >= 0 {
				return false
			}
			at = i
		case '(', ')', ':', ';', ',', '"', '%', '!', '[', '\\':
			return false
		}
	}
	if at <= 0 {
		return false
	}
	domain := value[at+1:]
	if i := bytes.IndexAny(domain, "> \r"); i >= 0 {
		domain = domain[:i]
	}
	return bytes.IndexByte(domain, '.') > 0 && domain[len(domain)-1] != '.'
}

// A listRewriter takes a list of addresses apart, completes them, and puts it
// together again, with one blank where there were more.
type listRewriter struct {
	m       *Message
	context string
	in      []byte
	limit   int

	out     [][]byte // addresses as they will be written, separators included
	cur     []byte   // the address under way
	changed bool
}

// token kinds of RFC 822.
type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenWord
	tokenComment
	tokenSpecial
)

type token struct {
	kind tokenKind
	text []byte
}

// run reports whether an address was changed.
func (r *listRewriter) run() bool {
	var words []token // since the last separator
	for {
		t := r.next()
		if r.limit--; r.limit < 0 {
			return false
		}
		if t.kind == tokenSpecial && !inBrackets(words) {
			switch t.text[0] {
			case ',':
				r.mailboxes(words)
				r.separator(",")
				words = words[:0]
				continue
			case ';':
				r.mailboxes(words)
				r.separator(";")
				words = words[:0]
				continue
			case ':':
				r.cur = appendPhraseTokens(r.cur, words)
				r.cur = append(r.cur, ':')
				words = words[:0]
				continue
			}
		}
		if t.kind == tokenEnd {
			r.mailboxes(words)
			if len(r.cur) > 0 {
				r.out = append(r.out, r.cur)
			}
			return r.changed
		}
		words = append(words, t)
	}
}

// inBrackets reports whether a "<" is open, as in a source route.
func inBrackets(words []token) bool {
	open := false
	for _, t := range words {
		if t.kind == tokenSpecial {
			open = t.text[0] == '<' || open && t.text[0] != '>'
		}
	}
	return open
}

// separator ends the address under way.
func (r *listRewriter) separator(s string) {
	if len(r.cur) == 0 && len(r.out) > 0 {
		last := len(r.out) - 1
		r.out[last] = append(r.out[last], s...)
		return
	}
	if len(r.cur) > 0 {
		r.out = append(r.out, append(r.cur, s...))
		r.cur = nil
	}
}

// mailboxes writes what stands between two separators: "phrase <address>", or
// bare addresses.
func (r *listRewriter) mailboxes(words []token) {
	open, end := -1, -1
	for i, t := range words {
		if t.kind == tokenSpecial && t.text[0] == '<' && open < 0 {
			open = i
		}
		if t.kind == tokenSpecial && t.text[0] == '>' {
			end = i
		}
	}
	if open >= 0 && end > open {
		r.cur = appendPhraseTokens(r.cur, words[:open])
		r.space()
		r.cur = append(r.cur, '<')
		r.address(words[open+1 : end])
		r.cur = append(r.cur, '>')
		r.cur = appendPhraseTokens(r.cur, words[end+1:])
		return
	}
	r.bare(words)
}

func (r *listRewriter) space() {
	if len(r.cur) > 0 && r.cur[len(r.cur)-1] != ' ' {
		r.cur = append(r.cur, ' ')
	}
}

// bare writes addresses without brackets. Words that nothing connects are
// addresses of their own; comments go behind them.
func (r *listRewriter) bare(words []token) {
	var addr, comments []token
	flush := func() {
		if len(addr) > 0 {
			r.space()
			r.address(addr)
		}
		r.cur = appendPhraseTokens(r.cur, comments)
		addr, comments = addr[:0], comments[:0]
	}
	for _, t := range words {
		if t.kind == tokenComment {
			comments = append(comments, t)
			continue
		}
		if n := len(addr); n > 0 && t.kind == tokenWord && addr[n-1].kind == tokenWord {
			flush()
			r.separator(",")
			r.changed = true
		}
		addr = append(addr, t)
	}
	flush()
}

// address writes one address, completed.
func (r *listRewriter) address(words []token) {
	var text []byte
	for _, t := range words {
		if t.kind != tokenComment {
			text = append(text, t.text...)
		}
	}
	path, err := smtp.ParsePath(text)
	if err != nil || path.Address == "" {
		r.cur = append(r.cur, text...)
		return
	}
	start := len(r.cur)
	r.cur = smtp.AppendAddress(r.cur, r.m.c.res.Rewrite(context.Background(), r.context, path.Address))
	if !bytes.Equal(r.cur[start:], text) {
		r.changed = true
	}
}

// appendPhraseTokens appends words with blanks between them.
func appendPhraseTokens(b []byte, words []token) []byte {
	for i, t := range words {
		joined := t.text[0] == '.' || i > 0 && words[i-1].text[0] == '.'
		if len(b) > 0 && !joined && b[len(b)-1] != ' ' {
			b = append(b, ' ')
		}
		b = append(b, t.text...)
	}
	return b
}

// foldAt is the length of lines that are put together anew.
const foldAt = 70

// appendFolded appends the addresses, in lines of a readable length.
func (r *listRewriter) appendFolded(b []byte) []byte {
	line := len(b)
	for i, addr := range r.out {
		if i > 0 && line+1+len(addr) > foldAt {
			b = append(b, "\r\n\t"...)
			line = 1
		} else {
			b = append(b, ' ')
			line++
		}
		b = append(b, addr...)
		line += len(addr)
	}
	return append(b, "\r\n"...)
}

// next takes the next token off the input.
func (r *listRewriter) next() token {
	for len(r.in) > 0 && (r.in[0] == ' ' || r.in[0] == '\t' || r.in[0] == '\r' || r.in[0] == '\n') {
		r.in = r.in[1:]
	}
	if len(r.in) == 0 {
		return token{}
	}
	switch c := r.in[0]; c {
	case '"':
		return r.take(tokenWord, quotedLen(r.in, '"'))
	case '[':
		return r.take(tokenWord, quotedLen(r.in, ']'))
	case '(':
		return r.take(tokenComment, commentLen(r.in))
	case ',', ';', ':', '<', '>', '@', '.', ')', ']':
		return r.take(tokenSpecial, 1)
	}
	n := bytes.IndexAny(r.in, " \t\r\n\"[(,;:<>@.)]")
	if n < 0 {
		n = len(r.in)
	}
	return r.take(tokenWord, n)
}

func (r *listRewriter) take(kind tokenKind, n int) token {
	t := token{kind, r.in[:n]}
	r.in = r.in[n:]
	return t
}

// quotedLen is the length of quoted text; without an end it is all there is.
func quotedLen(b []byte, end byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case end:
			return i + 1
		}
	}
	return len(b)
}

func commentLen(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(b)
}
