package acl

import (
	"fmt"
	"slices"
	"strings"
)

// A Mode is how the rights of an entry change.
type Mode uint8

// The modes.
const (
	Leave   Mode = iota
	Remove       // those that are named
	Add          // those that are named
	Replace      // by those that are named
	Clear        // the entry
)

// An Update changes one entry of a list.
type Update struct {
	ID
	Mode, NegativeMode Mode
	Rights, Negative   []string // nil for no change
}

// NewUpdate makes an update of rights by name, of which those with a leading minus are
// negative, "all" stands for all, and ":" begins a right that is not a standard one. Without
// rights the entry is removed.
func NewUpdate(id string, rights []string, mode Mode) (u Update, err error) {
	if u.ID, err = ParseID(id); err != nil {
		return u, fmt.Errorf("Invalid ID: %s", id)
	}
	if rights == nil {
		u.Mode, u.NegativeMode = Clear, Clear
		return u, nil
	}
	u.Mode, u.NegativeMode = mode, mode
	for _, right := range rights {
		name, negative := strings.CutPrefix(right, "-")
		list := []string{name}
		custom, other := strings.CutPrefix(name, ":")
		if name == "all" {
			list = AllNames()
		} else if other {
			list = []string{custom}
		} else if _, ok := Letter(name); !ok {
			return u, fmt.Errorf("Invalid right '%s'", name)
		}
		if negative {
			u.Negative = append(u.Negative, list...)
		} else {
			u.Rights = append(u.Rights, list...)
		}
	}
	if mode == Replace && u.Rights == nil {
		u.Mode = Clear
	}
	if mode == Replace && u.Negative == nil {
		u.NegativeMode = Clear
	}
	return u, nil
}

// Apply returns the list with the update, and whether that is another one.
func (l List) Apply(u *Update) (List, bool) {
	want := Entry{ID: u.ID}
	i, found := slices.BinarySearchFunc(l, want, func(a, b Entry) int { return a.compare(&b) })
	e := want
	if found {
		e = l[i]
	}
	var c1, c2 bool
	e.Rights, c1 = modify(e.Rights, u.Rights, u.Mode)
	e.Negative, c2 = modify(e.Negative, u.Negative, u.NegativeMode)
	if !c1 && !c2 {
		return l, false
	}
	out := slices.Clone(l)
	switch empty := e.Rights == nil && e.Negative == nil; {
	case found && empty:
		out = slices.Delete(out, i, i+1)
	case found:
		out[i] = e
	default:
		out = slices.Insert(out, i, e)
	}
	return out, true
}

// modify changes a list of rights.
func modify(old, change []string, mode Mode) (now []string, changed bool) {
	switch {
	case mode == Clear:
		return nil, old != nil
	case mode == Leave, change == nil, mode == Remove && len(old) == 0:
		return old, false
	case mode == Remove:
		now = sorted(slices.DeleteFunc(slices.Clone(old), func(name string) bool { return slices.Contains(change, name) }))
	case mode == Add:
		now = sorted(append(slices.Clone(old), change...))
	default:
		now = sorted(change)
	}
	if old == nil {
		return now, len(now) > 0
	}
	return now, !slices.Equal(old, now)
}
