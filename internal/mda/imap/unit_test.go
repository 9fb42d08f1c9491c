package imap

import (
	"bytes"
	"testing"
)

// TestSkipVirtual compares with what a conversion of the whole text gives.
func TestSkipVirtual(t *testing.T) {
	for _, text := range []string{"a\nbc\n\nd", "a\r\nb\nc\r\n\r\n", "\n\n\n", "abc", "\r\n", "a\rb\n"} {
		full := appendCRLF(nil, []byte(text))
		for from := int64(1); from <= int64(len(full)); from++ {
			for _, size := range []int{1, 2, 3, 100} {
				// As seekVirtual does, in chunks of size.
				var at, virtual int64
				cr := false
				for virtual < from {
					chunk := []byte(text)[at:min(int(at)+size, len(text))]
					used, n := skipVirtual(chunk, from-virtual, cr)
					at += int64(used)
					virtual += n
					cr = chunk[used-1] == '\r'
				}
				rest := []byte(text)[at:]
				got := appendCRLF(nil, rest)
				if cr && len(rest) > 0 && rest[0] == '\n' {
					got = append([]byte("\n"), appendCRLF(nil, rest[1:])...)
				}
				if virtual > from {
					got = append([]byte("\n"), got...)
				}
				if !bytes.Equal(got, full[from:]) {
					t.Errorf("%q from %d in chunks of %d: %q, want %q", text, from, size, got, full[from:])
				}
			}
		}
	}
}

func TestCapability(t *testing.T) {
	tests := []struct {
		name string
		set  Settings
		has  features
		want string
	}{
		{"built in", Settings{}, features{}, builtinCapability + " LITERAL+"},
		{"special use", Settings{}, features{specialUse: true}, builtinCapability + " LITERAL+ SPECIAL-USE"},
		{"replaced", Settings{Capability: "IMAP4rev1 FOO"}, features{specialUse: true}, "IMAP4rev1 FOO"},
		{"added to", Settings{Capability: "+FOO BAR"}, features{}, builtinCapability + " FOO BAR LITERAL+"},
		{"literal minus", Settings{LiteralMinus: true}, features{}, builtinCapability + " LITERAL-"},
		{"metadata", Settings{Metadata: true}, features{specialUse: true, attributes: true}, builtinCapability + " LITERAL+ METADATA LIST-METADATA FILTERS SPECIAL-USE"},
		{"notify", Settings{}, features{notify: true}, builtinCapability + " LITERAL+ NOTIFY"},
		{"urlauth", Settings{URLAuthHost: "*", Metadata: true}, features{attributes: true}, builtinCapability + " LITERAL+ URLAUTH URLAUTH=BINARY METADATA LIST-METADATA FILTERS"},
		{"urlauth without dictionary", Settings{URLAuthHost: "*"}, features{}, builtinCapability + " LITERAL+"},
		{"metadata without dictionary", Settings{Metadata: true}, features{}, builtinCapability + " LITERAL+"},
		{"largest message", Settings{}, features{maxMail: 500}, builtinCapability + " LITERAL+ APPENDLIMIT=500"},
		{"dictionary only", Settings{}, features{attributes: true}, builtinCapability + " LITERAL+"},
	}
	for _, tt := range tests {
		if got := Capability(&tt.set, tt.has); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestID(t *testing.T) {
	for send, want := range map[string]string{
		"name *":             `("name" "Dovecot")`,
		"name * version 2.3": `("name" "Dovecot" "version" "2.3")`,
		"name Foo support *": `("name" "Foo" "support" NIL)`,
		"name Foo os *":      `("name" "Foo" "os" "Linux")`,
		"":                   "NIL",
		"name":               `("name" NIL)`,
	} {
		if got := string(AppendID(nil, send)); got != want {
			t.Errorf("%q: %s, want %s", send, got, want)
		}
	}
}
