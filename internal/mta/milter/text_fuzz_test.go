package milter

import (
	"strings"
	"testing"
)

// A reply that a filter asks for is one reply, whose lines have the same code, and is the same, but for blanks, when it is read again.
func FuzzParseText(f *testing.F) {
	for _, s := range []string{
		"550 5.7.1 no", "451-4.7.1 one\r\n451 4.7.1 two", "550 a\r\n250 ok\r\n", "550-5.1.1 a\n550-5.1.2 b\n550 c", "554 %%x %", "450 \r\x00\x7f", "5500", "550 4.1.1 x", "421", "400 4.0.000\r0", "500 %00000", "400 4.0.00\n 0",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseText(text)
		if err != nil {
			return
		}
		wire := string(r.Append(nil))
		lines := strings.Split(strings.TrimSuffix(wire, "\r\n"), "\r\n")
		for i, line := range lines {
			sep := byte('-')
			if i == len(lines)-1 {
				sep = ' '
			}
			if len(line) < 4 || line[:3] != text[:3] || line[3] != sep || strings.ContainsAny(line, "\r\n\x00") {
				t.Fatalf("%q is sent as %q", text, wire)
			}
		}
		if r.Code < 400 || r.Code > 599 || len(wire) > 16*len(text)+16 {
			t.Errorf("%q is %+v", text, r)
		}
		// A lone "%" was left out, "%%" was "%". Whether a digit behind the code fits it is asked before that.
		again, err := parseText(strings.ReplaceAll(wire, "%", "%%"))
		if err != nil && strings.Contains(text, "%") {
			return
		}
		if err != nil || unblanked(string(again.Append(nil))) != unblanked(wire) {
			t.Errorf("%q is sent as %q, and then as %q, %v", text, wire, again.Append(nil), err)
		}
	})
}

func unblanked(s string) string { return strings.ReplaceAll(s, " ", "") }
