package dovecot

import (
	"os"
	"path"
	"slices"
	"strings"
)

// Glob lists the files that match a pattern as glob(3) does with GLOB_BRACE:
// braces first, each alternative in order with its own matches sorted.
func Glob(pattern string) []string {
	var out []string
	for _, p := range braces(pattern, 0) {
		out = append(out, globPath(p)...)
	}
	return out
}

// maxBraces bounds the nesting of braces, and maxAlternatives what they
// multiply to.
const maxBraces, maxAlternatives = 8, 1000

// braces expands the first {a,b} of the pattern and then the rest.
func braces(s string, depth int) []string {
	open := strings.IndexByte(s, '{')
	if open < 0 || depth > maxBraces {
		return []string{s}
	}
	var alternatives []string
	level, start := 0, open+1
	for i := open; i < len(s); i++ {
		switch s[i] {
		case '{':
			level++
		case ',':
			if level == 1 {
				alternatives = append(alternatives, s[start:i])
				start = i + 1
			}
		case '}':
			if level--; level > 0 {
				continue
			}
			var out []string
			for _, a := range append(alternatives, s[start:i]) {
				out = append(out, braces(s[:open]+a+s[i+1:], depth+1)...)
				if len(out) > maxAlternatives {
					return out[:maxAlternatives]
				}
			}
			return out
		}
	}
	return []string{s} // no closing brace
}

func globPath(pattern string) []string {
	if !strings.ContainsAny(pattern, `*?[\`) {
		if _, err := os.Lstat(pattern); err != nil {
			return nil
		}
		return []string{pattern}
	}
	// The pattern language of package path has ^ where the shell also has !.
	pattern = strings.ReplaceAll(pattern, "[!", "[^")
	matches := []string{""}
	if strings.HasPrefix(pattern, "/") {
		matches = []string{"/"}
	}
	for part := range strings.SplitSeq(strings.Trim(pattern, "/"), "/") {
		var next []string
		for _, dir := range matches {
			next = append(next, globDir(dir, part)...)
		}
		matches = next
	}
	slices.Sort(matches)
	return matches
}

// globDir matches the entries of dir with one component of a pattern. As in
// the shell, wildcards do not match a leading dot.
func globDir(dir, pattern string) []string {
	prefix := dir
	if prefix != "" && prefix != "/" {
		prefix += "/"
	}
	if !strings.ContainsAny(pattern, `*?[\`) {
		if _, err := os.Lstat(prefix + pattern); err != nil {
			return nil
		}
		return []string{prefix + pattern}
	}
	from := dir
	if from == "" {
		from = "."
	}
	entries, _ := os.ReadDir(from)
	var out []string
	for _, e := range entries {
		if e.Name()[0] == '.' && pattern[0] != '.' {
			continue
		}
		if ok, _ := path.Match(pattern, e.Name()); ok {
			out = append(out, prefix+e.Name())
		}
	}
	return out
}
