package message

// An Address is one element of an address list. A group begins with an Address
// that has Start set and the group's name as Mailbox, and ends with an empty
// one that has End set.
type Address struct {
	Name    string // display name, not decoded
	Route   string // source route
	Mailbox string // local part, or group name
	Domain  string
	HasName bool // a display name was given, perhaps an empty one
	Start   bool // begins a group
	End     bool // ends a group
}

// What Dovecot puts where an address lacks something.
const (
	missingMailbox = "MISSING_MAILBOX"
	missingDomain  = "MISSING_DOMAIN"
	syntaxError    = "SYNTAX_ERROR"
	invalidRoute   = "INVALID_ROUTE"
)

// ParseAddresses parses a folded or unfolded address list and returns at most
// max addresses. Missing parts are filled in as Dovecot does.
func ParseAddresses(value []byte, max int) []Address {
	p := addressParser{max: max}
	p.data = value
	p.keepComment = true
	p.list()
	return p.out
}

type addressParser struct {
	scanner
	out []Address
	max int
	cur Address
	buf []byte
}

// list reads addresses and groups separated by commas. It stops at the first
// thing that is neither.
func (p *addressParser) list() {
	if p.skipLWSP() != more {
		return
	}
	for len(p.out) < p.max {
		if !p.group() {
			p.mailbox()
		}
		if p.peek() != ',' || p.end() {
			return
		}
		p.i++
		if !p.next() {
			return
		}
	}
}

// next skips to the address after a comma. An unclosed comment there counts as
// an address without anything.
func (p *addressParser) next() bool {
	switch p.skipLWSP() {
	case failed:
		p.out = append(p.out, Address{Mailbox: missingMailbox, Domain: missingDomain})
		return false
	case atEnd:
		return false
	}
	return true
}

// group reads a group if there is one.
func (p *addressParser) group() bool {
	start := p.i
	p.buf = p.buf[:0]
	if p.peek() != ':' {
		if p.phrase(&p.buf) != more || p.peek() != ':' {
			p.i = start
			return false
		}
	}
	p.i++
	p.out = append(p.out, Address{Mailbox: string(p.buf), Start: true})
	p.members()
	p.out = append(p.out, Address{End: true})
	if !p.end() && p.peek() == ';' {
		p.i++
		p.skipLWSP()
	}
	return true
}

// members reads the addresses of a group up to its semicolon.
func (p *addressParser) members() {
	if p.skipLWSP() != more || p.peek() == ';' {
		return
	}
	for len(p.out) < p.max {
		p.mailbox()
		if p.end() || p.peek() != ',' {
			return
		}
		p.i++
		if !p.next() {
			return
		}
	}
}

// mailbox reads one address of either form.
func (p *addressParser) mailbox() {
	p.cur = Address{}
	start := p.i
	if !p.nameAddr() {
		p.i = start
		p.addrSpec()
	}
	if p.cur.Mailbox == "" && !p.cur.hasMailbox() {
		p.cur.Mailbox = missingMailbox
	}
	if p.cur.Domain == "" {
		p.cur.Domain = missingDomain
	}
	p.cur.quotedEmpty()
	p.out = append(p.out, p.cur)
}

// An empty local part ("" as quoted string) is not a missing one; while the
// address is parsed it is marked by a byte that no parsed text begins with.
const emptyMailbox = "\x00"

func (a *Address) hasMailbox() bool { return a.Mailbox != "" }

func (a *Address) quotedEmpty() {
	if a.Mailbox == emptyMailbox {
		a.Mailbox = ""
	}
}

func mailboxText(b []byte) string {
	if len(b) == 0 {
		return emptyMailbox
	}
	return string(b)
}

// nameAddr reads [phrase] "<" addr-spec ">".
func (p *addressParser) nameAddr() bool {
	p.buf = p.buf[:0]
	if p.peek() != '<' {
		if p.phrase(&p.buf) != more || p.peek() != '<' {
			return false
		}
		p.setName(p.buf)
	}
	p.i++
	if p.angle() == failed {
		p.cur.Domain = syntaxError
	}
	return true
}

