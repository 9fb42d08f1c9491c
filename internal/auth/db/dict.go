package db

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot/ext"
	"github.com/dovetail-mail/dovetail/internal/dict"
)

// dictDB is dict, as a passdb and as a userdb: fields are made of the values of keys in
// a dictionary, as a file such as dovecot-dict-auth.conf.ext says.
type dictDB struct {
	dict dict.Dict
	set  *ext.Dict
	env  *Env
}

// dicts are the open dictionaries by the path of their file.
type dicts struct {
	mu   sync.Mutex
	open map[string]*dictDB
}

func (d *dicts) get(env *Env, path string) (*dictDB, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if db := d.open[path]; db != nil {
		return db, nil
	}
	if path == "" {
		return nil, errors.New("dict: Configuration file path not given")
	}
	set, err := ext.LoadDict(env.ExtFiles, path, env.warn)
	if err != nil {
		return nil, err
	}
	db := &dictDB{set: set, env: env}
	dictEnv := &dict.Env{BaseDir: env.Settings.BaseDir, Named: env.Settings.Dicts, Files: env.ExtFiles, Warn: env.warn}
	if db.dict, err = dict.Open(dictEnv, *set.URI); err != nil {
		return nil, fmt.Errorf("dict %s: Failed to init dict: %w", path, err)
	}
	if d.open == nil {
		d.open = make(map[string]*dictDB)
	}
	d.open[path] = db
	return db, nil
}

func (d *dicts) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, db := range d.open {
		db.dict.Close()
	}
	d.open = nil
}

func openDictPassdb(env *Env, args string) (Passdb, error) { return env.dicts.get(env, args) }
func openDictUserdb(env *Env, args string) (Userdb, error) { return env.dicts.get(env, args) }

// Blocking implements [Passdb] and [Userdb].
func (d *dictDB) Blocking() bool { return true }

// Fetch implements [Fetcher].
func (d *dictDB) Fetch(ctx context.Context, r *Request) (Secret, error) {
	fields, err := d.fields(ctx, r, d.set.PassdbFields, d.set.PassdbObjects, "passdb")
	if err != nil {
		return Secret{}, err
	}
	for _, f := range fields {
		r.SetField(f)
	}
	stored, ok := r.Fields.Get("password")
	if !ok && !r.NoPassword {
		r.Infof("No password returned (and no nopassword)")
		return Secret{}, Told(ErrMismatch)
	}
	return Secret{Stored: stored, DefaultScheme: d.set.DefaultPassScheme}, nil
}

// LookupUser implements [Userdb].
func (d *dictDB) LookupUser(ctx context.Context, r *Request) error {
	fields, err := d.fields(ctx, r, d.set.UserdbFields, d.set.UserdbObjects, "userdb")
	if err != nil {
		return err
	}
	for _, f := range fields {
		r.SetUserdbField(f)
	}
	return nil
}

// PassdbCacheKey implements [CachedPassdb].
func (d *dictDB) PassdbCacheKey() (string, bool) {
	return d.cacheKey(d.set.PassdbFields, d.set.PassdbObjects), true
}

// UserdbCacheKey implements [CachedUserdb].
func (d *dictDB) UserdbCacheKey() (string, bool) {
	return d.cacheKey(d.set.UserdbFields, d.set.UserdbObjects), true
}

var (
	_ CachedPassdb = (*dictDB)(nil)
	_ CachedUserdb = (*dictDB)(nil)
)

// cacheKey is the variables of the templates, and of the keys that they and the objects
// refer to.
func (d *dictDB) cacheKey(templates ext.Fields, objects string) string {
	keys := make([]dictKey, len(d.set.Keys))
	for i := range keys {
		keys[i].DictKey = &d.set.Keys[i]
	}
	text := ""
	for _, f := range templates {
		markUsed(keys, f.Value)
		text += f.Value + "\t"
	}
	for i := range keys {
		if keys[i].used || slices.Contains(strings.Fields(objects), keys[i].Name) {
			text += keys[i].Key + "\t"
		}
	}
	return CacheKey(text)
}

// List implements [Lister].
func (d *dictDB) List(ctx context.Context, fn func(string) bool) error {
	if d.set.IteratePrefix == "" {
		if d.set.IterateDisable {
			return nil
		}
		return errors.New("dict(): iterate: iterate_prefix not set")
	}
	r := &Request{}
	prefix, err := r.Expand(d.set.IteratePrefix)
	if err != nil {
		return fmt.Errorf("dict(): Failed to expand iterate_prefix=%s: %w", d.set.IteratePrefix, err)
	}
	q := dict.Query{Prefix: dict.Shared + prefix, NoValue: true}
	err = dict.Iterate(ctx, d.dict, dict.User{}, q, func(key, _ string) bool {
		return fn(strings.TrimPrefix(key, q.Prefix))
	})
	if err != nil {
		return fmt.Errorf("dict(): dict_iterate(%s) failed: %w", q.Prefix, err)
	}
	return nil
}

