package acl

import (
	"fmt"
	"slices"
	"strings"
)

// A List is the entries about one mailbox, sorted, with one for each identifier and source.
type List []Entry

// Parse reads a dovecot-acl file. An error names the line: who cannot read all of a list must
// give no rights because of it.
func Parse(text string) (List, error) {
	var l List
	n := 0
	for line := range strings.Lines(text) {
		n++
		if line = strings.TrimSuffix(line, "\n"); line == "" || line[0] == '#' {
			continue
		}
		e, err := parseEntry(strings.TrimSuffix(line, "\r"))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		l = append(l, e)
	}
	return l.sort(), nil
}

// sort brings the entries into order, and those with the same identifier together.
func (l List) sort() List {
	slices.SortStableFunc(l, func(a, b Entry) int { return a.compare(&b) })
	out := l[:0]
	for _, e := range l {
		if n := len(out); n > 0 && out[n-1].compare(&e) == 0 {
			// What two entries say together says something of both kinds of rights, if only
			// that there are none: so it is in Dovecot.
			out[n-1].Rights = sorted(append(slices.Clone(out[n-1].Rights), e.Rights...))
			out[n-1].Negative = sorted(append(slices.Clone(out[n-1].Negative), e.Negative...))
			continue
		}
		out = append(out, e)
	}
	return out
}

// With returns the entries of both lists.
func (l List) With(other List) List { return append(slices.Clone(l), other...).sort() }

// Local returns the entries that are not from the global file.
func (l List) Local() List {
	return slices.DeleteFunc(slices.Clone(l), func(e Entry) bool { return e.Global })
}

// Append appends the text of a dovecot-acl file. Global entries are not in it.
func (l List) Append(b []byte) []byte {
	for i := range l {
		if !l[i].Global {
			b = l[i].append(b)
		}
	}
	return b
}

// Locked is the list of a mailbox whose file may not be read: nobody has rights.
func Locked() List {
	return List{{ID: ID{Kind: Anyone}, Rights: []string{}}, {ID: ID{Kind: Owner}, Rights: []string{}}}
}

// An Identity is who asks.
type Identity struct {
	User   string // "" for nobody in particular
	Groups []string
	Owner  bool // of the mailboxes
}

// Matches reports whether an entry is about who asks.
func (who *Identity) Matches(id ID) bool {
	switch id.Kind {
	case Anyone:
		return true
	case Authenticated:
		return who.User != ""
	case Group, GroupOverride:
		return slices.Contains(who.Groups, id.Name)
	case Owner:
		return who.Owner
	case User:
		return who.User != "" && who.User == id.Name
	}
	return false
}

// Default returns the rights where no list says anything.
func (who *Identity) Default() Set {
	if who.Owner {
		return Set{Bits: All}
	}
	return Set{}
}

// Rights returns what the list lets somebody do. known is false if it says nothing about him.
func (l List) Rights(who *Identity) (s Set, known bool) {
	var positive, negative Set
	first := 0
	if who.Owner {
		positive, known = who.Default(), true
		for first < len(l) && l[first].Kind < Owner && !l[first].Global {
			first++
		}
	}
	var last *Entry
	for i := first; i < len(l); i++ {
		e := &l[i]
		if !who.Matches(e.ID) {
			continue
		}
		adds := last != nil && last.Kind == e.Kind && last.Global == e.Global
		opensGlobal := e.Global && (last == nil || !last.Global)
		last = e
		if e.Rights != nil {
			if !adds {
				positive = Set{}
			}
			positive = positive.plus(setOf(e.Rights))
		} else if !known {
			positive = who.Default()
		}
		known = true
		// What the mailbox's own list takes away the global file gives all the same.
		if opensGlobal || e.Negative != nil && !adds {
			negative = Set{}
		}
		negative = negative.plus(setOf(e.Negative))
	}
	return positive.minus(negative), known
}
