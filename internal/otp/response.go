package otp

import (
	_ "embed"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
)

// A Response is a user's answer to a challenge.
type Response struct {
	Hash Hash
	Init *State // a new password that takes the place of the old one, or nil
}

// Errors of responses, in Dovecot's words.
var (
	errType     = errors.New("unsupported response type")
	errResponse = errors.New("invalid response")
)

// ParseResponse reads an extended response (RFC 2243 4): "hex:HASH", "word:WORDS",
// "init-hex:HASH:ALGORITHM SEQUENCE SEED:HASH" or the same with words.
func ParseResponse(text string) (Response, error) {
	kind, text, _ := strings.Cut(text, ":")
	parse := ParseHex
	if strings.HasSuffix(kind, "word") {
		parse = ParseWords
	}
	var r Response
	var err error
	switch kind {
	case "hex", "word":
		if r.Hash, _, err = parse(text); err != nil {
			return r, errResponse
		}
		return r, nil
	case "init-hex", "init-word":
		if err = r.init(text, parse); err != nil {
			return r, errors.New("invalid init response, " + err.Error())
		}
		return r, nil
	}
	return r, errType
}

// init reads a response with a new password.
func (r *Response) init(text string, parse func(string) (Hash, string, error)) error {
	var err error
	if r.Hash, text, err = parse(text); err != nil {
		return errors.New("invalid current OTP")
	}
	colon := func() bool {
		var ok bool
		text, ok = strings.CutPrefix(strings.TrimLeft(text, blanks), ":")
		return ok
	}
	if !colon() {
		return errors.New("missing colon")
	}
	next, text2, err := parseParameters(text)
	if err != nil {
		return errors.New("invalid OTP parameters")
	}
	if text = text2; !colon() {
		return errors.New("missing colon")
	}
	if next.Hash, text, err = parse(text); err != nil {
		return errors.New("invalid new OTP")
	}
	if strings.Trim(text, blanks) != "" {
		return errors.New("trailing garbage found")
	}
	r.Init = &next
	return nil
}

// ParseHex reads 16 hexadecimal digits, with blanks anywhere between, and returns what
// follows them.
func ParseHex(text string) (h Hash, rest string, err error) {
	digits := make([]byte, 0, 2*Size)
	i := 0
	for ; i < len(text) && len(digits) < 2*Size; i++ {
		if text[i] != ' ' && text[i] != '\t' {
			digits = append(digits, text[i])
		}
	}
	if len(digits) < 2*Size {
		return h, "", errResponse
	}
	_, err = hex.Decode(h[:], digits)
	return h, text[i:], err
}

//go:embed words.txt
var words string

const wordsOfHash = 6

// dictionary gives the number of each word.
var dictionary = sync.OnceValue(func() map[string]uint64 {
	numbers := make(map[string]uint64, 2048)
	for i, word := range strings.Fields(words) {
		numbers[word] = uint64(i)
	}
	return numbers
})

// ParseWords reads six words, in any letter case, and returns what follows them. The
// checksum is not looked at: a hash that is wrong is no password.
func ParseWords(text string) (h Hash, rest string, err error) {
	var bits, last uint64
	for i := range wordsOfHash {
		text = strings.TrimLeft(text, blanks)
		end := strings.IndexAny(text, blanks+":")
		if end < 0 {
			end = len(text)
		}
		number, ok := dictionary()[strings.ToUpper(text[:end])]
		if !ok {
			return h, "", errResponse
		}
		text = text[end:]
		if i == wordsOfHash-1 {
			last = number
			break
		}
		bits = bits<<11 | number
	}
	bits = bits<<9 | last>>2
	for i := range h {
		h[i] = byte(bits >> (8 * (Size - 1 - i)))
	}
	return h, text, nil
}

// Words writes a hash as six words.
func (h Hash) Words() string {
	var bits, sum uint64
	for _, c := range h {
		bits = bits<<8 | uint64(c)
		sum += uint64(c>>6&3) + uint64(c>>4&3) + uint64(c>>2&3) + uint64(c&3)
	}
	list := strings.Fields(words)
	out := make([]string, 0, wordsOfHash)
	for shift := 53; shift > 0; shift -= 11 {
		out = append(out, list[bits>>shift&2047])
	}
	return strings.Join(append(out, list[(bits<<2|sum&3)&2047]), " ")
}
