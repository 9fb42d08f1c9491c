package postscreen

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A filter is a pattern of IPv4 addresses, "127.0.[0;2].[1..10]": which answers of a DNS list count.
type filter [4][256]bool

// parseFilter reads a pattern: each field is a number, or a list in brackets of numbers and ranges
// with semicolons between them.
func parseFilter(text string) (*filter, error) {
	f := new(filter)
	rest := text
	for i := range f {
		var field string
		switch {
		case strings.HasPrefix(rest, "["):
			end := strings.IndexByte(rest, ']')
			if end < 0 {
				return nil, fmt.Errorf("missing \"]\" character at \"%s>><<\"", text)
			}
			field, rest = rest[1:end], rest[end+1:]
		default:
			end := strings.IndexByte(rest, '.')
			if end < 0 {
				end = len(rest)
			}
			field, rest = rest[:end], rest[end:]
		}
		if err := f.field(i, field); err != nil {
			return nil, fmt.Errorf("%w in \"%s\"", err, text)
		}
		if i < len(f)-1 {
			if !strings.HasPrefix(rest, ".") {
				return nil, fmt.Errorf("need four fields separated by \".\" in \"%s\"", text)
			}
			rest = rest[1:]
		}
	}
	if rest != "" {
		return nil, fmt.Errorf("garbage after pattern in \"%s\"", text)
	}
	return f, nil
}

func (f *filter) field(i int, text string) error {
	for item := range strings.SplitSeq(text, ";") {
		first, last, ranged := strings.Cut(item, "..")
		lo, err := octet(first)
		hi := lo
		if err == nil && ranged {
			hi, err = octet(last)
		}
		if err != nil || lo > hi {
			return fmt.Errorf("bad number or range \"%s\"", item)
		}
		for n := lo; n <= hi; n++ {
			f[i][n] = true
		}
	}
	return nil
}

func octet(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 8)
	return int(n), err
}

// matches reports whether the pattern has an address.
func (f *filter) matches(addr netip.Addr) bool {
	if !addr.Is4() {
		return false
	}
	for i, n := range addr.As4() {
		if !f[i][n] {
			return false
		}
	}
	return true
}
