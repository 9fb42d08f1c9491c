package imapwire

import "strconv"

// Star is the number that "*" stands for in a [Range]: the last message.
const Star = ^uint32(0)

// A Range is a part of a message set, both ends included. Min is not greater
// than Max; "*" is [Star].
type Range struct{ Min, Max uint32 }

// ParseSet appends the ranges of a message set (RFC 9051 sequence-set) to dst.
func ParseSet(dst []Range, b []byte) ([]Range, bool) {
	for {
		var r Range
		var ok bool
		if r.Min, b, ok = parseSetNumber(b); !ok {
			return dst, false
		}
		r.Max = r.Min
		if len(b) > 0 && b[0] == ':' {
			if r.Max, b, ok = parseSetNumber(b[1:]); !ok {
				return dst, false
			}
			if r.Max < r.Min {
				r.Min, r.Max = r.Max, r.Min
			}
		}
		dst = append(dst, r)
		if len(b) == 0 {
			return dst, true
		}
		if b[0] != ',' {
			return dst, false
		}
		b = b[1:]
	}
}

func parseSetNumber(b []byte) (uint32, []byte, bool) {
	if len(b) > 0 && b[0] == '*' {
		return Star, b[1:], true
	}
	i := 0
	var n uint64
	for ; i < len(b) && '0' <= b[i] && b[i] <= '9'; i++ {
		if n = n*10 + uint64(b[i]-'0'); n >= uint64(Star) {
			return 0, b, false
		}
	}
	return uint32(n), b[i:], n > 0
}

// AppendRanges appends ranges as a message set.
func AppendRanges(b []byte, set []Range) []byte {
	for i, r := range set {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(r.Min), 10)
		if r.Max > r.Min {
			b = append(b, ':')
			b = strconv.AppendUint(b, uint64(r.Max), 10)
		}
	}
	return b
}

// AppendSet appends ascending numbers as a message set: 1:3,5.
func AppendSet(b []byte, numbers []uint32) []byte {
	for i := 0; i < len(numbers); {
		end := i + 1
		for end < len(numbers) && numbers[end] == numbers[end-1]+1 {
			end++
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(numbers[i]), 10)
		if end > i+1 {
			b = append(b, ':')
			b = strconv.AppendUint(b, uint64(numbers[end-1]), 10)
		}
		i = end
	}
	return b
}
