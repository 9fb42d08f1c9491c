package queuefile

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
)

// A queue file is named after the time at which it was made and its inode, so
// that no two that exist have the same name. There are two forms:
//
//	short  microseconds, five hexadecimal digits; inode, hexadecimal
//	long   seconds in base 52, at least six digits; microseconds in base 52,
//	       four digits; "z"; inode in base 51, without padding
const (
	digits     = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
	shortUsec  = 5 // digits
	longUsec   = 4 // digits
	longSecond = 6 // digits at least
)

// Long reports whether name is a queue ID of the long form.
func Long(name string) bool {
	z := strings.LastIndexByte(name, 'z')
	return z >= longSecond+longUsec && z < len(name)-1
}

// ShortName returns the short queue ID of a file.
func ShortName(at time.Time, inode uint64) string {
	return fmt.Sprintf("%05X%X", at.Nanosecond()/1000, inode)
}

// LongName returns the long queue ID of a file.
func LongName(at time.Time, inode uint64) string {
	return base(uint64(at.Unix()), 52, longSecond) + base(uint64(at.Nanosecond()/1000), 52, longUsec) + "z" + base(inode, 51, 1)
}

func base(n, base uint64, width int) string {
	var b [16]byte
	i := len(b)
	for n > 0 || len(b)-i < width {
		i--
		b[i] = digits[n%base]
		n /= base
	}
	return string(b[i:])
}

func parseBase(s string, base uint64) (n uint64, ok bool) {
	if s == "" || len(s) > 11 {
		return 0, false
	}
	for i := range len(s) {
		d := strings.IndexByte(digits, s[i])
		if d < 0 || uint64(d) >= base {
			return 0, false
		}
		n = n*base + uint64(d)
	}
	return n, true
}

// Time returns when the file with a queue ID was made; for one of the short
// form, only the part of the second, in the year 1970.
func Time(name string) (time.Time, bool) {
	if !Long(name) {
		if len(name) <= shortUsec {
			return time.Time{}, false
		}
		usec, err := strconv.ParseUint(name[:shortUsec], 16, 32)
		return time.Unix(0, int64(usec)*1000), err == nil && usec < 1e6
	}
	z := strings.LastIndexByte(name, 'z')
	sec, ok := parseBase(name[:z-longUsec], 52)
	usec, ok2 := parseBase(name[z-longUsec:z], 52)
	return time.Unix(int64(sec), int64(usec)*1000), ok && ok2 && usec < 1e6
}

// Path returns the path of a file below queue_directory in a queue that has
// depth levels of subdirectories (hash_queue_names, hash_queue_depth).
func Path(queue, name string, depth int) string {
	key := name
	if Long(name) {
		if at, ok := Time(name); ok {
			key = fmt.Sprintf("%05X", at.Nanosecond()/1000)
		}
	}
	elem := []string{queue}
	for i := range depth {
		c := byte('_')
		if i < len(key) {
			c = key[i]
		}
		elem = append(elem, string(c))
	}
	return path.Join(append(elem, name)...)
}
