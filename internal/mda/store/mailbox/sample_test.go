package mailbox

import (
	"archive/tar"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// unpackSamples unpacks mailboxes written by Dovecot 2.3.19.
func unpackSamples(tb testing.TB, dir string) {
	tb.Helper()
	unpack(tb, "testdata/sdbox-2.3.19.tar.gz", dir)
}

func unpack(tb testing.TB, archive, dir string) {
	tb.Helper()
	f, err := os.Open(archive)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		if err == nil {
			path := filepath.Join(dir, filepath.Clean("/"+h.Name))
			if h.Typeflag == tar.TypeDir {
				err = os.MkdirAll(path, 0o700)
			} else {
				var data []byte
				if data, err = io.ReadAll(r); err == nil {
					err = os.WriteFile(path, data, 0o600)
				}
			}
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
}

// TestSamples compares with what doveadm fetch said of the same mailboxes.
func TestSamples(t *testing.T) {
	const inboxTail = "5\t\\Recent\t16\t392574061cae026b577d000083ecc375\t384\t2026-11-22 08:55:56\n"
	projects := "1\t$Forwarded \\Recent \\Seen\t3\tb8b005051cae026b567d000083ecc375\t164\t2024-01-01 10:00:01\n" +
		"2\tCustom \\Flagged \\Recent\t4\te8f337051cae026b567d000083ecc375\t164\t2024-01-01 10:00:03\n" +
		"messages=2 recent=2 uidnext=3 uidvalidity=1795337756 unseen=1 highestmodseq=4 guid=e7429d041cae026b567d000083ecc375\n"
	for _, c := range []struct{ name, want string }{
		{"sdbox/mail/mailboxes/INBOX", "1\t$Forwarded \\Seen\t8\tb8b005051cae026b567d000083ecc375\t164\t2024-01-01 10:00:01\n" +
			"2\t\\Seen\t9\tc04824051cae026b567d000083ecc375\t164\t2024-01-01 10:00:02\n" +
			"3\tCustom \\Flagged\t12\te8f337051cae026b567d000083ecc375\t164\t2024-01-01 10:00:03\n" + inboxTail +
			"messages=4 recent=1 uidnext=6 uidvalidity=1795337758 unseen=2 highestmodseq=16 guid=182bef041cae026b567d000083ecc375\n"},
		{"sdbox-rotated/mail/mailboxes/INBOX", "1\t$Forwarded AfterRotate \\Seen\t18\tb8b005051cae026b567d000083ecc375\t164\t2024-01-01 10:00:01\n" +
			"2\t\\Seen\t9\tc04824051cae026b567d000083ecc375\t164\t2024-01-01 10:00:02\n" +
			"3\tCustom \\Flagged\t12\te8f337051cae026b567d000083ecc375\t164\t2024-01-01 10:00:03\n" +
			"5\tAfterRotate \\Answered \\Recent\t18\t392574061cae026b577d000083ecc375\t384\t2026-11-22 08:55:56\n" +
			"messages=4 recent=1 uidnext=6 uidvalidity=1795337758 unseen=2 highestmodseq=18 guid=182bef041cae026b567d000083ecc375\n"},
		{"sdbox/mail/mailboxes/Work/Projects", projects},
		{"sdbox-rotated/mail/mailboxes/Work/Projects", projects},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("TZ", "UTC")
			w := newWorld(t)
			unpackSamples(t, w.root)
			m := openSample(t, w, c.name)
			if d := cmp.Diff(c.want, ourTable(t, m)); d != "" {
				t.Errorf("(-Dovecot +ours)\n%s", d)
			}
		})
	}
}

func openSample(t testing.TB, w *world, name string) *Mailbox {
	t.Helper()
	m, err := w.pool.Open(ctx, Location{Format: "sdbox", Name: name, Dir: filepath.Join(w.root, name, "dbox-Mails")}, &w.set)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}
