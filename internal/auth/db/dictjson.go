package db

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A dictMember is a member of a JSON object, whose value is no object or array.
type dictMember struct {
	name, value string
	null        bool
}

// maxDictMembers bounds the members of an object.
const maxDictMembers = 10000

// parseDictObject returns the members of the JSON object that text is, in their order.
func parseDictObject(text string) ([]dictMember, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if token, err := d.Token(); err != nil {
		return nil, fmt.Errorf("invalid JSON object: %w", noDictEnd(err))
	} else if token != json.Delim('{') {
		return nil, errors.New("Object doesn't begin with '{'")
	}
	var members []dictMember
	for d.More() {
		if len(members) == maxDictMembers {
			return nil, fmt.Errorf("JSON object has more than %d members", maxDictMembers)
		}
		m, err := parseDictMember(d)
		if err != nil {
			return nil, err
		}
		members = append(members, m)
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("invalid JSON object: %w", noDictEnd(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("Unexpected data at the end")
	}
	return members, nil
}

func parseDictMember(d *json.Decoder) (m dictMember, err error) {
	token, err := d.Token()
	if err != nil {
		return m, fmt.Errorf("invalid JSON object: %w", noDictEnd(err))
	}
	if m.name, _ = token.(string); m.name == "" {
		return m, errors.New("Empty object key")
	}
	if token, err = d.Token(); err != nil {
		return m, fmt.Errorf("invalid JSON object: %w", noDictEnd(err))
	}
	switch value := token.(type) {
	case nil:
		m.null = true
	case string:
		m.value = value
	case json.Number:
		m.value = value.String()
	case bool:
		m.value = strconv.FormatBool(value)
	case json.Delim:
		if value == '{' {
			return m, errors.New("Nested objects not supported")
		}
		return m, errors.New("Object expected")
	}
	if strings.ContainsRune(m.value, 0) {
		return m, fmt.Errorf("value of %s holds NUL", m.name)
	}
	return m, nil
}

func noDictEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
