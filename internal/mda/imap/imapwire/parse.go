package imapwire

// Characters of tags and atoms, as Dovecot takes them: atoms may contain the
// list wildcards, the backslash and ']'.
var tagChar, atomChar = func() (tag, atom [256]bool) {
	for c := 0x21; c < 0x7f; c++ {
		tag[c], atom[c] = true, true
	}
	for _, c := range []byte(`(){"`) {
		tag[c], atom[c] = false, false
	}
	for _, c := range []byte(`%*\+`) {
		tag[c] = false
	}
	return tag, atom
}()

// A LiteralHeader announces a literal.
type LiteralHeader struct {
	Size int64
	Sync bool // the client waits to be told to go on
}

// Args reads the arguments up to the end of the line or, if max is not 0, at
// most max of them; reading the rest is left to the next call.
func (d *Decoder) Args(max int) (Args, error) {
	p := parser{Decoder: d, max: max}
	return p.run()
}

// BinaryArgs reads the arguments up to the end of the line. Literals may be binary (RFC 3516 4.2).
func (d *Decoder) BinaryArgs() (Args, error) {
	p := parser{Decoder: d, binary: true}
	return p.run()
}

// ArgsUntilLiteral reads the arguments up to the end of the line or the next
// literal that is not inside a list. The literal is read with [Decoder.OpenLiteral],
// which ends the validity of the arguments, or skipped by [Decoder.EndLine].
func (d *Decoder) ArgsUntilLiteral() (args Args, lit LiteralHeader, ok bool, err error) {
	p := parser{Decoder: d, stop: true}
	args, err = p.run()
	return args, d.lit, p.stopped && !p.closed, err
}

// CatenateUntilLiteral reads on inside the list of CATENATE (RFC 4469), up to its end or to the next
// literal that follows TEXT. ArgsUntilLiteral stops at such a literal, too.
func (d *Decoder) CatenateUntilLiteral() (args Args, lit LiteralHeader, ok bool, err error) {
	p := parser{Decoder: d, stop: true, inside: true}
	args, err = p.run()
	return args, d.lit, p.stopped && !p.closed, err
}

// parser is the state of reading one sequence of arguments.
type parser struct {
	*Decoder
	max     int  // top-level arguments wanted
	count   int  // and read
	stop    bool // at literals
	stopped bool
	inside  bool // inside a list, which ends the arguments
	closed  bool // that has ended
	binary  bool // literal8 is allowed
}

func (p *parser) run() (Args, error) {
	p.acquire()
	p.args, p.open = p.args[:0], p.open[:0]
	p.mark = p.pos
	for !p.eol && !p.stopped && (p.max == 0 || p.count < p.max) {
		if err := p.next(); err != nil {
			return nil, err
		}
		if len(p.args) > p.lim.Args {
			return nil, errCount
		}
		if p.pos-p.mark > p.lim.Line {
			return nil, errTooLong
		}
	}
	for _, list := range p.open { // stopped inside
		p.args[list].span = int32(len(p.args)) - list - 1
	}
	for i := range p.args {
		a := &p.args[i]
		if a.Kind != List {
			a.Data = p.buf[p.mark+int(a.off) : p.mark+int(a.end)]
		}
	}
	return p.args, nil
}

// next reads one token.
func (p *parser) next() error {
	c, err := p.peek()
	if err != nil {
		return err
	}
	switch c {
	case ' ':
		p.pos++
		return nil
	case '\r', '\n':
		return p.lineEnd(c)
	case '(':
		p.pos++
		if len(p.open) >= p.lim.Depth {
			return errDepth
		}
		p.open = append(p.open, int32(len(p.args)))
		p.args = append(p.args, Arg{Kind: List})
		return nil
	case ')':
		if len(p.open) == 0 && p.inside {
			p.pos++
			p.stopped, p.closed = true, true
			return nil
		}
		if len(p.open) == 0 {
			return errClose
		}
		p.pos++
		list := p.open[len(p.open)-1]
		p.open = p.open[:len(p.open)-1]
		p.args[list].span = int32(len(p.args)) - list - 1
		p.done()
		if p.stop && !p.inside && list > 0 && len(p.open) == 0 && p.isAtom(int(list)-1, "CATENATE") {
			p.stopped, p.closed = true, true // another message may follow
		}
		return nil
	case '"':
		return p.quoted()
	case '{':
		return p.literal()
	case '~':
		if ok, err := p.literal8(); ok || err != nil {
			return err
		}
	}
	return p.atom()
}

// literal8 reads "~{123}" (RFC 3516) where it is allowed. What else begins with "~" is an atom.
func (p *parser) literal8() (ok bool, err error) {
	p.pos++
	c, err := p.peek()
	switch {
	case err != nil:
		return true, err
	case c != '{':
		p.pos--
		return false, nil
	case !p.binary && !p.stops():
		return true, errLiteral8
	}
	return true, p.literal()
}

