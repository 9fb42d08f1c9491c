package password

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	stdencoding "encoding"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"
	"strings"
)

func verifyPlain(plain, _ string, data []byte) error {
	// The digests hide the length of the stored password too.
	a, b := sha256.Sum256(data), sha256.Sum256([]byte(plain))
	return equal(a[:], b[:])
}

func generatePlain(plain string, _ Options) ([]byte, error) { return []byte(plain), nil }

// verifyTruncated compares what "LENGTH-TEXT" stores of a longer password, or
// all of it without a LENGTH.
func verifyTruncated(plain, user string, data []byte) error {
	length, text, ok := strings.Cut(string(data), "-")
	n := 0
	for i := range len(length) {
		if length[i] < '0' || length[i] > '9' || i > 4 {
			ok = false
			break
		}
		n = n*10 + int(length[i]-'0')
	}
	if !ok || length == "" {
		return verifyPlain(plain, user, data)
	}
	return verifyPlain(plain[:min(n, len(plain))], user, []byte(text))
}

// digest is for schemes that store the hash of the password alone.
func digest(newHash func() hash.Hash, size int) func(plain, user string, data []byte) error {
	return func(plain, _ string, data []byte) error {
		if data = unhex(data, size); len(data) != size {
			return &InvalidError{Scheme: "digest", Reason: "its length is wrong"}
		}
		h := newHash()
		h.Write([]byte(plain))
		return equal(h.Sum(nil), data)
	}
}

// verifyMD5 is for a name that stands for two schemes.
func verifyMD5(plain, user string, data []byte) error {
	if strings.HasPrefix(string(data), "$1$") {
		return verifyMD5Crypt(plain, string(data))
	}
	raw, err := encodingBase64.decode(string(data))
	if err != nil {
		return &InvalidError{Scheme: "MD5", Reason: err.Error()}
	}
	return digest(md5.New, md5.Size)(plain, user, raw)
}

func generateDigest(newHash func() hash.Hash) func(string, Options) ([]byte, error) {
	return func(plain string, _ Options) ([]byte, error) {
		h := newHash()
		h.Write([]byte(plain))
		return h.Sum(nil), nil
	}
}

// salted is for schemes that store the hash of password and salt, then the salt.
func salted(newHash func() hash.Hash, size int) func(plain, user string, data []byte) error {
	return func(plain, _ string, data []byte) error {
		if len(data) < size {
			return &InvalidError{Scheme: "salted digest", Reason: "it is too short"}
		}
		h := newHash()
		h.Write([]byte(plain))
		h.Write(data[size:])
		return equal(h.Sum(nil), data[:size])
	}
}

func generateSalted(newHash func() hash.Hash) func(string, Options) ([]byte, error) {
	return func(plain string, _ Options) ([]byte, error) {
		salt := make([]byte, 4)
		rand.Read(salt)
		h := newHash()
		h.Write([]byte(plain))
		h.Write(salt)
		return append(h.Sum(nil), salt...), nil
	}
}

// unhex undoes the reading as base64 of what was hexadecimal: a digest of size
// bytes has then become 2*size*6/8 bytes.
func unhex(data []byte, size int) []byte {
	if len(data) != size*3/2 {
		return data
	}
	text := encodingBase64.encode(data)
	if raw, err := hex.DecodeString(text); err == nil && len(raw) == size {
		return raw
	}
	return data
}

func verifyCRAMMD5(plain, _ string, data []byte) error {
	want, err := cramMD5Contexts(plain)
	if err != nil {
		return err
	}
	return equal(want, data)
}

func generateCRAMMD5(plain string, _ Options) ([]byte, error) { return cramMD5Contexts(plain) }

// cramMD5Contexts returns the states of the two MD5 computations of HMAC after
// the key, as RFC 2195 lets servers store them: outer, then inner, each
// as four little-endian words.
func cramMD5Contexts(plain string) ([]byte, error) {
	key := []byte(plain)
	if len(key) > md5.BlockSize {
		sum := md5.Sum(key)
		key = sum[:]
	}
	out := make([]byte, 0, 2*md5.Size)
	for _, pad := range [...]byte{0x5c, 0x36} {
		block := make([]byte, md5.BlockSize)
		copy(block, key)
		for i := range block {
			block[i] ^= pad
		}
		state, err := md5State(block)
		if err != nil {
			return nil, err
		}
		out = append(out, state...)
	}
	return out, nil
}

var errMD5State = errors.New("password: crypto/md5 has changed the form of its state")

// md5State returns the chaining value after one block.
func md5State(block []byte) ([]byte, error) {
	h := md5.New()
	h.Write(block)
	m, ok := h.(stdencoding.BinaryMarshaler)
	if !ok {
		return nil, errMD5State
	}
	b, err := m.MarshalBinary()
	const magic = 4 // bytes, before four big-endian words
	if err != nil || len(b) < magic+md5.Size {
		return nil, errMD5State
	}
	state := make([]byte, md5.Size)
	for i := 0; i < md5.Size; i += 4 {
		binary.LittleEndian.PutUint32(state[i:], binary.BigEndian.Uint32(b[magic+i:]))
	}
	return state, nil
}

var errNoUser = errors.New("digest_md5_generate(): username not given")

func verifyDigestMD5(plain, user string, data []byte) error {
	want, err := generateDigestMD5(plain, Options{User: user})
	if err != nil {
		return err
	}
	return equal(want, data)
}

// generateDigestMD5 is the H(user:realm:password) of RFC 2831; the realm is
// the domain of the user name.
func generateDigestMD5(plain string, opt Options) ([]byte, error) {
	if opt.User == "" {
		return nil, errNoUser
	}
	user, realm := opt.User, ""
	if i := strings.LastIndexByte(user, '@'); i >= 0 {
		user, realm = user[:i], user[i+1:]
	}
	sum := md5.Sum([]byte(user + ":" + realm + ":" + plain))
	return sum[:], nil
}

// mac is HMAC of text.
func mac(newHash func() hash.Hash, key []byte, text string) []byte {
	h := hmac.New(newHash, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
