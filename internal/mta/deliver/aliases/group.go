package aliases

import (
	"slices"
	"strings"
)

// A grouper makes addresses of tokens. It goes from right to left, like Postfix:
// what stands before an address in angle brackets is a name, and two words next
// to each other are two addresses.
type grouper struct {
	tokens []token
	at     int // the token looked at
	end    int // behind the tokens of the address under way
	found  []string
	word   bool // a word may come without beginning an address
	inside bool // a named group: after its ";", before its ":"
}

func group(tokens []token) []string {
	g := grouper{tokens: slices.DeleteFunc(tokens, func(t token) bool { return t.kind == comment }), word: true}
	g.at = len(g.tokens) - 1
	g.end = len(g.tokens)
	for g.at >= 0 {
		g.step()
	}
	g.address(-1, g.end)
	slices.Reverse(g.found)
	return g.found
}

func (g *grouper) step() {
	switch g.tokens[g.at].kind {
	case ';':
		g.ends()
		g.word, g.inside = true, true
	case ':':
		if !g.inside {
			g.word = true
			break
		}
		g.address(g.at, g.end)
		g.skip(func(kind byte) bool { return kind != ',' })
		g.end = g.at
		return
	case '>':
		g.ends()
		g.skip(func(kind byte) bool { return kind != '<' })
		g.address(g.at, g.end)
		g.skip(func(kind byte) bool { return strings.IndexByte(">;,:", kind) < 0 })
		g.end = g.at
		g.word = true
		return
	case atom, quoted, literal:
		if !g.word {
			g.address(g.at, g.end)
			g.end = g.at + 1
		}
		g.word = false
	case ',':
		g.address(g.at, g.end)
		g.end = g.at
		g.word = true
	default:
		g.word = true
	}
	g.at--
}

// ends is for a token that ends something: what is right of it is an address of its own.
func (g *grouper) ends() {
	g.address(g.at, g.end)
	g.end = g.at
}

func (g *grouper) skip(cond func(kind byte) bool) {
	for g.at >= 0 && cond(g.tokens[g.at].kind) {
		g.at--
	}
}

// address makes one of the tokens between left and right.
func (g *grouper) address(left, right int) {
	if left+1 >= right {
		return
	}
	tokens := g.tokens[left+1 : right]
	if len(tokens) == 1 && (tokens[0].kind == atom || tokens[0].kind == quoted) {
		g.found = append(g.found, tokens[0].text)
		return
	}
	var b strings.Builder
	for _, t := range tokens {
		switch t.kind {
		case atom, quoted:
			b.WriteString(t.text)
		case literal:
			b.WriteString("[" + t.text + "]")
		default:
			b.WriteByte(t.kind)
		}
	}
	g.found = append(g.found, b.String())
}
