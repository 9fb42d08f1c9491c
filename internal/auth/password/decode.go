package password

import "fmt"

// rawSizes are the bytes that schemes store, where that is always the same number.
var rawSizes = map[string]int{
	"SHA": 20, "SHA1": 20, "SHA256": 32, "SHA512": 64, "LDAP-MD5": 16, "PLAIN-MD5": 16, "PLAIN-MD4": 16,
	"DIGEST-MD5": 16, "CRAM-MD5": 32, "HMAC-MD5": 32,
}

// A DecodeError is returned for stored data that is not written as its scheme says. Its
// text is Dovecot's.
type DecodeError struct {
	Scheme string // as stored
	Reason string
}

func (e *DecodeError) Error() string {
	return fmt.Sprintf("Password data is not valid for scheme %s: %s", e.Scheme, e.Reason)
}

// Check reports whether data can be what a scheme stores: an UnknownSchemeError or a
// DecodeError, or nil. Verify may still find that it is not.
func Check(name, data string) error {
	_, _, err := decode(name, data)
	return err
}

func decode(name, data string) (*scheme, []byte, error) {
	s, enc, err := find(name)
	if err != nil {
		return nil, nil, err
	}
	raw, err := enc.decode(data)
	if err != nil {
		what := "base64"
		if enc == encodingHex {
			what = "HEX"
		}
		return nil, nil, &DecodeError{name, "Input isn't valid " + what + " encoded data"}
	}
	if size := rawSizes[s.name]; size > 0 && enc != encodingNone {
		if n := len(unhex(raw, size)); n != size {
			return nil, nil, &DecodeError{name, fmt.Sprintf("Input length isn't valid (%d instead of %d)", n, size)}
		}
	}
	return s, raw, nil
}
