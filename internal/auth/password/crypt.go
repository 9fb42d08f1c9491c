package password

import (
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"strconv"
	"strings"

	xcrypt "github.com/go-crypt/x/crypt"
	"github.com/go-crypt/x/yescrypt"
	"golang.org/x/crypto/bcrypt"
)

// maxCrypt is the longest password that crypt(3) hashes (CRYPT_MAX_PASSPHRASE_SIZE of
// libxcrypt). What some methods cost grows with the square of it.
const maxCrypt = 511

// verifyCrypt checks a string of crypt(3). As there, the string itself tells
// the method, whichever of the crypt schemes was named.
func verifyCrypt(plain, _ string, data []byte) error {
	if len(plain) > maxCrypt {
		return ErrMismatch
	}
	text := string(data)
	switch {
	case strings.HasPrefix(text, "$1$"):
		return verifyMD5Crypt(plain, text)
	case strings.HasPrefix(text, "$5$"):
		return verifySHACrypt(sha256.New, plain, text)
	case strings.HasPrefix(text, "$6$"):
		return verifySHACrypt(sha512.New, plain, text)
	case strings.HasPrefix(text, "$2"):
		return verifyBlowfish(plain, data)
	case strings.HasPrefix(text, "$y$"):
		return verifyYescrypt(plain, data)
	case !strings.HasPrefix(text, "$") && len(text) >= 13:
		return verifyDES(plain, data)
	}
	// crypt(3) answers with a string that equals nothing.
	return ErrMismatch
}

func verifyMD5Crypt(plain, text string) error {
	salt, key, ok := strings.Cut(text[len("$1$"):], "$")
	if !ok || len(salt) > 8 {
		return &InvalidError{Scheme: "MD5-CRYPT"}
	}
	return equal(xcrypt.KeyMD5Crypt([]byte(plain), []byte(salt)), []byte(key))
}

func generateMD5Crypt(plain string, _ Options) ([]byte, error) {
	salt := newSalt(8)
	return fmt.Appendf(nil, "$1$%s$%s", salt, xcrypt.KeyMD5Crypt([]byte(plain), salt)), nil
}

// The rounds of SHA-crypt: what is outside is taken as the nearest limit.
const (
	shaCryptDefault = 5000
	shaCryptMin     = 1000
	shaCryptMax     = 999_999_999
)

func verifySHACrypt(newHash func() hash.Hash, plain, text string) error {
	rest := text[len("$5$"):]
	rounds := shaCryptDefault
	if param, after, ok := strings.Cut(rest, "$"); ok && strings.HasPrefix(param, "rounds=") {
		n, err := strconv.Atoi(param[len("rounds="):])
		if err != nil {
			return &InvalidError{Scheme: "SHA-CRYPT", Reason: "bad number of rounds"}
		}
		rounds, rest = min(max(n, shaCryptMin), shaCryptMax), after
	}
	salt, key, ok := strings.Cut(rest, "$")
	if !ok {
		return &InvalidError{Scheme: "SHA-CRYPT"}
	}
	salt = salt[:min(len(salt), 16)]
	return equal(xcrypt.KeySHACrypt(newHash, []byte(plain), []byte(salt), rounds), []byte(key))
}

func generateSHA256Crypt(plain string, opt Options) ([]byte, error) {
	return generateSHACrypt("$5$", sha256.New, plain, opt)
}

func generateSHA512Crypt(plain string, opt Options) ([]byte, error) {
	return generateSHACrypt("$6$", sha512.New, plain, opt)
}

func generateSHACrypt(prefix string, newHash func() hash.Hash, plain string, opt Options) ([]byte, error) {
	rounds := shaCryptDefault
	if opt.Rounds > 0 {
		rounds = min(max(opt.Rounds, shaCryptMin), shaCryptMax)
	}
	salt := newSalt(16)
	out := []byte(prefix)
	if rounds != shaCryptDefault {
		out = fmt.Appendf(out, "rounds=%d$", rounds)
	}
	out = append(append(out, salt...), '$')
	return append(out, xcrypt.KeySHACrypt(newHash, []byte(plain), salt, rounds)...), nil
}

func verifyBlowfish(plain string, data []byte) error {
	// bcrypt has never looked at more than 72 bytes.
	switch err := bcrypt.CompareHashAndPassword(data, []byte(plain[:min(len(plain), 72)])); err {
	case nil:
		return nil
	case bcrypt.ErrMismatchedHashAndPassword:
		return ErrMismatch
	default:
		return &InvalidError{Reason: "Password is not blowfish password"}
	}
}

func generateBlowfish(plain string, opt Options) ([]byte, error) {
	cost := 5
	if opt.Rounds > 0 {
		cost = min(max(opt.Rounds, bcrypt.MinCost), bcrypt.MaxCost)
	}
	out, err := bcrypt.GenerateFromPassword([]byte(plain[:min(len(plain), 72)]), cost)
	if err != nil {
		return nil, fmt.Errorf("BLF-CRYPT: %w", err)
	}
	out[2] = 'y' // as crypt(3) names the same computation
	return out, nil
}

func verifyYescrypt(plain string, data []byte) error {
	got, err := yescrypt.Hash([]byte(plain), data)
	if err != nil {
		return &InvalidError{Scheme: "CRYPT", Reason: err.Error()}
	}
	return equal(got, data)
}
