package acl

import (
	"fmt"
	"slices"
	"strings"
)

// A Right is one of the rights that the server knows of (RFC 4314 2.1).
type Right uint16

// The rights, in the order in which they are told.
const (
	Lookup       Right = 1 << iota // the mailbox is listed, and its existence told
	Read                           // it can be selected
	Write                          // flags and keywords but \Seen and \Deleted
	WriteSeen                      // \Seen
	WriteDeleted                   // \Deleted
	Insert                         // APPEND, COPY to it
	Post                           // deliveries
	Expunge                        //
	Create                         // mailboxes below it
	Delete                         // the mailbox, and renaming it
	Admin                          // its list may be seen and changed

	// All are all of them.
	All Right = 1<<iota - 1
)

// names are the rights by bit, with their letters.
var names = [...]struct {
	letter byte
	name   string
}{
	{'l', "lookup"}, {'r', "read"}, {'w', "write"}, {'s', "write-seen"}, {'t', "write-deleted"}, {'i', "insert"},
	{'p', "post"}, {'e', "expunge"}, {'k', "create"}, {'x', "delete"}, {'a', "admin"},
}

// AllNames returns the names of all rights.
func AllNames() []string { return Set{Bits: All}.Names() }

// Letter returns the letter of a right; ok is false for one that has none.
func Letter(name string) (letter byte, ok bool) {
	for _, n := range names {
		if n.name == name {
			return n.letter, true
		}
	}
	return 0, false
}

// NameOf returns the name of the right with the letter; ok is false if there is none.
func NameOf(letter byte) (name string, ok bool) {
	for _, n := range names {
		if n.letter == letter {
			return n.name, true
		}
	}
	return "", false
}

// A Set is what somebody may do: rights that the server knows of, and others.
type Set struct {
	Bits  Right
	Other []string
}

// Has reports whether all of the rights are in the set.
func (s Set) Has(r Right) bool { return s.Bits&r == r }

// Names returns the rights of the set.
func (s Set) Names() (list []string) {
	for i, n := range names {
		if s.Bits&(1<<i) != 0 {
			list = append(list, n.name)
		}
	}
	return append(list, s.Other...)
}

// setOf is the set of named rights.
func setOf(list []string) (s Set) {
	for _, name := range list {
		i := slices.IndexFunc(names[:], func(n struct {
			letter byte
			name   string
		}) bool {
			return n.name == name
		})
		if i >= 0 {
			s.Bits |= 1 << i
		} else if !slices.Contains(s.Other, name) {
			s.Other = append(s.Other, name)
		}
	}
	return s
}

func (s Set) plus(o Set) Set {
	out := Set{Bits: s.Bits | o.Bits, Other: slices.Clone(s.Other)}
	for _, name := range o.Other {
		if !slices.Contains(out.Other, name) {
			out.Other = append(out.Other, name)
		}
	}
	return out
}

func (s Set) minus(o Set) Set {
	out := Set{Bits: s.Bits &^ o.Bits}
	for _, name := range s.Other {
		if !slices.Contains(o.Other, name) {
			out.Other = append(out.Other, name)
		}
	}
	return out
}

// sorted returns the names in the order of files, each once. It is never nil.
func sorted(list []string) []string {
	out := append(make([]string, 0, len(list)), list...)
	slices.Sort(out)
	return slices.Compact(out)
}

// appendRights appends rights as files have them: letters, and after " :" other names.
func appendRights(b []byte, list []string) []byte {
	for _, name := range list {
		if letter, ok := Letter(name); ok {
			b = append(b, letter)
		}
	}
	mark := " :"
	for _, name := range list {
		if _, ok := Letter(name); !ok {
			b = append(append(b, mark...), name...)
			mark = " "
		}
	}
	return b
}

// parseRights reads what appendRights writes. It returns a list that is not nil.
func parseRights(text string) ([]string, error) {
	text = strings.TrimLeft(text, " \t")
	list := []string{}
	i := 0
	for ; i < len(text) && text[i] != ' ' && text[i] != '\t' && text[i] != ':'; i++ {
		name, ok := NameOf(text[i])
		if !ok {
			return nil, fmt.Errorf("Unknown ACL '%c'", text[i])
		}
		list = append(list, name)
	}
	text = strings.TrimLeft(text[i:], " \t")
	if text == "" {
		return sorted(list), nil
	}
	if text[0] != ':' {
		return nil, fmt.Errorf("Missing ':' prefix in ACL extensions")
	}
	other := strings.FieldsFunc(text[1:], func(c rune) bool { return c == ' ' || c == ',' || c == '\t' })
	return sorted(append(list, other...)), nil
}
