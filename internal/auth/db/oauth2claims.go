package db

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A claim is a name of a JSON object and its value: text, the members of an object,
// or neither for an array. Nothing is there for null.
type claim struct {
	name   string
	text   string
	object []claim
	kind   claimKind
}

type claimKind uint8

const (
	claimNull claimKind = iota
	claimText           // string, number, true, false
	claimObject
	claimArray
)

// maxClaimDepth bounds how deep objects may be in others.
const maxClaimDepth = 32

var (
	errNoObject    = errors.New("Object doesn't begin with '{'")
	errObjectDepth = errors.New("Too many levels of objects")
	errObjectEnd   = errors.New("Missing '}'")
)

// parseClaims reads a JSON object. The claims stay in their order, duplicates too.
func parseClaims(data []byte) ([]claim, error) {
	data = bytes.TrimLeft(data, " \t\r\n")
	if len(data) == 0 || data[0] != '{' {
		return nil, errNoObject
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	claims, err := parseObject(d, 1)
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errObjectEnd
	case err != nil:
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("Unexpected data at the end")
	}
	return claims, nil
}

// parseObject reads the claims of an object that has begun.
func parseObject(d *json.Decoder, depth int) ([]claim, error) {
	if depth > maxClaimDepth {
		return nil, errObjectDepth
	}
	var claims []claim
	for {
		token, err := d.Token()
		if err != nil || token == json.Delim('}') {
			return claims, err
		}
		name, _ := token.(string)
		m := claim{name: name}
		if err := m.parse(d, depth); err != nil {
			return nil, err
		}
		claims = append(claims, m)
	}
}

// parse reads the value of a member.
func (m *claim) parse(d *json.Decoder, depth int) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	m.kind = claimText
	switch v := token.(type) {
	case nil:
		m.kind = claimNull
	case string:
		m.text = v
	case json.Delim:
		if v == '{' {
			m.kind = claimObject
			m.object, err = parseObject(d, depth+1)
			return err
		}
		m.kind = claimArray
		m.text, err = parseArray(d, depth+1)
		return err
	default:
		m.text = fmt.Sprint(v)
	}
	return nil
}

// parseArray reads the rest of an array. What of it is text is returned, with TABs between.
func parseArray(d *json.Decoder, depth int) (string, error) {
	if depth > maxClaimDepth {
		return "", errObjectDepth
	}
	var items []string
	for d.More() {
		var m claim
		if err := m.parse(d, depth); err != nil {
			return "", err
		}
		if m.kind == claimText && !strings.Contains(m.text, "\t") {
			items = append(items, m.text)
		}
	}
	_, err := d.Token()
	return strings.Join(items, "\t"), err
}

// findClaim returns the first claim of a name that is text.
func findClaim(claims []claim, name string) (string, bool) {
	for _, m := range claims {
		if m.name == name {
			return m.text, m.kind == claimText
		}
	}
	return "", false
}

// isField reports whether a name can be that of a field.
func isField(name string) bool { return name != "" && !strings.ContainsAny(name, "\t\n\x00") }

// flatten returns the claims of an object and of the objects in it, each name once. What
// is deeper inside does not take the place of what is not: who may write something into
// a token must not become its owner by that.
func flatten(claims []claim) []Field {
	var fields []Field
	seen := make(map[string]int) // level+1 at which a name was found
	level := 0
	for len(claims) > 0 {
		level++
		var deeper []claim
		for _, m := range claims {
			switch {
			case m.kind == claimObject:
				deeper = append(deeper, m.object...)
				continue
			case !isField(m.name) || (seen[m.name] != 0 && seen[m.name] != level):
				continue
			}
			text := m.text
			if m.kind == claimArray {
				text = ""
			}
			seen[m.name] = level
			fields = append(fields, Field{Name: m.name, Value: text})
		}
		claims = deeper
	}
	return fields
}
