package store

import "strings"

// A glob is a LIST pattern: "*" matches anything, "%" anything but the separator.
type glob struct {
	pattern string
	sep     byte
	inbox   bool // match a first part INBOX in any case
}

func newGlob(pattern string, sep byte, inboxCase bool) glob {
	return glob{pattern: simplify(pattern), sep: sep, inbox: inboxCase}
}

// simplify joins wildcards that mean the same as one, so that matching stays linear.
func simplify(pattern string) string {
	if !strings.Contains(pattern, "**") && !strings.Contains(pattern, "%%") &&
		!strings.Contains(pattern, "*%") && !strings.Contains(pattern, "%*") {
		return pattern
	}
	b := make([]byte, 0, len(pattern))
	for i := 0; i < len(pattern); {
		c := pattern[i]
		if c != '*' && c != '%' {
			b = append(b, c)
			i++
			continue
		}
		wild := byte('%')
		for ; i < len(pattern) && (pattern[i] == '*' || pattern[i] == '%'); i++ {
			if pattern[i] == '*' {
				wild = '*'
			}
		}
		b = append(b, wild)
	}
	return string(b)
}

// same compares one byte; i is its position in the name.
func (g *glob) same(p, c byte, i int, fold bool) bool {
	return p == c || fold && i < len(inbox) && p >= 'a' && p <= 'z' && p-'a'+'A' == c
}

// folds reports whether the name begins with INBOX as its first part.
func (g *glob) folds(name string) bool {
	return g.inbox && strings.HasPrefix(name, inbox) && (len(name) == len(inbox) || name[len(inbox)] == g.sep)
}

// match reports whether the whole name matches.
func (g *glob) match(name string) bool {
	fold := g.folds(name)
	p, n := 0, 0
	star, starAt := -1, 0 // last "*" and where the name goes on after it
	pct, pctAt := -1, 0   // last "%" after it
	for n < len(name) {
		switch {
		case p < len(g.pattern) && g.pattern[p] == '*':
			star, starAt, pct = p, n, -1
			p++
		case p < len(g.pattern) && g.pattern[p] == '%':
			pct, pctAt = p, n
			p++
		case p < len(g.pattern) && g.same(g.pattern[p], name[n], n, fold):
			p++
			n++
		case pct >= 0 && name[pctAt] != g.sep:
			pctAt++
			p, n = pct+1, pctAt
		case star >= 0:
			starAt++
			p, n, pct = star+1, starAt, -1
		default:
			return false
		}
	}
	for p < len(g.pattern) && (g.pattern[p] == '*' || g.pattern[p] == '%') {
		p++
	}
	return p == len(g.pattern)
}

// matchBelow reports whether something below the name, which ends with the
// separator or is empty, can match.
func (g *glob) matchBelow(name string) bool {
	fold := g.folds(strings.TrimSuffix(name, string(g.sep)))
	p, n := 0, 0
	pct, pctAt := -1, 0
	for n < len(name) {
		switch {
		case p < len(g.pattern) && g.pattern[p] == '*':
			return true
		case p < len(g.pattern) && g.pattern[p] == '%':
			pct, pctAt = p, n
			p++
		case p < len(g.pattern) && g.same(g.pattern[p], name[n], n, fold):
			p++
			n++
		case pct >= 0 && name[pctAt] != g.sep:
			pctAt++
			p, n = pct+1, pctAt
		default:
			return false
		}
	}
	return p < len(g.pattern)
}
