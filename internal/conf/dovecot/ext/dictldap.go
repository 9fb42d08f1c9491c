package ext

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// DictLDAP is the file of a dictionary in an LDAP directory.
type DictLDAP struct {
	URI      *string `set:"uri" doc:"the server"`
	BindDN   string  `set:"bind_dn" doc:"who searches; empty for anonymous"`
	Password string  `set:"password" doc:"password of bind_dn"`

	Timeout     uint32 // timeout, in seconds
	MaxIdleTime uint32 // max_idle_time, in seconds
	Debug       uint32 // debug, the level
	StartTLS    bool   // tls is yes or try
	RequireTLS  bool   // tls is yes

	Maps []LDAPMap
}

// LDAPMap is a section map { }: which keys of the dictionary are entries, and where.
type LDAPMap struct {
	Pattern           *string `set:"pattern" doc:"pattern of keys, with $variables"`
	Filter            string  `set:"filter" doc:"filter of a lookup"`
	FilterIter        string  `set:"filter_iter" doc:"filter when keys are listed"`
	UsernameAttribute string  `set:"username_attribute" default:"cn" doc:"attribute with the user of private keys"`
	ValueAttribute    *string `set:"value_attribute" doc:"attribute with the value"`
	BaseDN            string  `set:"base_dn" doc:"template of the DN to search below"`
	Scope             string  `set:"scope" default:"subtree" doc:"one, base or subtree"`

	Keys       string // the pattern with a plain $ for each variable
	Attributes Fields // of the variables in it, in their order: Value is the variable

	fields    ldapFields
	hasFields bool
	ended     bool
}

// LoadDictLDAP reads and checks the file of a dictionary in an LDAP directory.
func LoadDictLDAP(files Files, path string, warn func(text string)) (*DictLDAP, error) {
	d := &DictLDAP{Timeout: 30, StartTLS: true}
	err := Load(files, path, d, warn)
	switch {
	case err != nil:
		return nil, err
	case d.URI == nil:
		return nil, fmt.Errorf("Error in configuration file %s: Missing ldap uri", path)
	}
	// A map that never ends is none.
	if n := len(d.Maps); n > 0 && !d.last().ended {
		d.Maps = d.Maps[:n-1]
	}
	return d, nil
}

func (d *DictLDAP) set(key, value string) (bool, error) {
	switch key {
	case "timeout":
		return true, setUint(&d.Timeout, value, "Invalid timeout value")
	case "max_idle_time":
		return true, setUint(&d.MaxIdleTime, value, "Invalid max_idle_time value")
	case "debug":
		return true, setUint(&d.Debug, value, "invalid debug value")
	case "tls":
		if !oneOf(value, "yes", "no", "try") {
			return true, errors.New("tls must be yes, try or no")
		}
		d.StartTLS, d.RequireTLS = !oneOf(value, "no"), oneOf(value, "yes")
		return true, nil
	}
	return false, nil
}

func setUint(n *uint32, text, wrong string) error {
	v, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return errors.New(wrong)
	}
	*n = uint32(v)
	return nil
}

func (d *DictLDAP) last() *LDAPMap { return &d.Maps[len(d.Maps)-1] }

func (d *DictLDAP) open(in []string, kind, _ string) (any, error) {
	return openMap(in, kind, func() *LDAPMap {
		d.Maps = append(d.Maps, LDAPMap{})
		return d.last()
	}, func() any { return &d.last().fields })
}

func (d *DictLDAP) end(in []string) error {
	if len(in) == 2 {
		return d.last().bind()
	}
	return d.last().finish()
}

// ldapFields are attribute = $variable settings.
type ldapFields Fields

func (f *ldapFields) set(key, value string) (bool, error) {
	variable, ok := strings.CutPrefix(value, "$")
	if !ok {
		return true, fmt.Errorf("Value is missing '$' for attribute: %s", key)
	}
	*f = append(*f, Field{key, variable})
	return true, nil
}

// bind puts the attributes into the order of the pattern's variables.
func (m *LDAPMap) bind() error {
	if m.Pattern == nil {
		return errNoPattern // Dovecot crashes
	}
	if m.hasFields {
		return errors.New("Section fields is there twice") // Dovecot mistakes the second for variables that are missing
	}
	variables := make([]string, len(m.fields))
	for i, f := range m.fields {
		variables[i] = f.Value
	}
	order, rest, err := bind(*m.Pattern, variables, "LDAP attribute")
	if err != nil {
		return err
	}
	for _, i := range order {
		m.Attributes = append(m.Attributes, m.fields[i])
	}
	m.Keys, m.hasFields = rest, true
	return nil
}

func (m *LDAPMap) finish() error {
	switch {
	case m.Pattern == nil:
		return errNoPattern
	case m.Filter != "" && m.Filter[0] != '(':
		return errors.New("Filter must start with (")
	case m.Filter != "" && m.Filter[len(m.Filter)-1] != ')':
		return errors.New("Filter must end with )")
	case m.ValueAttribute == nil:
		return errors.New("Missing setting: value_attribute")
	case !oneOf(m.Scope, "one", "base", "subtree"):
		return errors.New("Scope must be one, base or subtree")
	case !m.hasFields && strings.Contains(*m.Pattern, "$"):
		return errors.New("Missing attributes for pattern variables")
	}
	if !m.hasFields {
		m.Keys = *m.Pattern
	}
	m.ended = true
	return nil
}
