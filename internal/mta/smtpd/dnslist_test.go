package smtpd

import (
	"net/netip"
	"testing"
)

func TestAddrPattern(t *testing.T) {
	for _, tt := range []struct {
		pattern   string
		match, no []string // addresses; a pattern without is none
	}{
		{"127.0.0.2", []string{"127.0.0.2"}, []string{"127.0.0.1", "127.0.0.20"}},
		{"127.0.0.[1..3;9]", []string{"127.0.0.1", "127.0.0.3", "127.0.0.9"}, []string{"127.0.0.4", "127.0.0.0"}},
		{"[10;127].0.[0..255].[2]", []string{"10.0.7.2", "127.0.255.2"}, []string{"10.1.7.2"}},
		{"127.0.0", nil, nil},
		{"127.0.0.2.3", nil, nil},
		{"127.0.0.256", nil, nil},
		{"127.0.0.[3..1]", nil, nil},
		{"127.0.0.[1", nil, nil},
		{"127.0.0.[]", nil, nil},
		{"127.0.[1]0.2", nil, nil},
		{"", nil, nil},
		{"a.b.c.d", nil, nil},
	} {
		p, err := parseAddrPattern(tt.pattern)
		if (err == nil) != (tt.match != nil) {
			t.Errorf("%s: %v", tt.pattern, err)
		}
		for _, addr := range tt.match {
			if !p.match(netip.MustParseAddr(addr)) {
				t.Errorf("%s does not match %s", tt.pattern, addr)
			}
		}
		for _, addr := range tt.no {
			if p.match(netip.MustParseAddr(addr)) {
				t.Errorf("%s matches %s", tt.pattern, addr)
			}
		}
	}
}

// FuzzAddrPattern reads anything as a pattern; one that is right matches something.
func FuzzAddrPattern(f *testing.F) {
	f.Add("127.0.0.[1..3;9]")
	f.Add("1.2.3.4")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseAddrPattern(text)
		if err != nil {
			return
		}
		for i := range p {
			empty := true
			for n := range p[i] {
				empty = empty && !p[i][n]
			}
			if empty {
				t.Errorf("%q: octet %d matches nothing", text, i)
			}
		}
	})
}
