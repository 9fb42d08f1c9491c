package login

import (
	"bytes"
	"strconv"
)

// maxArgs is the number of words and parentheses a command may have. ID is the
// only one with many (RFC 2971 3.3: 30 pairs).
const maxArgs = 80

// argKind is what an IMAP argument is.
type argKind uint8

const (
	argAtom argKind = iota
	argString
	argNIL
	argOpen  // "("
	argClose // ")"
)

// An arg is a piece of a command; its text is text[from:to] of imapArgs.
type arg struct {
	kind     argKind
	from, to int
}

// imapArgs parses the arguments of a command (RFC 3501 9), which come in pieces
// because of literals: feed for each line, literal after feed asked for one.
type imapArgs struct {
	text  []byte
	args  []arg
	depth int
	// want is the size of the literal that must come next, -1 for none;
	// sync tells that the client waits for a continuation request.
	want int
	sync bool
}

// parseError is what Dovecot's parser says of bad arguments.
type parseError string

func (e parseError) Error() string { return string(e) }

// The texts of Dovecot's parser. errLiteralSize ends the connection.
const (
	errQuote         parseError = `Missing '"'`
	errParen         parseError = `Missing ')'`
	errUnexpected    parseError = `Unexpected ')'`
	errLiteral       parseError = "Invalid literal size"
	errLiteralLF     parseError = "Missing LF after literal size"
	errAtom          parseError = "Invalid characters in atom"
	errTooMany       parseError = "Too many arguments"
	errLiteralTooBig parseError = "Literal size too large"
)

func (p *imapArgs) reset() {
	clear(p.text)
	p.text, p.args = p.text[:0], p.args[:0]
	if cap(p.text) > smallBuffer {
		p.text, p.args = nil, nil // a client that waits holds no more than others
	}
	p.depth, p.want, p.sync = 0, -1, false
}

// str returns the text of argument i, if it is an atom or a string.
func (p *imapArgs) str(i int) ([]byte, bool) {
	if i >= len(p.args) || p.args[i].kind > argNIL {
		return nil, false
	}
	return p.text[p.args[i].from:p.args[i].to], true
}

// feed parses a line up to its end or to a literal.
func (p *imapArgs) feed(line []byte) error {
	p.want = -1
	for {
		line = bytes.TrimLeft(line, " ")
		if len(line) == 0 {
			break
		}
		if len(p.args) == maxArgs {
			return errTooMany
		}
		rest, err := p.next(line)
		if err != nil {
			return err
		}
		if p.want >= 0 {
			return nil
		}
		line = rest
	}
	if p.depth > 0 {
		return errParen
	}
	return nil
}

// next takes one argument from the front of line.
func (p *imapArgs) next(line []byte) (rest []byte, err error) {
	switch line[0] {
	case '"':
		return p.quoted(line[1:])
	case '{':
		return nil, p.literalSize(line[1:])
	case '(':
		p.depth++
		p.add(argOpen, nil)
		return line[1:], nil
	case ')':
		if p.depth == 0 {
			return nil, errUnexpected
		}
		p.depth--
		p.add(argClose, nil)
		return line[1:], nil
	}
	return p.atom(line)
}

func (p *imapArgs) add(kind argKind, text []byte) {
	from := len(p.text)
	p.text = append(p.text, text...)
	p.args = append(p.args, arg{kind, from, len(p.text)})
}

func (p *imapArgs) atom(line []byte) ([]byte, error) {
	n := bytes.IndexAny(line, " ()\"{")
	switch {
	case n < 0:
		n = len(line)
	case line[n] == '"' || line[n] == '{':
		return nil, errAtom
	}
	kind := argAtom
	if bytes.EqualFold(line[:n], []byte("NIL")) {
		kind = argNIL
	}
	p.add(kind, line[:n])
	return line[n:], nil
}

// quoted takes a quoted string whose opening quote was taken already.
func (p *imapArgs) quoted(line []byte) ([]byte, error) {
	from := len(p.text)
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '"':
			p.args = append(p.args, arg{argString, from, len(p.text)})
			return line[i+1:], nil
		case '\\':
			if i++; i == len(line) {
				return nil, errQuote
			}
		}
		p.text = append(p.text, line[i])
	}
	return nil, errQuote
}

// literalSize parses "n}" or "n+}" (RFC 7888), which must end the line.
func (p *imapArgs) literalSize(spec []byte) error {
	end := bytes.IndexByte(spec, '}')
	if end < 0 {
		return errLiteral
	}
	digits := bytes.TrimSuffix(spec[:end], []byte{'+'})
	n, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil {
		return errLiteral
	}
	if end != len(spec)-1 {
		return errLiteralLF
	}
	if n > maxLiteral {
		return errLiteralTooBig
	}
	p.want, p.sync = int(n), len(digits) == end
	return nil
}

// literal adds the text of the literal that feed asked for.
func (p *imapArgs) literal(text []byte) { p.add(argString, text) }
