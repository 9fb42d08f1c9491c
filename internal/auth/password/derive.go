package password

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Limits on what stored data may make a server compute.
const (
	maxIterations   = 10_000_000
	maxArgonMemory  = 1 << 20 // KiB
	maxArgonPasses  = 1000
	maxArgonThreads = 64
)

// saltAlphabet is that of crypt(3).
const saltAlphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// newSalt returns n random characters of the alphabet of crypt(3).
func newSalt(n int) []byte {
	salt := make([]byte, n)
	rand.Read(salt)
	for i := range salt {
		salt[i] = saltAlphabet[salt[i]%64]
	}
	return salt
}

// verifyPBKDF2 checks "$1$salt$rounds$hex", HMAC-SHA1.
func verifyPBKDF2(plain, _ string, data []byte) error {
	f := strings.Split(string(data), "$")
	if len(f) != 5 || f[0] != "" || f[1] != "1" {
		return &InvalidError{Scheme: "PBKDF2"}
	}
	rounds, err := strconv.Atoi(f[3])
	if err != nil || rounds < 1 || rounds > maxIterations {
		return &InvalidError{Scheme: "PBKDF2", Reason: "bad number of rounds"}
	}
	want, err := hex.DecodeString(f[4])
	if err != nil || len(want) != sha1.Size {
		return &InvalidError{Scheme: "PBKDF2", Reason: "bad key"}
	}
	key, err := pbkdf2.Key(sha1.New, plain, []byte(f[2]), rounds, sha1.Size)
	if err != nil {
		return fmt.Errorf("PBKDF2: %w", err)
	}
	return equal(key, want)
}

func generatePBKDF2(plain string, opt Options) ([]byte, error) {
	rounds := 5000
	if opt.Rounds > 0 {
		rounds = min(opt.Rounds, maxIterations)
	}
	salt := newSalt(16)
	key, err := pbkdf2.Key(sha1.New, plain, salt, rounds, sha1.Size)
	if err != nil {
		return nil, fmt.Errorf("PBKDF2: %w", err)
	}
	return fmt.Appendf(nil, "$1$%s$%d$%x", salt, rounds, key), nil
}

// verifySCRAM checks "iterations,salt,StoredKey,ServerKey" (RFC 5802 section 3).
func verifySCRAM(newHash func() hash.Hash) func(plain, user string, data []byte) error {
	return func(plain, _ string, data []byte) error {
		f := strings.Split(string(data), ",")
		if len(f) != 4 {
			return &InvalidError{Scheme: "SCRAM"}
		}
		rounds, err := strconv.Atoi(f[0])
		if err != nil || rounds < 1 || rounds > maxIterations {
			return &InvalidError{Scheme: "SCRAM", Reason: "bad iteration count"}
		}
		salt, err1 := base64.StdEncoding.DecodeString(f[1])
		want, err2 := base64.StdEncoding.DecodeString(f[2])
		if err1 != nil || err2 != nil {
			return &InvalidError{Scheme: "SCRAM", Reason: "bad base64"}
		}
		stored, _, err := scramKeys(newHash, plain, salt, rounds)
		if err != nil {
			return err
		}
		return equal(stored, want)
	}
}

func generateSCRAM(newHash func() hash.Hash) func(string, Options) ([]byte, error) {
	return func(plain string, opt Options) ([]byte, error) {
		rounds := 4096
		if opt.Rounds > 0 {
			rounds = min(max(opt.Rounds, 4096), maxIterations)
		}
		salt := make([]byte, 16)
		rand.Read(salt)
		stored, server, err := scramKeys(newHash, plain, salt, rounds)
		if err != nil {
			return nil, err
		}
		b64 := base64.StdEncoding.EncodeToString
		return fmt.Appendf(nil, "%d,%s,%s,%s", rounds, b64(salt), b64(stored), b64(server)), nil
	}
}

func scramKeys(newHash func() hash.Hash, plain string, salt []byte, rounds int) (stored, server []byte, err error) {
	key, err := pbkdf2.Key(newHash, plain, salt, rounds, newHash().Size())
	if err != nil {
		return nil, nil, fmt.Errorf("SCRAM: %w", err)
	}
	h := newHash()
	h.Write(mac(newHash, key, "Client Key"))
	return h.Sum(nil), mac(newHash, key, "Server Key"), nil
}

// argon2Params are those of "$argon2id$v=19$m=65536,t=3,p=1$salt$key".
type argon2Params struct {
	variant        string
	memory, passes uint32
	threads        uint8
	salt, key      []byte
}

func parseArgon2(data string) (argon2Params, error) {
	var p argon2Params
	f := strings.Split(data, "$")
	if len(f) != 6 || f[0] != "" || f[2] != "v=19" {
		return p, &InvalidError{Scheme: "ARGON2"}
	}
	p.variant = f[1]
	var version int
	if _, err := fmt.Sscanf(f[2]+","+f[3], "v=%d,m=%d,t=%d,p=%d", &version, &p.memory, &p.passes, &p.threads); err != nil {
		return p, &InvalidError{Scheme: "ARGON2", Reason: "bad parameters"}
	}
	if p.memory > maxArgonMemory || p.passes < 1 || p.passes > maxArgonPasses || p.threads < 1 || p.threads > maxArgonThreads {
		return p, &InvalidError{Scheme: "ARGON2", Reason: "parameters out of range"}
	}
	var err1, err2 error
	p.salt, err1 = base64.RawStdEncoding.DecodeString(f[4])
	p.key, err2 = base64.RawStdEncoding.DecodeString(f[5])
	if err1 != nil || err2 != nil || len(p.key) < 4 || len(p.key) > 1024 {
		return p, &InvalidError{Scheme: "ARGON2", Reason: "bad salt or key"}
	}
	return p, nil
}

func verifyArgon2(plain, _ string, data []byte) error {
	p, err := parseArgon2(string(data))
	if err != nil {
		return err
	}
	size := uint32(len(p.key))
	switch p.variant {
	case "argon2i":
		return equal(argon2.Key([]byte(plain), p.salt, p.passes, p.memory, p.threads, size), p.key)
	case "argon2id":
		return equal(argon2.IDKey([]byte(plain), p.salt, p.passes, p.memory, p.threads, size), p.key)
	}
	return &InvalidError{Scheme: "ARGON2", Reason: "unknown variant " + p.variant}
}

func generateArgon2i(plain string, opt Options) ([]byte, error) {
	return generateArgon2(plain, opt, "argon2i", 32<<10, 4, argon2.Key)
}

func generateArgon2id(plain string, opt Options) ([]byte, error) {
	return generateArgon2(plain, opt, "argon2id", 64<<10, 3, argon2.IDKey)
}

type argon2Func func(password, salt []byte, passes, memory uint32, threads uint8, size uint32) []byte

func generateArgon2(plain string, opt Options, variant string, memory, passes uint32, fn argon2Func) ([]byte, error) {
	if opt.Rounds > 0 {
		passes = uint32(min(opt.Rounds, maxArgonPasses))
	}
	salt := make([]byte, 16)
	rand.Read(salt)
	key := fn([]byte(plain), salt, passes, memory, 1, 32)
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Appendf(nil, "$%s$v=19$m=%d,t=%d,p=1$%s$%s", variant, memory, passes, b64(salt), b64(key)), nil
}
