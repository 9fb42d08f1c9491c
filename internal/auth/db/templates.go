package db

import (
	"fmt"
	"strings"
)

// Templates are fields whose values may have %variables: default_fields,
// override_fields, and the args of static databases.
type Templates []Field

// ParseTemplates reads blank separated key=template items.
func ParseTemplates(text string) Templates {
	var t Templates
	for item := range strings.FieldsSeq(text) {
		t = append(t, parseField(item))
	}
	return t
}

// take removes a template from the list and returns its value.
func (t *Templates) take(name string) (string, bool) {
	for i, f := range *t {
		if f.Name == name {
			*t = append((*t)[:i:i], (*t)[i+1:]...)
			return f.Value, true
		}
	}
	return "", false
}

// SetFields adds the fields to those of the passdb.
func (t Templates) SetFields(r *Request) error { return t.set(r, r.SetField) }

// SetUserdbFields adds the fields to those of the userdb.
func (t Templates) SetUserdbFields(r *Request) error { return t.set(r, r.SetUserdbField) }

func (t Templates) set(r *Request, set func(Field)) error {
	for _, f := range t {
		var err error
		if f.Name, err = r.Expand(f.Name); err == nil {
			f.Value, err = r.Expand(f.Value)
		}
		if err != nil {
			return fmt.Errorf("Failed to expand %s=%s: %w", f.Name, f.Value, err)
		}
		set(f)
	}
	return nil
}
