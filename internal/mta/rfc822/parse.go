package rfc822

import "slices"

// ParseList scans a list of addresses, and puts the tokens of each address into
// one [Address]. All else stays where it is, but for comments, which come to
// stand behind the address they are in. The limit is that of [Scan].
func ParseList(s string, limit int) []Token {
	p := parser{in: Scan(s, limit), word: true}
	p.right = len(p.in)
	p.run()
	slices.Reverse(p.out)
	return p.out
}

// A parser goes from right to left: what is an address ends where it is
// recognized, while a phrase before it shows only afterwards.
type parser struct {
	in    []Token
	i     int     // the token looked at
	right int     // tokens from here on are in out
	cur   []Token // of the address under way, reversed
	out   []Token // reversed
	word  bool    // a word may come without a comma
	group bool    // right of us is the end of a group
}

func (p *parser) run() {
	for p.i = len(p.in) - 1; p.i >= 0; p.i-- {
		t := p.in[p.i]
		switch t.Kind {
		case Comment:
			p.out = append(p.out, t)
		case ';':
			p.flush(true)
			p.take(t)
			p.word, p.group = true, true
		case '>':
			p.flush(true)
			p.take(t)
			p.brackets()
			p.word = true
		case Atom, Quoted, Literal:
			if !p.word {
				p.flush(true)
			}
			p.word = false
			p.cur = append(p.cur, t)
		case ',':
			p.flush(false)
			p.take(t)
			p.word = true
		default:
			if t.Kind == ':' && p.group {
				p.members()
				continue
			}
			p.word = true
			if p.i == p.right {
				p.out = append(p.out, t)
			} else {
				p.cur = append(p.cur, t)
			}
		}
	}
	p.flush(false)
}

// take moves the token looked at to the output.
func (p *parser) take(t Token) {
	p.out = append(p.out, t)
	p.right = p.i
}

// flush makes an address of what is under way, with a comma before it where the
// text has none.
func (p *parser) flush(comma bool) {
	if len(p.cur) == 0 {
		return
	}
	slices.Reverse(p.cur)
	p.out = append(p.out, Token{Kind: Address, List: p.cur})
	p.cur = nil
	if comma {
		p.out = append(p.out, Token{Kind: ','})
	}
}

// brackets takes "phrase <address" off, the ">" of which has been seen.
func (p *parser) brackets() {
	for p.i--; p.i >= 0 && p.in[p.i].Kind != '<'; p.i-- {
		if t := p.in[p.i]; t.Kind == Comment {
			p.out = append(p.out, t)
		} else {
			p.cur = append(p.cur, t)
		}
	}
	p.flush(false)
	p.verbatim(func(k Kind) bool { return k == '>' || k == ';' || k == ',' || k == ':' })
}

// members ends the members of a group; its name goes on as it is.
func (p *parser) members() {
	p.flush(false)
	p.out = append(p.out, Token{Kind: Group})
	p.i--
	p.verbatim(func(k Kind) bool { return k == ',' })
}

// verbatim moves tokens to the output up to one that ends them, which is looked
// at next.
func (p *parser) verbatim(ends func(Kind) bool) {
	for ; p.i >= 0 && !ends(p.in[p.i].Kind); p.i-- {
		p.out = append(p.out, p.in[p.i])
	}
	p.right = p.i
	p.i++
}