// stops reports whether a literal that begins here is to be streamed.
func (p *parser) stops() bool {
	depth := 0
	if p.inside {
		depth = -1
	}
	switch {
	case !p.stop:
		return false
	case len(p.open) == depth, p.inUTF8(depth):
		return true
	case len(p.open) != depth+1 || len(p.args) == 0:
		return false
	}
	return p.isAtom(len(p.args)-1, "TEXT")
}

// inUTF8 reports whether a literal that begins here is the text of UTF8 (RFC 6855 4), a message of APPEND or a
// part of CATENATE.
func (p *parser) inUTF8(depth int) bool {
	n := len(p.args)
	return n > 1 && len(p.open) > 0 && int(p.open[len(p.open)-1]) == n-1 && len(p.open) <= depth+2 && p.isAtom(n-2, "UTF8")
}

// isAtom reports whether argument i is an atom that is the word.
func (p *parser) isAtom(i int, word string) bool {
	a := p.args[i]
	return a.Kind == Atom && EqualFold(p.buf[p.mark+int(a.off):p.mark+int(a.end)], word)
}

// done counts an argument that is complete.
func (p *parser) done() {
	if len(p.open) == 0 {
		p.count++
	}
}

// push adds the argument in buf[start:end].
func (p *parser) push(kind Kind, start, end int) {
	p.args = append(p.args, Arg{Kind: kind, off: int32(start - p.mark), end: int32(end - p.mark)})
	p.done()
}

func (p *parser) lineEnd(c byte) error {
	if c == '\r' {
		p.pos++
		next, err := p.peek()
		if err != nil {
			return err
		}
		if next != '\n' {
			return errCR
		}
	}
	if len(p.open) > 0 || p.inside {
		return errOpen
	}
	p.pos++
	p.eol = true
	return nil
}

func (p *parser) atom() error {
	start := p.pos - p.mark
	for {
		c, err := p.peek()
		if err != nil {
			return err
		}
		if !atomChar[c] {
			switch {
			case c == ' ' || c == ')' || c == '\r' || c == '\n':
				p.push(Atom, p.mark+start, p.pos)
				return nil
			case c >= 0x80:
				return err8bit
			}
			return errAtom
		}
		p.pos++
	}
}

// quoted reads a quoted string and removes its escapes in place.
func (p *parser) quoted() error {
	p.pos++
	start := p.pos - p.mark
	out := start
	for {
		c, err := p.peek()
		if err != nil {
			return err
		}
		switch c {
		case '"':
			p.pos++
			p.push(String, p.mark+start, p.mark+out)
			return nil
		case '\\':
			p.pos++
			if c, err = p.peek(); err != nil {
				return err
			}
		}
		switch c {
		case '\r', '\n':
			return errQuote
		case 0:
			return errNUL
		}
		p.buf[p.mark+out] = c
		out++
		p.pos++
	}
}

// literal reads a literal's header and, unless it is to be streamed, its data.
func (p *parser) literal() error {
	head, err := p.literalHeader()
	if err != nil {
		return err
	}
	if !head.Sync && p.lim.NonSync > 0 && head.Size > p.lim.NonSync {
		return errNonSync
	}
	p.lit, p.inLit = head, false
	if p.stops() {
		p.stopped = true
		return nil
	}
	if head.Size > int64(p.lim.Line-(p.pos-p.mark)) {
		return errLiteralSize
	}
	if head.Sync {
		if err := p.proceed(); err != nil {
			return err
		}
	}
	start := p.pos - p.mark
	for len(p.buf)-p.pos < int(head.Size) {
		if err := p.Fill(); err != nil {
			return err
		}
	}
	p.pos += int(head.Size)
	p.lit = LiteralHeader{}
	p.push(Literal, p.mark+start, p.pos)
	return nil
}

// literalHeader reads "{123}" or "{123+}" and the line end after it.
func (p *parser) literalHeader() (LiteralHeader, error) {
	p.pos++
	start := p.pos - p.mark
	for {
		c, err := p.peek()
		if err != nil {
			return LiteralHeader{}, err
		}
		if c < '0' || c > '9' {
			break
		}
		p.pos++
	}
	digits := p.buf[p.mark+start : p.pos]
	if len(digits) == 0 {
		return LiteralHeader{}, errLiteral
	}
	head := LiteralHeader{Sync: true}
	size, ok := ParseUint(digits)
	if !ok {
		return head, errLiteralSize
	}
	head.Size = int64(size)
	if p.buf[p.pos] == '+' {
		head.Sync = false
		p.pos++
	}
	for i, want := range []byte("}\r\n") {
		c, err := p.peek()
		if err != nil {
			return head, err
		}
		if c != want {
			if i == 1 && c == '\n' {
				break
			}
			return head, errLiteral
		}
		if i < 2 {
			p.pos++
		}
	}
	p.pos++
	return head, nil
}

// OpenLiteral returns the data of the literal that [Decoder.ArgsUntilLiteral] stopped
// at. A client that waits is told to go on.
func (d *Decoder) OpenLiteral() (*LiteralReader, error) {
	if d.lit.Sync {
		if err := d.proceed(); err != nil {
			return nil, err
		}
	}
	d.inLit = true
	d.mark = d.pos
	return (*LiteralReader)(d), nil
}
