package dbox

import (
	"crypto/rand"
	"crypto/sha1"
	"encoding/hex"
)

// NewGUID returns a new unique GUID. Dovecot makes them of time, process and
// host; any 128 bits will do.
func NewGUID() (g [16]byte) {
	// crypto/rand.Read never fails.
	_, _ = rand.Read(g[:])
	return g
}

// GUID128 returns the binary form of a message GUID: its bytes if it is 32 hex
// digits, else bytes 4 to 19 of its SHA-1.
func GUID128(s string) (g [16]byte) {
	if len(s) == 2*len(g) {
		if _, err := hex.Decode(g[:], []byte(s)); err == nil {
			return g
		}
	}
	if s == "" {
		return g
	}
	sum := sha1.Sum([]byte(s))
	copy(g[:], sum[4:])
	return g
}
