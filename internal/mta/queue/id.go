package queue

import (
	"strconv"
	"time"
)

// alphabet are the digits of long queue IDs: no vowels, so no words.
const alphabet = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"

// Postfix ends its queue IDs with the inode number of the queue file. Ours
// end with a number that looks like one: six hexadecimal digits made from the
// message's serial, so the columns of the queue listing stay aligned and the
// same ID does not come again for a long time.
const (
	firstInode = 0x100000
	lastInode  = 0xffffff
)

func inode(serial uint64) uint64 {
	return firstInode + serial%(lastInode-firstInode+1)
}

// shortID returns microseconds in five hexadecimal digits and the inode.
func shortID(now time.Time, serial uint64) string {
	var b [16]byte
	const hex = "0123456789ABCDEF"
	usec := now.Nanosecond() / 1000
	for i := 4; i >= 0; i-- {
		b[i] = hex[usec&15]
		usec >>= 4
	}
	n := inode(serial)
	for i := 10; i >= 5; i-- {
		b[i] = hex[n&15]
		n >>= 4
	}
	return string(b[:11])
}

// longID returns seconds in base 52, at least six digits, microseconds in four,
// "z", and the inode in base 51.
func longID(now time.Time, serial uint64) string {
	b := make([]byte, 0, 24)
	b = appendBase(b, uint64(now.Unix()), 52, 6)
	b = appendBase(b, uint64(now.Nanosecond()/1000), 52, 4)
	b = append(b, 'z')
	return string(appendBase(b, inode(serial), 51, 1))
}

func appendBase(b []byte, n, base uint64, width int) []byte {
	var digits [16]byte
	i := len(digits)
	for n > 0 || len(digits)-i < width {
		i--
		digits[i] = alphabet[n%base]
		n /= base
	}
	return append(b, digits[i:]...)
}

// ValidID says whether s can be a queue ID: letters and digits, at most 100.
func ValidID(s string) bool {
	if s == "" || len(s) > 100 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return true
}

// fileName returns a name made of a number in 16 hexadecimal digits.
func fileName(n uint64, ext string) string {
	var b [16]byte
	const hex = "0123456789abcdef"
	for i := 15; i >= 0; i-- {
		b[i] = hex[n&15]
		n >>= 4
	}
	return string(b[:]) + ext
}

// parseFileName is the reverse of fileName.
func parseFileName(name, ext string) (uint64, bool) {
	if len(name) != 16+len(ext) || name[16:] != ext {
		return 0, false
	}
	n, err := strconv.ParseUint(name[:16], 16, 64)
	return n, err == nil
}
