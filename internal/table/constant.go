package table

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/user"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// fixed is a table held in memory.
type fixed struct {
	values map[string]string
	order  []string
	o      Options
}

func newFixed(o *Options) *fixed { return &fixed{values: make(map[string]string), o: *o} }

// add adds a record; the first of equal keys stays. It reports whether it was new.
func (t *fixed) add(key, value string) bool {
	key = t.o.fold(key)
	if _, dup := t.values[key]; dup {
		return false
	}
	t.values[key] = value
	t.order = append(t.order, key)
	return true
}

// Lookup implements [Table].
func (t *fixed) Lookup(_ context.Context, key string) (string, bool, error) {
	value, found := t.values[t.o.fold(key)]
	return value, found, nil
}

// Walk implements [Walker].
func (t *fixed) Walk(fn func(key, value string) error) error {
	for _, key := range t.order {
		if err := fn(key, t.values[key]); err != nil {
			return err
		}
	}
	return nil
}

func openInternal(_, _ string, o *Options) (Table, error) { return newFixed(o), nil }

// openInline opens inline:{ key=value, { key = text with blanks } }.
func openInline(spec, name string, o *Options) (Table, error) {
	items, ok := braced(name)
	if !ok || len(items) == 0 {
		return nil, fmt.Errorf("bad syntax: %q; need \"inline:{name=value...}\"", spec)
	}
	t := newFixed(o)
	for _, item := range items {
		inner := strings.TrimSpace(unbrace(item))
		key, value, ok := strings.Cut(inner, "=")
		if !ok {
			return nil, fmt.Errorf("missing '=' after attribute name: %q; need \"inline:{name=value...}\"", spec)
		}
		t.add(strings.TrimSpace(key), strings.TrimSpace(value))
	}
	return t, nil
}

// braced splits "{a, {b c}}" into its items.
func braced(s string) ([]string, bool) {
	s = strings.TrimSpace(s)
	if len(s) < 2 || s[0] != '{' || s[len(s)-1] != '}' {
		return nil, false
	}
	return postfix.SplitList(s[1 : len(s)-1]), true
}

// unbrace removes one pair of braces around an item.
func unbrace(s string) string {
	if len(s) >= 2 && s[0] == '{' && s[len(s)-1] == '}' {
		return s[1 : len(s)-1]
	}
	return s
}

// static gives every key the same value.
type static string

func openStatic(_, name string, _ *Options) (Table, error) {
	if strings.HasPrefix(name, "{") && strings.HasSuffix(name, "}") {
		name = strings.TrimSpace(name[1 : len(name)-1])
	}
	return static(name), nil
}

func (s static) Lookup(context.Context, string) (string, bool, error) { return string(s), true, nil }

// environ looks up variables of the process.
type environ struct{ o Options }

func openEnviron(_, _ string, o *Options) (Table, error) { return environ{*o}, nil }

func (e environ) Lookup(_ context.Context, key string) (string, bool, error) {
	value, found := os.LookupEnv(e.o.fold(key))
	return value, found, nil
}

// fail fails each lookup, for tests of a configuration.
type fail struct{}

var errFail = errors.New("Application error")

func openFail(_, _ string, _ *Options) (Table, error) { return fail{}, nil }

func (fail) Lookup(context.Context, string) (string, bool, error) { return "", false, errFail }
func (fail) Walk(func(key, value string) error) error             { return errFail }
func (fail) pattern()                                             {}

// randmap gives one of its values at random.
type randmap []string

func openRandmap(spec, name string, _ *Options) (Table, error) {
	items, ok := braced(name)
	if !ok || len(items) == 0 {
		return nil, fmt.Errorf("bad syntax: %q; need \"randmap:{value...}\"", spec)
	}
	for i, item := range items {
		items[i] = strings.TrimSpace(unbrace(item))
	}
	return randmap(items), nil
}

func (r randmap) Lookup(context.Context, string) (string, bool, error) {
	return r[rand.IntN(len(r))], true, nil
}
func (randmap) pattern() {}

