package ext

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Dict is the file of a passdb or userdb with driver dict, such as dovecot-dict-auth.conf.ext.
type Dict struct {
	URI               *string `set:"uri" doc:"the dictionary"`
	DefaultPassScheme string  `set:"default_pass_scheme" default:"MD5" doc:"scheme of passwords without a {SCHEME} prefix"`
	IteratePrefix     string  `set:"iterate_prefix" doc:"prefix of the keys that are the users"`
	IterateDisable    bool    `set:"iterate_disable" doc:"users cannot be listed"`
	PassdbObjects     string  `set:"passdb_objects" doc:"names of keys whose JSON fields are those of the passdb"`
	UserdbObjects     string  `set:"userdb_objects" doc:"names of keys whose JSON fields are those of the userdb"`

	Keys         []DictKey
	PassdbFields Fields
	UserdbFields Fields

	oldPassdb, oldUserdb string // objects of settings of older versions
}

// DictKey is a section key NAME { }.
type DictKey struct {
	Name         string  `set:"name" doc:"what templates call it"`
	Key          string  `set:"key" doc:"template of the key in the dictionary"`
	Format       string  `set:"format" default:"value" doc:"value or json"`
	DefaultValue *string `set:"default_value" doc:"value of a key that is not there"`
}

// Fields are freely named settings in the order of the file.
type Fields []Field

// Field is one of them.
type Field struct{ Name, Value string }

func (f *Fields) set(key, value string) (bool, error) {
	*f = append(*f, Field{key, value})
	return true, nil
}

// LoadDict reads and checks the file of a passdb or userdb with driver dict.
func LoadDict(files Files, path string, warn func(text string)) (*Dict, error) {
	d := &Dict{}
	if err := Load(files, path, d, warn); err != nil {
		return nil, fmt.Errorf("dict %s: %w", path, err)
	}
	d.PassdbObjects, d.UserdbObjects = d.oldPassdb+d.PassdbObjects, d.oldUserdb+d.UserdbObjects
	for _, o := range []struct{ name, keys string }{{"passdb_objects", d.PassdbObjects}, {"userdb_objects", d.UserdbObjects}} {
		if err := d.checkObjects(o.name, o.keys); err != nil {
			return nil, fmt.Errorf("dict: %w", err)
		}
	}
	if d.URI == nil {
		return nil, fmt.Errorf("dict %s: Empty uri setting", path)
	}
	return d, nil
}

func (d *Dict) checkObjects(setting, names string) error {
	for name := range strings.FieldsFuncSeq(names, func(r rune) bool { return r == ' ' }) {
		i := slices.IndexFunc(d.Keys, func(k DictKey) bool { return k.Name == name })
		if i < 0 {
			return fmt.Errorf("%s refers to key %s, which doesn't exist", setting, name)
		}
		if d.Keys[i].Format == "value" {
			return fmt.Errorf("%s refers to key %s, but it's in value-only format", setting, name)
		}
	}
	return nil
}

// set takes the settings of older versions.
func (d *Dict) set(key, value string) (bool, error) {
	switch key {
	case "password_key":
		d.Keys = append(d.Keys, DictKey{Name: "passdb", Key: value, Format: "json"})
		d.oldPassdb += "passdb "
	case "user_key":
		d.Keys = append(d.Keys, DictKey{Name: "userdb", Key: value, Format: "json"})
		d.oldUserdb += "userdb "
	case "value_format":
		if value != "json" {
			return true, errors.New("Deprecated value_format must be 'json'")
		}
	default:
		return false, nil
	}
	return true, nil
}

func (d *Dict) open(in []string, kind, name string) (any, error) {
	if len(in) > 0 {
		return nil, errors.New("Nested sections not supported")
	}
	switch kind {
	case "key":
		if strings.Contains(name, ".") {
			return nil, errors.New("Key section names must not contain '.'")
		}
		k := DictKey{}
		setDefaults(&k)
		k.Name = name
		d.Keys = append(d.Keys, k)
		return &d.Keys[len(d.Keys)-1], nil
	case "passdb_fields":
		return &d.PassdbFields, nil
	case "userdb_fields":
		return &d.UserdbFields, nil
	}
	return nil, errors.New("Unknown section")
}

func (d *Dict) end(in []string) error {
	if in[0] != "key" {
		return nil
	}
	if f := d.Keys[len(d.Keys)-1].Format; f != "value" && f != "json" {
		return fmt.Errorf("Unknown key format: %s", f)
	}
	return nil
}
