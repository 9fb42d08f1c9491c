package password

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
)

// ErrMismatch is returned when the password is not the stored one.
var ErrMismatch = errors.New("Password mismatch")

// An UnknownSchemeError is returned for a scheme that does not exist here. Its
// text is Dovecot's.
type UnknownSchemeError string

func (e UnknownSchemeError) Error() string { return "Unknown scheme " + string(e) }

// An InvalidError is returned for stored data that is not what its scheme says.
type InvalidError struct {
	Scheme string // empty: what is wrong showed only when a password was compared
	Reason string
}

func (e *InvalidError) Error() string {
	switch {
	case e.Scheme == "":
		return "Invalid password in passdb: " + e.Reason
	case e.Reason == "":
		return "Invalid password format for scheme " + e.Scheme
	}
	return fmt.Sprintf("Invalid password format for scheme %s: %s", e.Scheme, e.Reason)
}

// A scheme is one row of the table of schemes.
type scheme struct {
	name     string
	encoding encoding

	// verify checks plain against the decoded data. It returns nil, ErrMismatch,
	// or an error about the data.
	verify func(plain, user string, data []byte) error

	// generate returns data, not encoded.
	generate func(plain string, opt Options) ([]byte, error)

	// expensive schemes are made to take long.
	expensive func(data string) bool
}

// Split takes a stored value apart. defaultScheme is that of a value without
// one of its own.
func Split(stored, defaultScheme string) (scheme, data string) {
	if strings.HasPrefix(stored, "$1$") {
		return "MD5-CRYPT", stored
	}
	if strings.HasPrefix(stored, "{") {
		if name, data, ok := strings.Cut(stored[1:], "}"); ok {
			return name, data
		}
	}
	return defaultScheme, stored
}

// Verify checks the password plain of user against data stored in the scheme
// of that name.
func Verify(name, data, plain, user string) error {
	s, raw, err := decode(name, data)
	if err != nil {
		return err
	}
	return s.verify(plain, user, raw)
}

// Expensive reports whether Verify would take long, a millisecond or more, so
// that it should not be done where others wait.
func Expensive(name, data string) bool {
	s, _, err := find(name)
	return err == nil && s.expensive != nil && s.expensive(data)
}

// Options for [Generate].
type Options struct {
	User   string // DIGEST-MD5 needs it
	Rounds int    // cost, for schemes that have one; 0: Dovecot's default
}

// Generate returns data for storing the password plain, without "{NAME}".
func Generate(name, plain string, opt Options) (string, error) {
	s, enc, err := find(name)
	if err != nil {
		return "", err
	}
	if s.generate == nil {
		return "", fmt.Errorf("scheme %s can be verified, but not generated", s.name)
	}
	raw, err := s.generate(plain, opt)
	if err != nil {
		return "", err
	}
	return enc.encode(raw), nil
}

// Schemes returns the names of all schemes.
func Schemes() []string {
	names := make([]string, len(schemes))
	for i := range schemes {
		names[i] = schemes[i].name
	}
	return names
}

// find returns the scheme of a name, and the encoding that the name asks for.
func find(name string) (*scheme, encoding, error) {
	base, suffix, hasSuffix := strings.Cut(name, ".")
	for i := range schemes {
		s := &schemes[i]
		if !strings.EqualFold(s.name, base) {
			continue
		}
		if !hasSuffix {
			return s, s.encoding, nil
		}
		for _, e := range [...]struct {
			name string
			enc  encoding
		}{{"B64", encodingBase64}, {"BASE64", encodingBase64}, {"HEX", encodingHex}} {
			if strings.EqualFold(e.name, suffix) {
				return s, e.enc, nil
			}
		}
	}
	return nil, 0, UnknownSchemeError(name)
}

// equal compares without telling by its duration where the two differ.
func equal(a, b []byte) error {
	if subtle.ConstantTimeCompare(a, b) != 1 {
		return ErrMismatch
	}
	return nil
}

// Known reports whether there is a scheme of that name.
func Known(name string) bool {
	_, _, err := find(name)
	return err == nil
}

// IsPlain reports whether the scheme stores the password itself.
func IsPlain(name string) bool {
	return strings.EqualFold(name, "PLAIN") || strings.EqualFold(name, "CLEAR") || strings.EqualFold(name, "CLEARTEXT")
}
