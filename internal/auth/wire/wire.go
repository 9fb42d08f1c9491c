package wire

import (
	"bytes"
	"encoding/base64"
	"math"
	"strconv"
	"strings"
)

// MaxLine is the longest line accepted, without its LF (Dovecot's
// AUTH_CLIENT_MAX_LINE_LENGTH, which holds for the other protocols too).
const MaxLine = 16384

// Versions of the protocols. A peer with another major version is refused.
const (
	ClientMajor, ClientMinor = 1, 2
	MasterMajor, MasterMinor = 1, 1
)

const escape = 1

// AppendEscaped appends text as one field.
func AppendEscaped(b []byte, text string) []byte {
	start := 0
	for i := range len(text) {
		if text[i] > '\r' {
			continue
		}
		code := escapeCode[text[i]]
		if code == 0 {
			continue
		}
		b = append(b, text[start:i]...)
		b = append(b, escape, code)
		start = i + 1
	}
	return append(b, text[start:]...)
}

var escapeCode = ['\r' + 1]byte{0: '0', escape: '1', '\t': 't', '\r': 'r', '\n': 'n'}

// Unescape returns the text of a field. It copies only what is escaped.
func Unescape(field string) string {
	i := strings.IndexByte(field, escape)
	if i < 0 {
		return field
	}
	b := make([]byte, 0, len(field))
	for ; i >= 0; i = strings.IndexByte(field, escape) {
		b = append(b, field[:i]...)
		if i+1 == len(field) {
			return string(b) // a lone escape at the end is dropped
		}
		b = append(b, unescaped(field[i+1]))
		field = field[i+2:]
	}
	return string(append(b, field...))
}

func unescaped(code byte) byte {
	switch code {
	case '0':
		return 0
	case '1':
		return escape
	case 't':
		return '\t'
	case 'r':
		return '\r'
	case 'n':
		return '\n'
	}
	return code
}

// Cut returns the first field of a line, still escaped, and the rest.
func Cut(line []byte) (field, rest []byte, more bool) {
	return bytes.Cut(line, tab)
}

var tab = []byte{'\t'}

// CutString is [Cut] for a line kept as a string.
func CutString(line string) (field, rest string, more bool) {
	return strings.Cut(line, "\t")
}

// ParseID returns the value of a decimal request id or process id.
func ParseID(field []byte) (uint32, bool) {
	if len(field) == 0 || len(field) > 10 {
		return 0, false
	}
	var n uint64
	for _, c := range field {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return uint32(n), n <= math.MaxUint32
}

// AppendID appends a field separator and a number.
func AppendID(b []byte, n uint32) []byte {
	return strconv.AppendUint(append(b, '\t'), uint64(n), 10)
}

// AppendField appends a separator and key=value; value is escaped, key must
// need no escaping.
func AppendField(b []byte, key, value string) []byte {
	b = append(b, '\t')
	b = append(b, key...)
	b = append(b, '=')
	return AppendEscaped(b, value)
}

// DecodeBase64 appends the decoded text to b. Dovecot's decoder takes
// what RFC 4648 section 4 allows, with padding, and nothing else.
func DecodeBase64(b, text []byte) ([]byte, error) {
	return base64.StdEncoding.Strict().AppendDecode(b, text)
}

// AppendBase64 appends the encoding of data.
func AppendBase64(b, data []byte) []byte {
	return base64.StdEncoding.AppendEncode(b, data)
}

// CutKey takes key=value apart.
func CutKey(field []byte) (key, value []byte, hasValue bool) {
	return bytes.Cut(field, equals)
}

var equals = []byte{'='}