// members opens the tables of a pipemap or unionmap.
func members(spec, typ, name string, o *Options) ([]Table, error) {
	items, ok := braced(name)
	if !ok || len(items) == 0 {
		return nil, fmt.Errorf("bad syntax: %q; need \"%s:{type:name...}\"", spec, typ)
	}
	tables := make([]Table, len(items))
	for i, item := range items {
		t, err := Open(item, *o)
		if err != nil {
			return nil, err
		}
		tables[i] = t
	}
	return tables, nil
}

// likeFirst gives a table of tables the class (pattern or not) of its first member.
func likeFirst(t Table, first Table) Table {
	if _, ok := first.(Pattern); ok {
		return asPattern{t}
	}
	return t
}

type asPattern struct{ Table }

func (asPattern) pattern() {}

// pipemap looks up the result of one table in the next.
type pipemap []Table

func openPipemap(spec, name string, o *Options) (Table, error) {
	tables, err := members(spec, "pipemap", name, o)
	if err != nil {
		return nil, err
	}
	return likeFirst(pipemap(tables), tables[0]), nil
}

func (p pipemap) Lookup(ctx context.Context, key string) (string, bool, error) {
	for _, t := range p {
		value, found, err := t.Lookup(ctx, key)
		if err != nil || !found {
			return "", false, err
		}
		key = value
	}
	return key, true, nil
}

// unionmap joins the results of all tables that have one.
type unionmap []Table

func openUnionmap(spec, name string, o *Options) (Table, error) {
	tables, err := members(spec, "unionmap", name, o)
	if err != nil {
		return nil, err
	}
	return likeFirst(unionmap(tables), tables[0]), nil
}

func (u unionmap) Lookup(ctx context.Context, key string) (string, bool, error) {
	var values []string
	for _, t := range u {
		value, found, err := t.Lookup(ctx, key)
		if err != nil {
			return "", false, err
		}
		if found {
			values = append(values, value)
		}
	}
	return strings.Join(values, ","), len(values) > 0, nil
}

// unixTable is the system's user or group list.
type unixTable struct {
	find func(key string) (string, error)
	o    Options
}

func openUnix(spec, name string, o *Options) (Table, error) {
	switch name {
	case "passwd.byname":
		return unixTable{passwdEntry, *o}, nil
	case "group.byname":
		return unixTable{groupEntry, *o}, nil
	}
	return nil, fmt.Errorf("unknown table: %s", spec)
}

func (t unixTable) Lookup(_ context.Context, key string) (string, bool, error) {
	entry, err := t.find(t.o.fold(key))
	var noUser user.UnknownUserError
	var noGroup user.UnknownGroupError
	if errors.As(err, &noUser) || errors.As(err, &noGroup) {
		return "", false, nil
	}
	return entry, err == nil, err
}

func passwdEntry(name string) (string, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return "", err
	}
	return strings.Join([]string{u.Username, "x", u.Uid, u.Gid, u.Name, u.HomeDir, shell(u.Username)}, ":"), nil
}

// shell returns what package os/user leaves out. A user who is not in the file of this system,
// but in a directory, has none here.
func shell(name string) string {
	fields := systemEntry("/etc/passwd", name, 7)
	if fields == nil {
		return ""
	}
	return fields[6]
}

func groupEntry(name string) (string, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return "", err
	}
	return g.Name + ":x:" + g.Gid + ":" + groupMembers(g.Name), nil
}

// groupMembers returns the members of a group of this system, with commas between.
func groupMembers(name string) string {
	fields := systemEntry("/etc/group", name, 4)
	if fields == nil {
		return ""
	}
	return fields[3]
}

// systemEntry returns the fields of the line that begins with name, in a file like passwd(5).
func systemEntry(file, name string, count int) []string {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if fields := strings.Split(lines.Text(), ":"); len(fields) == count && fields[0] == name {
			return fields
		}
	}
	return nil
}
