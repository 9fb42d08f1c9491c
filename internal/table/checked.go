package table

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// checked puts around a table what options ask for all types: that keys and values are
// UTF-8, and that values stand for the content of files.
func checked(t Table, spec string, o *Options) Table {
	if !o.UTF8 && !o.Files {
		return t
	}
	c := &checkedTable{inner: t, spec: spec, o: *o}
	if _, pattern := t.(Pattern); pattern {
		return checkedPattern{c}
	}
	return c
}

type checkedTable struct {
	inner Table
	spec  string
	o     Options
}

type checkedPattern struct{ *checkedTable }

func (checkedPattern) pattern() {}

const malformed = "malformed UTF-8 or invalid codepoint"

// Lookup implements [Table].
func (c *checkedTable) Lookup(ctx context.Context, key string) (string, bool, error) {
	if c.o.UTF8 && !utf8.ValidString(key) {
		c.o.warnf("%s: non-UTF-8 key \"%s\": %s", Name(c.spec), Printable(key), malformed)
		return "", false, nil
	}
	value, found, err := c.inner.Lookup(ctx, key)
	if err != nil || !found {
		return "", false, err
	}
	if c.o.UTF8 && !utf8.ValidString(value) {
		c.o.warnf("%s: key \"%s\": non-UTF-8 value \"%s\": %s", Name(c.spec), Printable(key), Printable(value), malformed)
		return "", false, fmt.Errorf("%w: value of %q is not UTF-8", ErrContent, key)
	}
	if c.o.Files {
		if value, err = c.content(key, value); err != nil {
			return "", false, err
		}
	}
	return value, true, nil
}

// content is that of the files of a value.
func (c *checkedTable) content(key, value string) (string, error) {
	content, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		c.o.warnf("table %s: key %s: malformed BASE64 value: %.100s", Name(c.spec), key, value)
		return "", fmt.Errorf("%w: value of %q is not base64", ErrContent, key)
	}
	return string(content), nil
}

// Inner returns the table that was opened, without what options have put around it.
func Inner(t Table) Table {
	if c := checks(t); c != nil {
		return c.inner
	}
	return t
}

// checks is what options have put around a table, or nil.
func checks(t Table) *checkedTable {
	switch c := t.(type) {
	case *checkedTable:
		return c
	case checkedPattern:
		return c.checkedTable
	}
	return nil
}

// Walk calls fn for each record of a table, in the table's order; [ErrNoSequence] if
// tables of its type cannot be listed.
func Walk(t Table, fn func(key, value string) error) error {
	w, ok := Inner(t).(Walker)
	if !ok {
		return ErrNoSequence
	}
	c := checks(t)
	if c == nil || !c.o.Files {
		return w.Walk(fn)
	}
	return w.Walk(func(key, value string) error {
		value, err := c.content(key, value)
		if err != nil {
			return err
		}
		return fn(key, value)
	})
}

// Close closes what a table holds open.
func Close(t Table) {
	if c, ok := Inner(t).(Closer); ok {
		c.Close() //nolint:errcheck // it was only read
	}
}

// Name is a table's name in messages: for some types that is the database file's.
func Name(spec string) string {
	typ, _, _ := strings.Cut(spec, ":")
	switch typ {
	case "hash", "btree", "cdb":
		return spec + indexFormats[typ].suffix
	}
	return spec
}

// CanDelete tells with Postfix's text why records of a table that postmap does not make
// cannot be removed.
func CanDelete(spec string) error {
	typ, name, ok := strings.Cut(spec, ":")
	switch {
	case !ok || typ == "" || name == "" || typ == "memcache" || typ == "internal" || !slices.Contains(Types(), typ):
		return nil // opening it tells
	case typ == "environ" || typ == "static":
		return fmt.Errorf("table %s: delete operation is not supported", spec)
	case typ == "fail":
		return fmt.Errorf("table %s: delete error: %w", spec, errFail)
	}
	return fmt.Errorf("%s map requires O_RDONLY access mode", spec)
}
