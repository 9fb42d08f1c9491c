package dovecot

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// expand replaces the $words of the value of key (as it was written). Blanks
// between words become one space each, as Dovecot does with every value that has a "$".
// The name of the setting itself stands for the value it has so far, also in
// literal mode.
func (p *parser) expand(v *value, set *Setting, key string) error {
	// Dovecot ends the first word at a space only.
	first, rest, _ := strings.Cut(v.text, " ")
	words := append([]string{first}, strings.FieldsFunc(rest, func(r rune) bool { return r == ' ' || r == '\t' })...)
	for i, w := range words {
		name, ok := strings.CutPrefix(w, "$")
		if !ok {
			continue
		}
		switch {
		case strings.HasPrefix(name, "ENV:"):
			if !p.opts.literal {
				words[i] = os.Getenv(name[len("ENV:"):])
			}
		case name != key && (p.opts.literal || set != nil && keptForMaster(set, name)):
		default:
			other, err := p.global(name)
			if err != nil {
				return err
			}
			if other.file != "" && len(words) == 1 {
				v.text, v.file = other.text, other.file
				return nil
			}
			words[i] = other.text
		}
	}
	v.text = strings.Join(words, " ")
	return nil
}

// masterVariables are resolved by Services, with the values they have at the end.
var masterVariables = []string{"default_internal_user", "default_login_user", "default_internal_group"}

func keptForMaster(set *Setting, name string) bool {
	if !slices.Contains(masterVariables, name) {
		return false
	}
	switch set.Path[strings.LastIndexByte(set.Path, '/')+1:] {
	case "user", "group", "extra_groups":
		return strings.HasPrefix(set.Path, "service/")
	}
	return false
}

// global is the value of a global setting here and now, inside a filter with
// the filter's values.
func (p *parser) global(name string) (value, error) {
	set := schema().root.known(name)
	if set == nil {
		return value{}, fmt.Errorf("Unknown variable: $%s", name)
	}
	if set.section() {
		return value{}, fmt.Errorf("Invalid variable: $%s", name)
	}
	for i := len(p.stack) - 1; i >= 0; i-- {
		if v, ok := p.stack[i].layer.root.keys[name]; ok {
			return v, nil
		}
	}
	return value{text: set.Default}, nil
}
