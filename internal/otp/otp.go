package otp

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"

	"golang.org/x/crypto/md4" //nolint:staticcheck // RFC 2289 has it
)

const (
	// Size is the length of a hash.
	Size = 8

	maxSeed     = 16
	maxSequence = 1_000_000 // hashing that often takes a good part of a second
	firstOfNew  = 1024      // sequence number of new passwords
)

// A Hash is one link of the chain.
type Hash [Size]byte

// A State is what a server keeps of a user's password.
type State struct {
	Algorithm string // md4, md5 or sha1
	Sequence  int
	Seed      string // lower case
	Hash      Hash
}

var algorithms = map[string]func() hash.Hash{"md4": md4.New, "md5": md5.New, "sha1": sha1.New}

// ErrInvalid is what [Parse] says about text that is no state.
var ErrInvalid = errors.New("invalid OTP data")

// Parse reads a state.
func Parse(text string) (State, error) {
	s, rest, err := parseParameters(text)
	if err != nil {
		return s, err
	}
	digits, ok := strings.CutPrefix(rest, " ")
	if !ok {
		return s, ErrInvalid
	}
	s.Hash, rest, err = ParseHex(digits)
	if strings.Trim(rest, blanks) != "" {
		err = ErrInvalid
	}
	return s, err
}

const blanks = " \t"

// parseParameters reads "ALGORITHM SEQUENCE SEED" and returns what follows.
func parseParameters(text string) (s State, rest string, err error) {
	name, text, _ := strings.Cut(strings.ReplaceAll(text, "\t", " "), " ")
	if algorithms[name] == nil {
		return s, "", ErrInvalid
	}
	number, text, ok := strings.Cut(text, " ")
	sequence, err := strconv.ParseUint(number, 10, 32)
	if !ok || err != nil || sequence > maxSequence {
		return s, "", ErrInvalid
	}
	n := 0
	for n < len(text) && n < maxSeed && isAlphanumeric(text[n]) {
		n++
	}
	if n == 0 {
		return s, "", ErrInvalid
	}
	return State{Algorithm: name, Sequence: int(sequence), Seed: strings.ToLower(text[:n])}, text[n:], nil
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// String returns what [Parse] reads.
func (s *State) String() string {
	return fmt.Sprintf("%s %d %s %x", s.Algorithm, s.Sequence, s.Seed, s.Hash)
}

// New returns a state for a new password.
func New(password string) State {
	var seed [maxSeed / 2]byte
	rand.Read(seed[:])
	s := State{Algorithm: "sha1", Sequence: firstOfNew, Seed: hex.EncodeToString(seed[:])}
	s.Hash = s.Compute(password)
	return s
}

// Compute returns the hash that the password has at the sequence number of s.
func (s *State) Compute(password string) Hash {
	h := fold(s.Algorithm, []byte(s.Seed+password))
	for range s.Sequence {
		h = fold(s.Algorithm, h[:])
	}
	return h
}

// Challenge is what the server asks a user whose state is s, in the form of RFC 2243: for
// the hash before the one that is kept. There is none left if ok is false.
func (s *State) Challenge() (text string, ok bool) {
	if s.Sequence < 2 {
		return "", false
	}
	return fmt.Sprintf("otp-%s %d %s ext", s.Algorithm, s.Sequence-1, s.Seed), true
}

// Next checks the hash that a user answered with. If it is right, the state that
// has to be kept from now on is returned.
func (s *State) Next(h Hash) (next State, ok bool) {
	after := fold(s.Algorithm, h[:])
	if subtle.ConstantTimeCompare(after[:], s.Hash[:]) != 1 {
		return State{}, false
	}
	next = *s
	next.Sequence, next.Hash = s.Sequence-1, h
	return next, true
}

// fold is one step of the chain: RFC 2289 appendix A.
func fold(algorithm string, data []byte) Hash {
	h := algorithms[algorithm]()
	h.Write(data)
	sum := h.Sum(nil)
	var out Hash
	for i, c := range sum {
		// SHA-1's third pair of words is half.
		out[i%Size] ^= c
	}
	if algorithm == "sha1" { // whose words are big-endian, unlike those here
		for i := 0; i < Size; i += 4 {
			out[i], out[i+1], out[i+2], out[i+3] = out[i+3], out[i+2], out[i+1], out[i]
		}
	}
	return out
}
