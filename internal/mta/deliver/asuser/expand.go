package asuser

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// Expand replaces the $name of forward_path and the like. Characters of values that
// filter does not have become "_"; an empty filter lets all pass. An error is that a
// name has no value ([postfix.ErrUndefined]), or one of the syntax.
func Expand(text string, vars map[string]string, filter string) (string, error) {
	return postfix.ExpandDefined(text, lookup(vars, filter))
}

// ExpandLoose is Expand where names without value stand for nothing.
func ExpandLoose(text string, vars map[string]string, filter string) (string, error) {
	return postfix.ExpandText(text, lookup(vars, filter))
}

func lookup(vars map[string]string, filter string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := vars[name]
		// Values are addresses of others: they must not be expanded again.
		return strings.ReplaceAll(Filter(value, filter), "$", "$$"), ok
	}
}

// Filter replaces the characters that a filter does not have.
func Filter(value, filter string) string {
	if filter == "" {
		return value
	}
	b := []byte(value)
	for i, c := range b {
		if strings.IndexByte(filter, c) < 0 {
			b[i] = '_'
		}
	}
	return string(b)
}

// usesExtension reports whether the expansion of text depends on the value of
// $extension, rather than on whether there is one.
func usesExtension(text string, vars map[string]string) bool {
	if vars["extension"] == "" {
		return strings.Contains(text, "extension")
	}
	other := make(map[string]string, len(vars))
	for name, value := range vars {
		other[name] = value
	}
	other["extension"] += "x"
	a, _ := ExpandLoose(text, vars, "")  //nolint:errcheck // it was expanded before
	b, _ := ExpandLoose(text, other, "") //nolint:errcheck // as above
	return a != b
}
