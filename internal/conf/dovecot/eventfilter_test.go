package dovecot

import (
	"strings"
	"testing"
)

// TestEventFilter has what a configuration file cannot: the comparisons with
// doveconf's messages are in package doveconf.
func TestEventFilter(t *testing.T) {
	for filter, want := range map[string]string{
		"":                              "",
		"event=a AND NOT (b<3 OR c>=4)": "",
		"a=b\n\tand\r\nc=d":             "",
		strings.Repeat("(", 5000):       "event filter: memory exhausted",
		strings.Repeat("not ", 5000):    "event filter: memory exhausted",
	} {
		got := ""
		if err := checkEventFilter(filter); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%.20q: %q, want %q", filter, got, want)
		}
	}
}

func FuzzEventFilter(f *testing.F) {
	for _, s := range []string{"event=a", `NOT ("x y"<=5 or category=*)`, "a=and b", `"\"`, "(", "a>", "ü"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if err := checkEventFilter(s); err != nil && !strings.HasPrefix(err.Error(), "event filter: ") {
			t.Error(err)
		}
	})
}

func FuzzHidden(f *testing.F) {
	for _, s := range []string{"password=x y", "http://u:p@h/ https://h", " key # x", "nopassword=x", "pass", "secret =x;y"} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, s string, quote bool) {
		out, any := appendHidden(nil, "args", s, quote)
		if !any && len(out) > 0 {
			t.Errorf("%q was written although nothing is hidden", out)
		}
	})
}
