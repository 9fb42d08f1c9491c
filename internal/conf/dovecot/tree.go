package dovecot

import (
	"slices"
	"strconv"
	"strings"
)

// A pos is where something was written: an index into Config.files and a line.
type pos struct{ file, line int }

// A value is a setting as the file gives it, in the form doveconf prints.
type value struct {
	text    string
	pos     pos
	first   pos    // where the key was set first
	seq     int    // counts the keys in the order in which they were first set
	path    bool   // it was written with the path of the section
	file    string // absolute path, if the value was written as "<text"
	content string // of that file
	read    bool   // content is valid
}

// A section is what one layer of the configuration sets: the global settings,
// one filter, or one section of a list in either.
type section struct {
	set  *Setting // the list or map it belongs to; the root for a layer
	name string
	num  int // of an unnamed section, from 0; -1 for named ones
	pos  pos
	keys map[string]value
	subs []*section
}

func newSection(set *Setting, name string, num int, p pos) *section {
	return &section{set: set, name: name, num: num, pos: p, keys: map[string]value{}}
}

// sub finds the section of list set by name or number, as it is written in a
// path: "imap-login", "0".
func (s *section) sub(set *Setting, name string) *section {
	for _, sub := range s.subs {
		if sub.set == set && sub.id() == name {
			return sub
		}
	}
	return nil
}

// subFold is sub for what is written in a file: Dovecot's names of sections
// differ by more than the case of their letters.
func (s *section) subFold(set *Setting, name string) *section {
	for _, sub := range s.subs {
		if sub.set == set && strings.EqualFold(sub.id(), name) {
			return sub
		}
	}
	return nil
}

// id is the path component of the section.
func (s *section) id() string {
	if s.num >= 0 {
		return strconv.Itoa(s.num)
	}
	return s.name
}

// unnamed counts the sections of a list, which is the number of the next one.
func (s *section) count(set *Setting) int {
	n := 0
	for _, sub := range s.subs {
		if sub.set == set {
			n++
		}
	}
	return n
}

// clone copies the section and everything below, so that the copy may be
// changed.
func (s *section) clone() *section {
	c := *s
	c.keys = make(map[string]value, len(s.keys))
	for k, v := range s.keys {
		c.keys[k] = v
	}
	c.subs = slices.Clone(s.subs)
	for i, sub := range c.subs {
		c.subs[i] = sub.clone()
	}
	return &c
}

// A layer is the settings of one filter; the first layer of a Config is the
// global one.
type layer struct {
	cond cond
	root *section
	pos  pos
}

// A view is the same section in several layers, the most specific first.
type view []*section

// value finds a key of the section.
func (v view) value(key string) (value, bool) {
	for _, s := range v {
		if val, ok := s.keys[key]; ok {
			return val, true
		}
	}
	return value{}, false
}

// subs returns the merged sections of one list, in order.
func (v view) subs(set *Setting) []view {
	if set.ordered() {
		return v.orderedSubs(set)
	}
	if len(v) == 0 {
		return nil
	}
	var out []view
	at := map[string]int{}
	place := func(s *section, add bool) {
		for _, sub := range s.subs {
			if sub.set != set {
				continue
			}
			i, seen := at[sub.name]
			switch {
			case sub.num >= 0 && add:
				out = append(out, view{sub}) // unnamed ones are never the same
				continue
			case sub.num >= 0:
				continue
			case !seen:
				i = len(out)
				at[sub.name] = i
				out = append(out, nil)
			}
			if add {
				out[i] = append(out[i], sub)
			}
		}
	}
	// Built-in sections, of the least specific layer, come first.
	place(v[len(v)-1], false)
	for _, s := range v {
		place(s, true)
	}
	return out
}

// orderedSubs lists a filter's sections before those around it.
func (v view) orderedSubs(set *Setting) []view {
	var out []view
	for _, s := range v {
		for _, sub := range s.subs {
			if sub.set == set {
				out = append(out, view{sub})
			}
		}
	}
	return out
}

// sub returns the merged section with the given path component.
func (v view) sub(set *Setting, id string) view {
	var out view
	for _, s := range v {
		if sub := s.sub(set, id); sub != nil {
			out = append(out, sub)
		}
	}
	return out
}
