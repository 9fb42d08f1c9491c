package auth

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestPolicyHash(t *testing.T) {
	// The first bits of a digest, as Dovecot tells them for `user` with `password` and the
	// nonce `n`.
	for bits, want := range map[int]string{0: "0123456789abcdef", 64: "0123456789abcdef", 12: "0012", 8: "01", 21: "002468", 1: "00", 63: "0091a2b3c4d5e6f7"} {
		if got := truncateHex("0123456789abcdef", bits); got != want {
			t.Errorf("%d bits: %s, want %s", bits, got, want)
		}
	}
}

func TestPolicyAttributes(t *testing.T) {
	attrs, err := parsePolicyAttrs("b/y=2 a=1 b/x/q=3 c=%u b/x/p=4")
	if err != nil {
		t.Fatal(err)
	}
	got := string(appendAttrs([]byte{'{'}, attrs, "", escapeJSON)) + "}"
	if want := `{"a":"1","b":{"x":{"p":"4","q":"3"},"y":"2"},"c":"%u"}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if _, err := parsePolicyAttrs("a=1 b"); err == nil {
		t.Error("an attribute without value is taken")
	}
}

// Whatever the server answers is understood or refused, and what goes there is JSON.
func FuzzPolicy(f *testing.F) {
	for _, s := range []string{`{"status":-1,"msg":"no"}`, `{"status":"x"}`, `{"msg":1}`, `[]`, `{`, "null", "\x00\xff\"\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := parseVerdict([]byte(text), verdict{status: -1})
		if err == nil && v.status >= 0 && !strings.Contains(text, "status") && !strings.Contains(text, `\u`) {
			t.Errorf("%q allows", text)
		}
		var back string
		if err := json.Unmarshal([]byte(`"`+escapeJSON(text)+`"`), &back); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}
