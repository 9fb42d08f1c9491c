package db

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
)

// An answer is the fields that a database gives while somebody listens, as it gives
// them: before those with a meaning of their own have had their effect. Given again,
// they have the same effect.
type answer struct {
	listening bool
	fields    []Field
}

// Listen begins to keep the fields that a database gives, without those of an earlier
// one.
func (r *Request) Listen() { r.answer = answer{listening: true} }

// Heard ends what Listen began and returns the fields.
func (r *Request) Heard() []Field {
	fields := r.answer.fields
	r.answer = answer{}
	return fields
}

func (r *Request) hear(f Field) {
	if r.answer.listening {
		r.answer.fields = append(r.answer.fields, f)
	}
}

// IsPassword reports whether a field of a passdb is the stored password.
func (f Field) IsPassword() bool {
	name, _, _ := strings.Cut(f.Name, ":")
	return name == "password" || name == "password_noscheme"
}

// AppendFields appends fields as TAB separated text, without a TAB before the first.
func AppendFields(b []byte, fields []Field) []byte {
	for i, f := range fields {
		if i > 0 {
			b = append(b, '\t')
		}
		b = f.append(b)
	}
	return b
}

// ParseFields reads what AppendFields wrote.
func ParseFields(text string) []Field {
	var fields []Field
	for more := text != ""; more; {
		var item string
		item, text, more = wire.CutString(text)
		name, value, _ := strings.Cut(item, "=")
		fields = append(fields, Field{Name: wire.Unescape(name), Value: wire.Unescape(value)})
	}
	return fields
}