// A dictKey is one section key { } in a lookup.
type dictKey struct {
	*ext.DictKey
	path  string // of the key in the dictionary
	used  bool
	value string
}

// fields looks up what the templates and objects of a passdb or userdb need, and
// returns the fields that they make.
func (d *dictDB) fields(ctx context.Context, r *Request, templates ext.Fields, objects, kind string) ([]Field, error) {
	object, _, _ := strings.Cut(strings.TrimLeft(objects, " "), " ") // Dovecot does not get to a second one
	if len(templates) == 0 && object == "" {
		return nil, fmt.Errorf("No %s_objects or %s_fields specified", kind, kind)
	}
	keys, err := d.keys(r)
	if err != nil {
		return nil, err
	}
	for _, f := range templates {
		markUsed(keys, f.Value)
	}
	for name := range strings.FieldsSeq(objects) {
		findKey(keys, name).used = true
	}
	if err := d.lookUp(ctx, r, keys); err != nil {
		return nil, err
	}
	fields := make([]Field, 0, len(templates))
	for _, f := range templates {
		value, err := expandDict(r, keys, f.Value)
		if err != nil {
			return nil, fmt.Errorf("Failed to expand %s=%s: %w", f.Name, f.Value, err)
		}
		fields = append(fields, Field{Name: f.Name, Value: value})
	}
	if object == "" {
		return fields, nil
	}
	members, err := parseDictObject(findKey(keys, object).value)
	for _, m := range members {
		if !m.null {
			fields = append(fields, Field{Name: m.name, Value: m.value})
		}
	}
	return fields, err
}

// keys returns the keys with their templates expanded.
func (d *dictDB) keys(r *Request) ([]dictKey, error) {
	keys := make([]dictKey, len(d.set.Keys))
	for i := range keys {
		k := &d.set.Keys[i]
		name, err := r.Expand(k.Key)
		if err != nil {
			return nil, fmt.Errorf("Failed to expand key %s: %w", k.Key, err)
		}
		keys[i] = dictKey{DictKey: k, path: dict.Shared + name}
	}
	return keys, nil
}

func findKey(keys []dictKey, name string) *dictKey {
	for i := range keys {
		if keys[i].Name == name {
			return &keys[i]
		}
	}
	return nil
}

// markUsed finds the %{dict:NAME} and %{dict:NAME.MEMBER} in a template.
func markUsed(keys []dictKey, template string) {
	for rest := template; rest != ""; {
		_, after, ok := strings.Cut(rest, "%")
		if !ok {
			return
		}
		n := dovecot.CutVar("%" + after)
		variable := ("%" + after)[:n]
		rest = after[n-1:]
		if _, name, ok := strings.Cut(variable, "dict:"); ok {
			name = name[:strings.IndexAny(name+"}", ".:}")]
			if k := findKey(keys, name); k != nil {
				k.used = true
			}
		}
	}
}

// lookUp looks the used keys up, first those that the user must have.
func (d *dictDB) lookUp(ctx context.Context, r *Request, keys []dictKey) error {
	for _, optional := range [...]bool{false, true} {
		for i := range keys {
			k := &keys[i]
			if !k.used || optional != (k.DefaultValue != nil) {
				continue
			}
			var err error
			k.value, err = dict.Lookup(ctx, d.dict, dict.User{Name: r.User}, k.path)
			switch {
			case errors.Is(err, dict.ErrNotFound) && optional:
				k.value = *k.DefaultValue
			case errors.Is(err, dict.ErrNotFound):
				return ErrUnknownUser
			case err != nil:
				return fmt.Errorf("Failed to lookup key %s: %w", k.path, err)
			}
		}
	}
	return nil
}

// expandDict expands a template whose variables may be values of keys.
func expandDict(r *Request, keys []dictKey, template string) (string, error) {
	var failed error
	text, err := r.expandWith(template, expansion{lookup: func(name, arg string) (string, bool) {
		if name != "dict" {
			return "", false
		}
		value, err := dictValue(keys, arg)
		failed = errors.Join(failed, err)
		return value, true
	}})
	return text, errors.Join(err, failed)
}

// dictValue is %{dict:NAME}, or %{dict:NAME.MEMBER} of a key with format json.
func dictValue(keys []dictKey, arg string) (string, error) {
	name, member, hasMember := strings.Cut(arg, ".")
	k := findKey(keys, name)
	switch {
	case k == nil || hasMember != (k.Format == "json"):
		return "", nil
	case !hasMember:
		return k.value, nil
	}
	members, err := parseDictObject(k.value)
	for _, m := range members {
		if m.name == member {
			return m.value, nil
		}
	}
	return "", err
}
