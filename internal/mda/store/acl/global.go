package acl

import (
	"fmt"
	"slices"
	"strings"
)

// A Global is a global file.
type Global struct{ rules []rule }

// A rule is what the file says about the mailboxes whose names match.
type rule struct {
	pattern string
	list    List
}

// ParseGlobal reads a global file.
func ParseGlobal(text string) (*Global, error) {
	g := &Global{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		if line = strings.TrimSuffix(line, "\n"); line == "" || line[0] == '#' {
			continue
		}
		pattern, e, err := parseRule(strings.TrimSuffix(line, "\r"))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		e.Global = true
		i := slices.IndexFunc(g.rules, func(r rule) bool { return r.pattern == pattern })
		if i < 0 {
			i = len(g.rules)
			g.rules = append(g.rules, rule{pattern: pattern})
		}
		g.rules[i].list = append(g.rules[i].list, e)
	}
	return g, nil
}

func parseRule(line string) (pattern string, e Entry, err error) {
	var rest string
	if quoted, ok := strings.CutPrefix(line, `"`); ok {
		if pattern, rest, ok = unquote(quoted); !ok {
			return "", e, fmt.Errorf("Missing '\"'")
		}
		if rest, ok = strings.CutPrefix(rest, " "); !ok {
			return "", e, fmt.Errorf("Expecting space after '\"'")
		}
	} else {
		if pattern, rest, ok = strings.Cut(line, " "); !ok {
			return "", e, fmt.Errorf("Missing ACL rights")
		}
		if pattern == "" {
			return "", e, fmt.Errorf("Empty ACL pattern")
		}
	}
	e, err = parseEntry(rest)
	return pattern, e, err
}

// For returns what the file says about a mailbox.
func (g *Global) For(name string) List {
	var l List
	for i := range g.rules {
		if Match(g.rules[i].pattern, name) {
			l = append(l, g.rules[i].list...)
		}
	}
	return l.sort()
}

// Has reports whether the file says anything about a mailbox.
func (g *Global) Has(name string) bool {
	return slices.ContainsFunc(g.rules, func(r rule) bool { return Match(r.pattern, name) })
}

// Match reports whether a name matches a pattern, in which * stands for any characters and ? for one.
func Match(pattern, name string) bool {
	star, mark := -1, 0
	p, n := 0, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
