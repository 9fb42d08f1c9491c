package client

import "github.com/dovetail-mail/dovetail/internal/auth/wire"

// A Field is one key=value of a reply. A field without value has an empty one.
type Field struct {
	Name  string
	Value string
}

// Fields are those of a reply, in its order.
type Fields []Field

// Get returns the value of the first field of that name.
func (f Fields) Get(name string) (string, bool) {
	for i := range f {
		if f[i].Name == name {
			return f[i].Value, true
		}
	}
	return "", false
}

// Has reports whether there is a field of that name.
func (f Fields) Has(name string) bool {
	_, ok := f.Get(name)
	return ok
}

// parseFields splits what follows the request id in a reply. Empty fields,
// which Dovecot writes for hidden ones, are left out.
func parseFields(text string) Fields {
	n := 0
	for i := range len(text) {
		if text[i] == '=' || text[i] == '\t' {
			n++
		}
	}
	fields := make(Fields, 0, min(n+1, 32))
	for text != "" {
		var field string
		field, text, _ = wire.CutString(text)
		if field == "" {
			continue
		}
		name, value := cutField(field)
		fields = append(fields, Field{Name: wire.Unescape(name), Value: wire.Unescape(value)})
	}
	return fields
}

func cutField(field string) (name, value string) {
	for i := range len(field) {
		if field[i] == '=' {
			return field[:i], field[i+1:]
		}
	}
	return field, ""
}
