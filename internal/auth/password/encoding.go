package password

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
)

// An encoding is how a scheme's data is written.
type encoding uint8

const (
	encodingNone   encoding = iota
	encodingBase64          // of raw bytes; hexadecimal is taken too where the length says so
	encodingHex
)

var errEncoding = errors.New("it is neither base64 nor hexadecimal")

func (e encoding) decode(data string) ([]byte, error) {
	switch e {
	case encodingHex:
		if raw, err := hex.DecodeString(data); err == nil {
			return raw, nil
		}
	case encodingBase64:
		// Databases of other servers leave the padding out.
		for _, enc := range [...]*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding} {
			if raw, err := enc.DecodeString(data); err == nil {
				return raw, nil
			}
		}
	default:
		return []byte(data), nil
	}
	return nil, errEncoding
}

func (e encoding) encode(raw []byte) string {
	switch e {
	case encodingBase64:
		return base64.StdEncoding.EncodeToString(raw)
	case encodingHex:
		return hex.EncodeToString(raw)
	}
	return string(raw)
}
