package maildir

import (
	"cmp"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The bits of flags, as in the index.
const (
	answered = 0x01
	flagged  = 0x02
	deleted  = 0x04
	seen     = 0x08
	draft    = 0x10
)

// AllFlags are the flags that a file name can have.
const AllFlags = answered | flagged | deleted | seen | draft

// flagLetters are the letters of flags in the order of their ASCII codes.
var flagLetters = [...]struct {
	letter byte
	flag   byte
}{{'D', draft}, {'F', flagged}, {'R', answered}, {'S', seen}, {'T', deleted}}

// MaxKeywords is the number of keywords that have letters.
const MaxKeywords = 26

// infoPrefix begins the part of a name that has flags.
const infoPrefix = ":2,"

// Base returns the part of a file name that stays the same.
func Base(name string) string {
	base, _, _ := strings.Cut(name, ":")
	return base
}

// An Info is the flags and keywords that a file name has.
type Info struct {
	Flags   byte
	Letters uint32 // bit n for keyword letter 'a'+n
}

// ParseInfo reads the flags in a file name.
func ParseInfo(name string) (i Info) {
	for _, c := range []byte(letters(name)) {
		if c == ',' {
			break
		}
		if c >= 'a' && c <= 'z' {
			i.Letters |= 1 << (c - 'a')
		}
		i.Flags |= flagOf(c)
	}
	return i
}

// letters returns what follows ":2," in a name.
func letters(name string) string {
	at := strings.IndexByte(name, ':')
	if at < 0 {
		return ""
	}
	rest, _ := strings.CutPrefix(name[at:], infoPrefix)
	if len(rest) == len(name)-at {
		return ""
	}
	return rest
}

func flagOf(c byte) byte {
	for _, f := range flagLetters {
		if f.letter == c {
			return f.flag
		}
	}
	return 0
}

// WithInfo returns a file name with these flags and keywords. Letters of other
// programs stay, at their place in the order.
func WithInfo(name string, i Info) string {
	b := make([]byte, 0, len(name)+16)
	b = append(b, Base(name)...)
	b = append(b, infoPrefix...)
	old, rest, more := strings.Cut(letters(name), ",")
	for c := byte('!'); c < 0x7f; c++ {
		known := c >= 'a' && c <= 'z' && i.Letters&(1<<(c-'a')) != 0 || flagOf(c)&i.Flags != 0
		if known || foreign(c) && strings.IndexByte(old, c) >= 0 {
			b = append(b, c)
		}
	}
	if more {
		b = append(b, ',')
		b = append(b, rest...)
	}
	return string(b)
}

// foreign tells whether a letter has no meaning here.
func foreign(c byte) bool { return (c < 'a' || c > 'z') && flagOf(c) == 0 && c != ',' && c != '/' }

// Keys of sizes in base names and uidlist fields.
const (
	KeySize        = 'S'
	KeyVirtualSize = 'W'
)

// SizeIn returns a size that the base name tells.
func SizeIn(name string, key byte) (size int64, ok bool) {
	base := Base(name)
	for i := 0; i+3 < len(base); i++ {
		if base[i] != ',' || base[i+1] != key || base[i+2] != '=' {
			continue
		}
		digits, _, _ := strings.Cut(base[i+3:], ",")
		v, err := strconv.ParseUint(digits, 10, 63)
		return int64(v), err == nil && digits[0] != '+'
	}
	return 0, false
}

// appendSizes returns a base name that tells the sizes.
func appendSizes(base string, physical, virtual int64) string {
	b := append(make([]byte, 0, len(base)+24), base...)
	b = append(b, ",S="...)
	b = strconv.AppendInt(b, physical, 10)
	b = append(b, ",W="...)
	return string(strconv.AppendInt(b, virtual, 10))
}

var (
	lastName atomic.Int64 // microseconds of the last name made
	ownPID   = strconv.Itoa(os.Getpid())
	ownHost  = sync.OnceValue(func() string {
		host, err := os.Hostname()
		if err != nil || host == "" {
			host = "localhost"
		}
		return strings.NewReplacer("/", "\\057", ":", "\\072").Replace(host)
	})
)

// NewName returns a base name that no process on any host uses: no two have
// one pid at one microsecond.
func NewName(now time.Time) string {
	t := now.UnixMicro()
	for {
		last := lastName.Load()
		t = max(t, last+1)
		if lastName.CompareAndSwap(last, t) {
			break
		}
	}
	b := make([]byte, 0, 64)
	b = strconv.AppendInt(b, t/1e6, 10)
	b = append(b, ".M"...)
	b = strconv.AppendInt(b, t%1e6, 10)
	b = append(b, 'P')
	b = append(b, ownPID...)
	b = append(b, '.')
	return string(append(b, ownHost()...))
}

// compareNames orders messages that have no uid yet: by the time in their names.
func compareNames(a, b string) int {
	sa, ma := nameTime(a)
	sb, mb := nameTime(b)
	return cmp.Or(cmp.Compare(sa, sb), cmp.Compare(ma, mb), strings.Compare(a, b))
}

func nameTime(name string) (sec, usec uint64) {
	sec, rest := leadingNumber(name)
	if m, ok := strings.CutPrefix(rest, ".M"); ok {
		usec, _ = leadingNumber(m)
	}
	return sec, usec
}

func leadingNumber(s string) (v uint64, rest string) {
	n := 0
	for n < len(s) && n < 18 && s[n] >= '0' && s[n] <= '9' {
		v = v*10 + uint64(s[n]-'0')
		n++
	}
	return v, s[n:]
}
