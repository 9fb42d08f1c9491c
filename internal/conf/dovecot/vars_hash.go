package dovecot

import (
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"strconv"
	"strings"

	"golang.org/x/crypto/md4" //nolint:staticcheck // broken, and what %{md4} is
)

// A hashMethod makes the value of %{NAME;options:key}.
type hashMethod struct {
	new    func() hash.Hash
	pkcs5  bool // PBKDF2 instead of plain hashing
	rounds int
}

var hashes = map[string]hashMethod{
	"md4":      {new: md4.New, rounds: 1},
	"md5":      {new: md5.New, rounds: 1},
	"sha1":     {new: sha1.New, rounds: 1},
	"sha256":   {new: sha256.New, rounds: 1},
	"sha384":   {new: sha512.New384, rounds: 1},
	"sha512":   {new: sha512.New, rounds: 1},
	"sha3-256": {new: func() hash.Hash { return sha3.New256() }, rounds: 1},
	"sha3-512": {new: func() hash.Hash { return sha3.New512() }, rounds: 1},
	"pkcs5":    {new: sha256.New, pkcs5: true, rounds: 2048},
}

// pkcs5Len is how many bytes Dovecot derives for %{pkcs5}.
const pkcs5Len = 336

// maxRounds bounds what a configuration line may cost per use.
const maxRounds = 10_000_000

// hash returns the value of %{method;options:key}; arg is ":key".
func (e *varExpander) hash(m hashMethod, options, arg string) string {
	name := strings.TrimPrefix(arg, ":")
	salt, format, truncate := "", "hex", 0
	if m.pkcs5 {
		salt = name
	}
	for options != "" {
		var opt string
		opt, options, _ = strings.Cut(options, ",")
		key, val, _ := strings.Cut(opt, "=")
		switch key {
		case "rounds":
			m.rounds = e.hashNumber(val, key)
		case "truncate":
			truncate = e.hashNumber(val, key)
		case "format":
			format = val
		case "salt":
			salt, options = e.expand(val), "" // what follows a salt is not read
		}
	}
	value := e.key(name)
	if m.rounds > maxRounds {
		e.fail("Cannot parse hash arguments:'%d' is too large for rounds", m.rounds)
		return ""
	}
	return e.hashText(truncateBits(m.sum(value, salt), truncate), format)
}

func (e *varExpander) hashNumber(val, key string) int {
	n, err := strconv.ParseUint(val, 10, 31)
	if err != nil {
		e.fail("Cannot parse hash arguments:'%s' is not number for %s", val, key)
	}
	return int(n)
}

// sum hashes salt and value, and then, in each further round, salt and the result.
func (m hashMethod) sum(value, salt string) []byte {
	if m.pkcs5 {
		key, err := pbkdf2.Key(m.new, value, []byte(salt), max(m.rounds, 1), pkcs5Len)
		if err != nil {
			return nil
		}
		return key
	}
	sum := []byte(value)
	for range max(m.rounds, 1) {
		h := m.new()
		h.Write([]byte(salt))
		h.Write(sum)
		sum = h.Sum(nil)
	}
	return sum
}

// truncateBits keeps the first bits of sum, as a number aligned to the right.
func truncateBits(sum []byte, bits int) []byte {
	if bits <= 0 || bits >= len(sum)*8 {
		return sum
	}
	sum = sum[:(bits+7)/8]
	shift := (8 - bits%8) % 8
	carry := byte(0)
	for i, c := range sum {
		sum[i] = c>>shift | carry
		carry = c << (8 - shift)
	}
	return sum
}

func (e *varExpander) hashText(sum []byte, format string) string {
	switch format {
	case "hex", "hexuc": // Dovecot prints both in lower case
		return hex.EncodeToString(sum)
	case "base64":
		return base64.StdEncoding.EncodeToString(sum)
	}
	e.fail("Cannot parse hash arguments:'%s' is not supported format", format)
	return ""
}
