package table

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestListFileComments shows that a "#" ends its line of a file, not the file.
func TestListFileComments(t *testing.T) {
	file := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(file, []byte("# all\na # b c\n  # d\ne\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var w warnings
	l, err := OpenList("mydestination", file, Strings, w.options())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"a": true, "b": false, "d": false, "e": true} {
		if got, err := l.Match(context.Background(), name); got != want || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// TestNetworksByName matches clients by name, with and without
// parent_domain_matches_subdomains.
func TestNetworksByName(t *testing.T) {
	matches := map[string][]string{
		"example.com":            {"example.com", "below a.example.com", "below example.com"},
		".example.com":           {"a.example.com"},
		"inline:{example.com=1}": {"example.com", "below a.example.com", "below example.com"},
	}
	for value, want := range matches {
		var got []string
		for _, below := range []bool{false, true} {
			var w warnings
			n, err := OpenNetworks("mynetworks", value, w.options())
			if err != nil {
				t.Fatal(err)
			}
			n.Subdomains = below
			for _, host := range []string{"a.example.com", "example.com", "unknown"} {
				ok, err := n.MatchAddr(context.Background(), host, netip.MustParseAddr("192.0.2.1"))
				if err != nil {
					t.Error(err)
				}
				if ok && below {
					host = "below " + host
				}
				if ok {
					got = append(got, host)
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s matches %q, want %q", value, got, want)
		}
	}
}
