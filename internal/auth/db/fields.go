package db

import (
	"slices"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
)

// A Field is one extra field. With an empty value it is written as its name alone.
type Field struct {
	Name   string
	Value  string
	Hidden bool // not told to auth clients
}

// Fields are extra fields in the order in which they were added. There are few,
// so they are searched one by one. The zero value is empty.
type Fields struct {
	list  []Field
	saved []Field
}

// Len returns the number of fields, the hidden ones included.
func (f *Fields) Len() int { return len(f.list) }

// All returns the fields. The caller must not change or keep them.
func (f *Fields) All() []Field { return f.list }

// Get returns the value of a field.
func (f *Fields) Get(name string) (string, bool) {
	if i := f.index(name); i >= 0 {
		return f.list[i].Value, true
	}
	return "", false
}

// Has reports whether there is a field of that name.
func (f *Fields) Has(name string) bool { return f.index(name) >= 0 }

func (f *Fields) index(name string) int {
	for i := range f.list {
		if f.list[i].Name == name {
			return i
		}
	}
	return -1
}

// Set adds a field, or replaces one in its place.
func (f *Fields) Set(field Field) {
	if i := f.index(field.Name); i >= 0 {
		f.list[i] = field
		return
	}
	f.list = append(f.list, field)
}

// Remove deletes a field.
func (f *Fields) Remove(name string) {
	if i := f.index(name); i >= 0 {
		f.list = slices.Delete(f.list, i, i+1)
	}
}

// Save keeps the fields as they are for [Fields.Rollback].
func (f *Fields) Save() { f.saved = append(f.saved[:0], f.list...) }

// Rollback undoes every change since the last Save.
func (f *Fields) Rollback() { f.list = append(f.list[:0], f.saved...) }

// Append appends the fields that are not hidden, each with a TAB before it. If
// there are only hidden ones, it appends the empty field that Dovecot then
// writes.
func (f *Fields) Append(b []byte) []byte {
	if len(f.list) == 0 {
		return b
	}
	visible := false
	for _, field := range f.list {
		if field.Hidden {
			continue
		}
		visible = true
		b = field.append(append(b, '\t'))
	}
	if !visible {
		b = append(b, '\t')
	}
	return b
}

func (f Field) append(b []byte) []byte {
	b = wire.AppendEscaped(b, f.Name)
	if f.Value != "" {
		b = wire.AppendEscaped(append(b, '='), f.Value)
	}
	return b
}