func (p *addressParser) setName(name []byte) {
	p.cur.Name = string(name)
	p.cur.HasName = len(name) > 0
}

// angle reads what stands between "<" and ">".
func (p *addressParser) angle() step {
	if p.skipLWSP() != more {
		return failed
	}
	if p.peek() == '@' {
		p.route()
		if p.end() {
			return failed
		}
	}
	if p.peek() == '>' {
		p.i++
		return p.skipLWSP()
	}
	p.buf = p.buf[:0]
	st := p.localPart(&p.buf)
	if st == failed {
		return failed
	}
	p.cur.Mailbox = mailboxText(p.buf)
	if st == more && p.peek() == '@' {
		p.buf = p.buf[:0]
		if st = p.domain(&p.buf); st != failed {
			p.cur.Domain = string(p.buf)
		}
	}
	if st != more || p.peek() != '>' {
		return failed
	}
	p.i++
	return p.skipLWSP()
}

// route reads the obsolete source route "@a,@b:".
func (p *addressParser) route() {
	p.cur.Route = invalidRoute
	if p.domains() {
		p.cur.Route = string(p.buf)
		p.skipLWSP()
	}
}

// domains reads the route's domains and the colon after them.
func (p *addressParser) domains() bool {
	p.buf = p.buf[:0]
	for !p.end() && p.peek() == '@' {
		if len(p.buf) > 0 {
			p.buf = append(p.buf, ',')
		}
		p.buf = append(p.buf, '@')
		if p.domain(&p.buf) != more {
			return false
		}
		for !p.end() && p.peek() == ',' {
			p.i++
			if p.skipLWSP() != more {
				return false
			}
		}
	}
	if p.end() || p.peek() != ':' {
		return false
	}
	p.i++
	return true
}

func (p *addressParser) localPart(b *[]byte) step {
	if p.peek() == '"' && !p.end() {
		return p.quoted(b)
	}
	return p.looseDotAtom(b)
}

// addrSpec reads local-part "@" domain. A comment is taken as the name. What
// has no "@" and is more than one word is a name without an address.
func (p *addressParser) addrSpec() {
	p.comment = p.comment[:0]
	isQuoted := p.peek() == '"'
	p.buf = p.buf[:0]
	st := p.localPart(&p.buf)
	if st != failed {
		p.cur.Mailbox = mailboxText(p.buf)
	}
	if st != atEnd && !p.end() && p.peek() == '@' {
		var domain []byte
		if p.domain(&domain) != failed {
			p.cur.Domain = string(domain)
		}
		p.commentName()
		return
	}
	p.commentName()
	if p.cur.HasName {
		return
	}
	p.nameOnly(st, isQuoted)
}

func (p *addressParser) commentName() {
	if len(p.comment) > 0 {
		p.setName(p.comment)
	}
}

// nameOnly takes the words read by addrSpec, and more that follow, as a name.
func (p *addressParser) nameOnly(st step, isQuoted bool) {
	name := append([]byte(nil), p.buf...)
	word := uint8(classAtext | classQuote)
	switch {
	case st == failed && len(name) > 0 && is(p.peek(), classBlank):
		// A dot with a blank behind it: the blank counts as an empty word.
		if p.skipLWSP() != more {
			return
		}
		word |= classDot
		name = append(name, ' ')
	case st == failed && len(name) == 0:
		return
	}
	if !p.end() && is(p.peek(), word) {
		n := len(name)
		name = append(name, ' ')
		if p.words(&name); len(name) == n+1 {
			if !isQuoted {
				return
			}
			name = name[:n]
		}
	} else if !isQuoted || st == failed {
		return
	}
	p.cur.Mailbox = ""
	p.cur.Name, p.cur.HasName = string(name), true
}
