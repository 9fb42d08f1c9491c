package dict

import "strings"

// matchKey matches a key with the pattern of a map, in which each variable is a "$". One
// matches up to the next "/", the last one of a pattern all that is left.
func matchKey(pattern, key string) (values []string, ok bool) {
	for pattern != "" && key != "" {
		switch {
		case pattern == "$":
			return append(values, key), true
		case pattern[0] == '$':
			n := strings.IndexByte(key, '/')
			if n < 0 {
				n = len(key)
			}
			values, key, pattern = append(values, key[:n]), key[n:], pattern[1:]
		case pattern[0] != key[0]:
			return nil, false
		default:
			pattern, key = pattern[1:], key[1:]
		}
	}
	return values, pattern == "" && key == ""
}

// A prefixMatch is how a prefix of keys matches a pattern.
type prefixMatch struct {
	values  []string // of the variables that the prefix has whole
	partial string   // what the prefix has of the next one
	first   int      // index of the first variable that keys differ in
	prefix  string   // of all keys, as far as rest does not repeat it
	rest    string   // of the pattern, from the first variable on
}

// key returns a key, whose variables value gives, counted from p.first.
func (p *prefixMatch) key(value func(n int) string) string {
	var b strings.Builder
	b.WriteString(p.prefix)
	n := 0
	for i := range len(p.rest) {
		if p.rest[i] != '$' {
			b.WriteByte(p.rest[i])
			continue
		}
		b.WriteString(value(n))
		n++
	}
	return b.String()
}

// matchPrefix matches what keys begin with. If only the children of the prefix are
// wanted, the pattern must end with the variable that they are.
func matchPrefix(pattern, prefix string, recurse bool) (*prefixMatch, bool) {
	p := &prefixMatch{rest: pattern}
	key := prefix
	for p.rest != "" && key != "" {
		switch {
		case p.rest == "$":
			// The prefix goes on within the variable: only keys below it match.
			p.first = len(p.values)
			p.partial = strings.TrimSuffix(key, "/")
			p.prefix = strings.TrimSuffix(prefix, key)
			return p, true
		case p.rest[0] == '$':
			n := strings.IndexByte(key, '/')
			if n < 0 {
				return nil, false
			}
			p.values, key, p.rest = append(p.values, key[:n]), key[n:], p.rest[1:]
		case p.rest[0] != key[0]:
			return nil, false
		default:
			p.rest, key = p.rest[1:], key[1:]
		}
	}
	done := len(pattern) - len(p.rest)
	switch {
	case key != "" || p.rest == "" || done > 0 && pattern[done-1] != '/':
		return nil, false
	case !recurse && p.rest != "$":
		return nil, false
	}
	p.first, p.prefix = len(p.values), prefix
	return p, true
}
