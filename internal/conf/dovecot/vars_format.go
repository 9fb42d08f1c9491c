package dovecot

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A varFormat is what stands between the "%" and the name of a variable:
// [-][0][OFFSET.][-][0][WIDTH]MODIFIERS.
type varFormat struct {
	offset, width int
	pad           bool
	modifiers     string
}

// maxVarModifiers is Dovecot's bound; a letter after that many is a variable.
const maxVarModifiers = 10

// maxVarWidth bounds the zeros that a width may add.
const maxVarWidth = 1 << 16

// parse reads the format and returns the rest, which begins with the name.
func (f *varFormat) parse(s string) string {
	f.width, f.pad, s = varNumber(s)
	if rest, ok := strings.CutPrefix(s, "."); ok {
		f.offset = f.width
		f.width, f.pad, s = varNumber(rest)
	} else if f.width < 0 {
		f.width = -f.width // a sign without a dot means nothing
	}
	n := 0
	for n < len(s) && n < maxVarModifiers && varModifiers[s[n]] != nil {
		n++
	}
	f.modifiers = s[:n]
	return s[n:]
}

func varNumber(s string) (n int, pad bool, rest string) {
	sign := 1
	if t, ok := strings.CutPrefix(s, "-"); ok {
		sign, s = -1, t
	}
	if t, ok := strings.CutPrefix(s, "0"); ok {
		pad, s = true, t
	}
	for s != "" && '0' <= s[0] && s[0] <= '9' {
		n = min(n*10+int(s[0]-'0'), math.MaxInt32)
		s = s[1:]
	}
	return sign * n, pad, s
}

// append appends val as the format wants it.
func (f *varFormat) append(b []byte, val string) []byte {
	for i := range len(f.modifiers) {
		val = varModifiers[f.modifiers[i]](f, val)
	}
	switch {
	case f.offset < 0:
		val = val[max(0, len(val)+f.offset):]
	default:
		val = val[min(f.offset, len(val)):]
	}
	switch {
	case f.pad && f.width > 0:
		for n := len(val); n < min(f.width, maxVarWidth); n++ {
			b = append(b, '0')
		}
	case f.width < 0:
		val = cutText(val, max(0, len(val)+f.width))
	case f.width > 0:
		val = cutText(val, min(f.width, len(val)))
	}
	return append(b, val...)
}

// cutText cuts s to n bytes but not inside an UTF-8 character.
func cutText(s string, n int) string {
	if n < len(s) && utf8.ValidString(s) {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
	}
	return s[:n]
}

// varModifiers are the letters that change a value. H and N use up width and
// offset.
var varModifiers = map[byte]func(*varFormat, string) string{
	'L': func(_ *varFormat, s string) string { return asciiMap(s, 'A', 'Z', 'a'-'A') },
	'U': func(_ *varFormat, s string) string { return asciiMap(s, 'a', 'z', -('a' - 'A')) },
	'E': func(_ *varFormat, s string) string {
		return strings.NewReplacer(`"`, `\"`, `'`, `\'`, `\`, `\\`).Replace(s)
	},
	'X': hexNumber,
	'R': func(_ *varFormat, s string) string {
		b := []byte(s)
		slices.Reverse(b)
		return string(b)
	},
	'H': func(f *varFormat, s string) string { return f.number(uint64(stringHash(s))) },
	'N': func(f *varFormat, s string) string {
		sum := md5.Sum([]byte(s))
		return f.number(binary.BigEndian.Uint64(sum[:8]))
	},
	'M': func(_ *varFormat, s string) string {
		sum := md5.Sum([]byte(s))
		return hex.EncodeToString(sum[:])
	},
	'D': func(_ *varFormat, s string) string { return strings.ReplaceAll(s, ".", ",dc=") },
	'T': func(_ *varFormat, s string) string { return strings.TrimRight(s, " \t") },
}

func asciiMap(s string, from, to byte, add int) string {
	b := []byte(s)
	for i, c := range b {
		if from <= c && c <= to {
			b[i] = byte(int(c) + add)
		}
	}
	return string(b)
}

func hexNumber(_ *varFormat, s string) string {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return "0"
	}
	return strconv.FormatUint(uint64(n), 16)
}

// number prints a hash: modulo width, with at least offset hexadecimal digits.
func (f *varFormat) number(n uint64) string {
	if f.width > 0 {
		n %= uint64(f.width)
	}
	s := strconv.FormatUint(uint64(uint32(n)), 16)
	if pad := min(f.offset, maxVarWidth) - len(s); pad > 0 {
		s = strings.Repeat("0", pad) + s
	}
	f.width, f.offset, f.pad = 0, 0, false
	return s
}

// stringHash is the hash of PJW, which spreads users over directories, so it
// may never change.
func stringHash(s string) uint32 {
	var h uint32
	for i := range len(s) {
		h = h<<4 + uint32(s[i])
		if g := h & 0xf0000000; g != 0 {
			h ^= g >> 24
			h ^= g
		}
	}
	return h
}
