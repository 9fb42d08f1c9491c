package wire

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

func TestEscape(t *testing.T) {
	tests := []struct{ text, escaped string }{
		{"plain", "plain"},
		{"", ""},
		{"a\tb\nc\rd\x00e\x01f", "a\x01tb\x01nc\x01rd\x010e\x011f"},
		{"\t", "\x01t"},
	}
	for _, test := range tests {
		if got := string(AppendEscaped(nil, test.text)); got != test.escaped {
			t.Errorf("AppendEscaped(%q) = %q, want %q", test.text, got, test.escaped)
		}
		if got := Unescape(test.escaped); got != test.text {
			t.Errorf("Unescape(%q) = %q, want %q", test.escaped, got, test.text)
		}
	}
	for escaped, want := range map[string]string{"a\x01": "a", "\x01x": "x"} {
		if got := Unescape(escaped); got != want {
			t.Errorf("Unescape(%q) = %q, want %q", escaped, got, want)
		}
	}
}

func TestParseID(t *testing.T) {
	for text, want := range map[string]uint32{"0": 0, "1": 1, "4294967295": 4294967295} {
		if got, ok := ParseID([]byte(text)); !ok || got != want {
			t.Errorf("ParseID(%q) = %d, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "-1", "+1", "4294967296", "99999999999", "1x"} {
		if _, ok := ParseID([]byte(text)); ok {
			t.Errorf("ParseID(%q) is accepted", text)
		}
	}
}

// TestWriter has many writers, and checks that no line is torn or lost.
func TestWriter(t *testing.T) {
	client, server := net.Pipe()
	w := NewWriter(server)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				w.Append(func(b []byte) []byte { return append(b, "line\n"...) })
			}
		})
	}
	go func() {
		wg.Wait()
		w.Hold()
		w.Append(func(b []byte) []byte { return append(b, "line\n"...) })
		w.Release()
		server.Close()
	}()
	out, err := io.ReadAll(client)
	if err != nil || string(out) != strings.Repeat("line\n", 801) {
		t.Errorf("%d bytes, %v", len(out), err)
	}
	if w.Append(func(b []byte) []byte { return append(b, 'x') }) == nil {
		t.Error("no error after the end")
	}
}

func FuzzUnescape(f *testing.F) {
	f.Add("a\x01tb\x01")
	f.Fuzz(func(t *testing.T, text string) {
		Unescape(text)
		escaped := AppendEscaped(nil, text)
		if strings.ContainsAny(string(escaped), "\x00\t\r\n") || Unescape(string(escaped)) != text {
			t.Errorf("%q became %q", text, escaped)
		}
	})
}
