package doveconf

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// notAgain are samples of which Dovecot, and so this program, prints what it
// would not understand in the same way.
var notAgain = map[string]string{
	"10-filters-sni.txtar":       "several names of a local_name are printed without quotes",
	"13-passwdfile-master.txtar": "lists of more than ten are sorted as text",
	"16-list-order.txtar":        "lists of more than ten are sorted as text",
}

// TestRoundTrip reads what doveconf prints, which is how one gets rid of
// obsolete settings, and wants it unchanged.
func TestRoundTrip(t *testing.T) {
	paths, _ := filepath.Glob("testdata/samples/*.txtar")
	for _, path := range paths {
		if notAgain[filepath.Base(path)] != "" {
			continue
		}
		t.Run(filepath.Base(path), func(t *testing.T) {
			s := unpack(t, path)
			first := doveconf("-n", "-P", "-c", s.dir+"/dovecot.conf")
			printed := filepath.Join(s.dir, "printed.conf")
			if err := os.WriteFile(printed, []byte(first.Stdout), 0o600); err != nil {
				t.Fatal(err)
			}
			again := doveconf("-n", "-P", "-c", printed)
			if diff := cmp.Diff(sameHeader(first.Stdout), sameHeader(again.Stdout)); diff != "" || again.Status != 0 {
				t.Errorf("status %d, %s\n%s", again.Status, again.Stderr, diff)
			}
		})
	}
}

func BenchmarkPrint(b *testing.B) {
	s := unpack(b, "testdata/samples/02-rhel9-stock-layout.txtar")
	for _, option := range []string{"-n", "-a", "mail_location"} {
		b.Run(option, func(b *testing.B) {
			for b.Loop() {
				if got := doveconf(option, "-c", s.dir+"/dovecot.conf"); got.Status != 0 {
					b.Fatal(got.Stderr)
				}
			}
		})
	}
}

// BenchmarkNames prints a configuration with a thousand TLS server names.
func BenchmarkNames(b *testing.B) {
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "local_name mail%d.example.com {\n  ssl_cert = </etc/ssl/%d.pem\n}\n", i, i)
	}
	path := filepath.Join(b.TempDir(), "dovecot.conf")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if got := doveconf("-n", "-c", path); got.Status != 0 {
			b.Fatal(got.Stderr)
		}
	}
}
