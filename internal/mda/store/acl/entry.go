package acl

import (
	"cmp"
	"fmt"
	"strings"
)

// A Kind says whom an entry is about.
type Kind uint8

// The kinds, in the order in which they replace each other.
const (
	Anyone Kind = iota
	Authenticated
	Group
	Owner
	User
	GroupOverride
)

// An ID is whom an entry is about. Name is that of the user or group.
type ID struct {
	Kind Kind
	Name string
}

// prefixes are what identifiers begin with, by kind.
var prefixes = [...]string{Anyone: "anyone", Authenticated: "authenticated", Group: "group=", Owner: "owner", User: "user=", GroupOverride: "group-override="}

func (k Kind) named() bool { return k == Group || k == User || k == GroupOverride }

// String returns the identifier as files have it.
func (id ID) String() string { return prefixes[id.Kind] + id.Name }

// ParseID reads an identifier.
func ParseID(text string) (ID, error) {
	for k, prefix := range prefixes {
		kind := Kind(k)
		if rest, ok := strings.CutPrefix(text, prefix); ok && (kind.named() || rest == "") {
			return ID{kind, rest}, nil
		}
	}
	if text == "anonymous" {
		return ID{Kind: Anyone}, nil
	}
	return ID{}, fmt.Errorf("Unknown ID '%s'", text)
}

// An Entry gives rights and takes others away. A list that is nil says nothing, an empty one
// that there are none.
type Entry struct {
	ID
	Rights, Negative []string // names, sorted
	Global           bool
}

// compare is the order of entries: those of the global file last.
func (e *Entry) compare(o *Entry) int {
	if e.Global != o.Global {
		if e.Global {
			return 1
		}
		return -1
	}
	return cmp.Or(cmp.Compare(e.Kind, o.Kind), cmp.Compare(e.Name, o.Name))
}

// GivesLookup reports whether others than the owner are told of the mailbox because of the entry.
func (e *Entry) GivesLookup() bool {
	return e.Kind != Owner && setOf(e.Rights).Has(Lookup)
}

// Text returns the rights as an administrator reads them: "lookup read -write".
func (e *Entry) Text() string {
	list := append([]string(nil), e.Rights...)
	for _, name := range e.Negative {
		list = append(list, "-"+name)
	}
	if e.Negative != nil && len(e.Negative) == 0 {
		list = append(list, "-") // as Dovecot shows negative rights that are none
	}
	return strings.Join(list, " ")
}

// parseEntry reads a line.
func parseEntry(line string) (e Entry, err error) {
	id, rest, _ := strings.Cut(line, " ")
	if strings.HasPrefix(line, `"`) {
		var ok bool
		if id, rest, ok = unquote(line[1:]); !ok || rest != "" && rest[0] != ' ' {
			return e, fmt.Errorf("Invalid quoted ID")
		}
		rest = strings.TrimPrefix(rest, " ")
	}
	rights, err := parseRights(rest)
	if err != nil {
		return e, err
	}
	name, negative := strings.CutPrefix(id, "-")
	if e.ID, err = ParseID(name); err != nil {
		return e, err
	}
	if negative {
		e.Negative = rights
	} else {
		e.Rights = rights
	}
	return e, nil
}

// unquote reads up to a quote; a backslash stands for the character behind it.
func unquote(text string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return b.String(), text[i+1:], true
		case c == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

// append appends the lines of an entry.
func (e *Entry) append(b []byte) []byte {
	if e.Rights != nil {
		b = appendLine(b, e.ID.String(), e.Rights)
	}
	if e.Negative != nil {
		b = appendLine(b, "-"+e.ID.String(), e.Negative)
	}
	return b
}

var quoter = strings.NewReplacer(`"`, `\"`, `\`, `\\`, `'`, `\'`)

func appendLine(b []byte, id string, rights []string) []byte {
	if strings.Contains(id, " ") {
		id = `"` + quoter.Replace(id) + `"`
	}
	b = append(append(b, id...), ' ')
	return append(appendRights(b, rights), '\n')
}
