package smtp

import "strconv"

// Enhanced is an enhanced status code (RFC 3463): class, subject, detail. The
// zero value stands for no code.
type Enhanced [3]uint16

// IsZero reports whether there is no code.
func (e Enhanced) IsZero() bool { return e[0] == 0 }

// Append appends the code as it is written, such as "5.1.1".
func (e Enhanced) Append(b []byte) []byte {
	b = strconv.AppendUint(b, uint64(e[0]), 10)
	b = append(b, '.')
	b = strconv.AppendUint(b, uint64(e[1]), 10)
	b = append(b, '.')
	return strconv.AppendUint(b, uint64(e[2]), 10)
}

// String returns the code as it is written.
func (e Enhanced) String() string { return string(e.Append(nil)) }

// WithClass returns the code with its class replaced by the first digit of an
// SMTP reply code, which it must agree with (RFC 2034 4).
func (e Enhanced) WithClass(code int) Enhanced {
	e[0] = uint16(code / 100)
	return e
}

// ParseEnhanced reads a status code at the start of s, where a blank or the end
// must follow, and returns how many bytes it took; 0 when there is none. As
// RFC 3463 2 has it: class 2, 4 or 5, at most three digits for the others.
func ParseEnhanced(s string) (Enhanced, int) {
	var e Enhanced
	if len(s) < 5 || (s[0] != '2' && s[0] != '4' && s[0] != '5') || s[1] != '.' {
		return e, 0
	}
	e[0] = uint16(s[0] - '0')
	i := 2
	for part := 1; part <= 2; part++ {
		start := i
		for i < len(s) && i-start < 3 && isDigit(s[i]) {
			e[part] = e[part]*10 + uint16(s[i]-'0')
			i++
		}
		if i == start {
			return Enhanced{}, 0
		}
		if part == 1 {
			if i >= len(s) || s[i] != '.' {
				return Enhanced{}, 0
			}
			i++
		}
	}
	if i < len(s) && s[i] != ' ' && s[i] != '\t' && s[i] != '\n' {
		return Enhanced{}, 0
	}
	return e, i
}

func isDigit(c byte) bool { return c-'0' <= 9 }
