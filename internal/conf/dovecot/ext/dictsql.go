package ext

import (
	"errors"
	"fmt"
	"strings"
)

// DictSQL is the file of a dictionary in an SQL database, such as dovecot-dict-sql.conf.ext.
type DictSQL struct {
	Connect *string `set:"connect" doc:"where the database is, in the driver's notation"`

	Maps []SQLMap
}

// SQLMap is a section map { }: which keys of the dictionary are in a table, and where.
type SQLMap struct {
	Pattern       *string `set:"pattern" doc:"pattern of keys, with $variables"`
	Table         *string `set:"table" doc:"table or join"`
	UsernameField string  `set:"username_field" default:"'username_field not set'" doc:"column with the user of private keys"`
	ValueField    *string `set:"value_field" doc:"columns with values, separated by commas"`
	ValueType     *string `set:"value_type" doc:"their types: string, hexblob, int, uint"`
	ValueHexblob  bool    `set:"value_hexblob" doc:"the values are hexadecimal blobs"`

	Keys   string     // the pattern with a plain $ for each variable
	Fields []SQLField // in the order of the variables in it
	Values []SQLField // what value_field names

	fields    sqlFields // as the section fields { } has them
	hasFields bool
}

// SQLField is a column.
type SQLField struct {
	Name     string
	Type     string // string, hexblob, int or uint
	Variable string // of the pattern; empty for values
}

// LoadDictSQL reads and checks the file of a dictionary in an SQL database.
func LoadDictSQL(files Files, path string, warn func(text string)) (*DictSQL, error) {
	d := &DictSQL{}
	err := Load(files, path, d, warn)
	switch {
	case err != nil:
		return nil, err
	case d.Connect == nil:
		return nil, fmt.Errorf("Error in configuration file %s: Missing connect setting", path)
	}
	// A map that never ends is none.
	if n := len(d.Maps); n > 0 && d.last().Values == nil {
		d.Maps = d.Maps[:n-1]
	}
	return d, nil
}

func (d *DictSQL) last() *SQLMap { return &d.Maps[len(d.Maps)-1] }

func (d *DictSQL) open(in []string, kind, _ string) (any, error) {
	return openMap(in, kind, func() *SQLMap {
		d.Maps = append(d.Maps, SQLMap{})
		return d.last()
	}, func() any { return &d.last().fields })
}

func (d *DictSQL) end(in []string) error {
	if len(in) == 2 {
		return d.last().bind()
	}
	return d.last().finish()
}

// sqlFields are column = $variable settings.
type sqlFields []SQLField

func (f *sqlFields) set(key, value string) (bool, error) {
	variable, ok := strings.CutPrefix(value, "$")
	if !ok {
		return true, fmt.Errorf("Value is missing '$' for field: %s", key)
	}
	field := SQLField{Name: key, Type: "string", Variable: variable}
	for _, t := range []string{"hexblob", "int", "uint"} {
		if typed, ok := strings.CutPrefix(variable, "{"+t+":"); ok && strings.HasSuffix(typed, "}") {
			field.Type, field.Variable = t, strings.TrimSuffix(typed, "}")
		}
	}
	*f = append(*f, field)
	return true, nil
}

// bind puts the fields into the order of the pattern's variables.
func (m *SQLMap) bind() error {
	if m.Pattern == nil {
		return errNoPattern // Dovecot crashes
	}
	if m.hasFields {
		return errors.New("Section fields is there twice") // Dovecot mistakes the second for variables that are missing
	}
	variables := make([]string, len(m.fields))
	for i, f := range m.fields {
		variables[i] = f.Variable
	}
	order, rest, err := bind(*m.Pattern, variables, "SQL field")
	if err != nil {
		return err
	}
	for _, i := range order {
		m.Fields = append(m.Fields, m.fields[i])
	}
	m.Keys, m.hasFields = rest, true
	return nil
}

func (m *SQLMap) finish() error {
	switch {
	case m.Pattern == nil:
		return errNoPattern
	case m.Table == nil:
		return errors.New("Missing setting: table")
	case m.ValueField == nil:
		return errors.New("Missing setting: value_field")
	}
	if err := m.values(); err != nil {
		return err
	}
	if m.hasFields {
		return nil
	}
	if strings.Contains(*m.Pattern, "$") {
		return errors.New("Missing fields for pattern variables")
	}
	m.Keys = *m.Pattern
	return nil
}

func (m *SQLMap) values() error {
	comma := func(r rune) bool { return r == ',' }
	names := strings.FieldsFunc(*m.ValueField, comma)
	types := make([]string, len(names))
	for i := range types {
		types[i] = "string"
		if m.ValueHexblob {
			types[i] = "hexblob"
		}
	}
	if m.ValueType != nil {
		if types = strings.FieldsFunc(*m.ValueType, comma); len(types) != len(names) {
			return errors.New("Number of fields in value_fields doesn't match value_type")
		}
	}
	m.Values = make([]SQLField, len(names))
	for i, name := range names {
		switch types[i] {
		case "string", "hexblob", "int", "uint":
		default:
			return errors.New("Invalid value in value_type")
		}
		m.Values[i] = SQLField{Name: name, Type: types[i]}
	}
	return nil
}
