package smtpd

import (
	"strconv"
	"strings"
	"testing"
)

// A refusal out of a table is one reply, of one line, and is the same when it is read again.
func FuzzParseRefusal(f *testing.F) {
	for _, s := range []string{"550 5.7.1 no", "450 4.2.0 later\r\n250 yes", "550 5.7.1", "250 2.0.0 ok", "550 4.7.1 x", "5\xff0 x", "554  x\x00\xc2\x85"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, ok := parseRefusal(text)
		if !ok {
			return
		}
		wire := string(r.Append(nil))
		if strings.Count(wire, "\n") != 1 || !strings.HasSuffix(wire, "\r\n") || strings.ContainsAny(strings.TrimSuffix(wire, "\r\n"), "\r\x00") {
			t.Errorf("%q is sent as %q", text, wire)
		}
		if r.Code < 400 || r.Code > 599 || !r.Enhanced.IsZero() && int(r.Enhanced[0]) != r.Code/100 {
			t.Errorf("%q is %+v", text, r)
		}
		if again, ok := parseRefusal(strings.TrimSuffix(wire, "\r\n")); !ok || again != r {
			t.Errorf("%q is %+v, and then %+v, %v", text, r, again, ok)
		}
	})
}

// The address of an XCLIENT is the same when it is written and read again.
func FuzzParseAddr(f *testing.F) {
	for _, s := range []string{"192.0.2.1", "IPv6:2001:db8::1", "ipv6:::ffff:192.0.2.1", "::1", "fe80::1%lo", "IPv6:", "[UNAVAILABLE]", "1.2.3.4\r\nX"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		addr, ok := parseAddr(value)
		if !ok {
			return
		}
		if again, ok := parseAddr(addr.String()); !ok || again != addr || addr.Zone() != "" || addr.Is4In6() {
			t.Errorf("%q: %v becomes %v, %v", value, addr, again, ok)
		}
	})
}

// The size of a chunk is never negative, and is the same when it is written and read again.
func FuzzParseChunk(f *testing.F) {
	for _, s := range []string{"0", "10 LAST", "007 last", "5  ", "-1", "+1", "999999999999999999", "9999999999999999999 LAST", "1 FIRST", "0x10", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, args string) {
		size, last, ok := parseChunk([]byte(args))
		if !ok {
			return
		}
		written := strconv.FormatInt(size, 10)
		if last {
			written += " LAST"
		}
		if again, same, ok := parseChunk([]byte(written)); !ok || size < 0 || again != size || same != last {
			t.Errorf("%q: %d, %v becomes %d, %v, %v", args, size, last, again, same, ok)
		}
		if strings.Trim(args[:1], "0123456789") != "" {
			t.Errorf("%q is a size", args)
		}
	})
}
