package postfix

import "strings"

// listSeparators are what stands between the items of a list.
const listSeparators = ", \t\r\n"

// SplitList splits a list at commas and white space. Text in braces, which stay,
// is one item or part of one: "a, inline:{b, c}" has two.
func SplitList(s string) []string { return SplitBraced(s, listSeparators) }

// SplitBraced splits text at any of the separators outside braces. Braces that never
// close protect all that follows.
func SplitBraced(s, separators string) []string {
	var items []string
	for {
		s = strings.TrimLeft(s, separators)
		if s == "" {
			return items
		}
		n := itemLen(s, separators)
		items = append(items, s[:n])
		s = s[n:]
	}
}

// itemLen is the length of the first item.
func itemLen(s, separators string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '{':
			depth++
		case c == '}' && depth > 0:
			depth--
		case depth == 0 && strings.IndexByte(separators, c) >= 0:
			return i
		}
	}
	return len(s)
}
