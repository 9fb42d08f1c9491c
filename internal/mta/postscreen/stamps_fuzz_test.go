package postscreen

import (
	"strings"
	"testing"
)

// What the cache says of a client is the same when it is written and read again, and nothing in it makes a time that is none.
func FuzzParseStamps(f *testing.F) {
	for _, s := range []string{"1;2;3;4;5", "1;2;3;0;0;9", "", ";;;;", "-1;+2; 3;4x;99999999999999999999", "1\x00;2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		s := parseStamps(value)
		for i, n := range s {
			if n < 0 {
				t.Errorf("%q: time %d of test %d", value, n, i)
			}
		}
		written := s.format()
		if again := parseStamps(written); again != s {
			t.Errorf("%q: %v, written %q, becomes %v", value, s, written, again)
		}
		if strings.Trim(written, "0123456789;") != "" {
			t.Errorf("%q is written %q", value, written)
		}
	})
}
