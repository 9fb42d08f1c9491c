package ext

import (
	"errors"
	"fmt"
	"strings"
)

// openMap is the open method of the dictionaries that map keys to rows or entries:
// it knows the sections map { } and fields { } inside of it.
func openMap[M any](in []string, kind string, begin func() *M, fields func() any) (any, error) {
	switch {
	case len(in) == 0 && kind == "map":
		m := begin()
		setDefaults(m)
		return m, nil
	case len(in) == 1 && kind == "fields":
		return fields(), nil
	}
	return nil, fmt.Errorf("Unknown section: %s", kind)
}

// patternNames lists the variables of a pattern of keys, $name or ${name}, in
// order; rest is the pattern with a plain $ for each.
func patternNames(pattern string) (names []string, rest string) {
	var b strings.Builder
	for {
		text, after, found := strings.Cut(pattern, "$")
		b.WriteString(text)
		if !found {
			return names, b.String()
		}
		b.WriteByte('$')
		var name string
		if braced, ok := strings.CutPrefix(after, "{"); ok {
			var closed bool
			if name, pattern, closed = strings.Cut(braced, "}"); !closed {
				name, pattern = "", "" // as Dovecot reads it
			}
		} else {
			n := 0
			for n < len(after) && isNameByte(after[n]) {
				n++
			}
			name, pattern = after[:n], after[n:]
		}
		names = append(names, name)
	}
}

func isNameByte(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// bind finds, for each variable of a pattern, which of the fields it stands for: an index
// into variables. What is the word for a field in errors.
func bind(pattern string, variables []string, what string) (order []int, rest string, err error) {
	names, rest := patternNames(pattern)
	used := make([]bool, len(variables))
	for _, name := range names {
		found := false
		for i, v := range variables {
			if v == name && !used[i] {
				used[i], found = true, true
				order = append(order, i)
				break
			}
		}
		if !found {
			return nil, "", fmt.Errorf("Missing %s for variable: %s", what, name)
		}
	}
	for i, v := range variables {
		if !used[i] {
			return nil, "", fmt.Errorf("Unused variable: %s", v)
		}
	}
	return order, rest, nil
}

var errNoPattern = errors.New("Missing setting: pattern")
