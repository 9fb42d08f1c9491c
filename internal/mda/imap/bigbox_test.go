package imap

import (
	"bufio"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// bigBox is how many messages a large mailbox has.
const bigBox = 200_000

// BenchmarkBigMailbox opens a mailbox of 200,000 messages and fetches the flags of all,
// with a process that did not have it open (cold) and one that has (warm). The
// originals are measured on the same mailbox.
func BenchmarkBigMailbox(b *testing.B) {
	home := b.TempDir()
	set := map[string]string{"mail_location": "sdbox:" + home + "/mail"}
	first := newTestServer(b, set)
	c, r := benchBox(b, first, bigBox)
	mustRun(b, c, r, "a LOGOUT")
	c.Close()
	first.pool.Close()
	if os.Getuid() == 0 { // Dovecot's runs as another
		if err := os.Chmod(filepath.Dir(home), 0o755); err != nil {
			b.Fatal(err)
		}
		err := filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !strings.HasPrefix(d.Name(), "u.") { // nobody opens messages
				err = os.Lchown(path, 65534, 65534)
			}
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	open := func(b *testing.B, c net.Conn) (*bufio.Reader, net.Conn) {
		r := bufio.NewReaderSize(c, 1<<20)
		r.ReadString('\n')
		mustRun(b, c, r, "a SELECT INBOX")
		return r, c
	}
	fetch := func(b *testing.B, c net.Conn, r *bufio.Reader) {
		if n := mustRun(b, c, r, "a FETCH 1:* (FLAGS)"); n != bigBox {
			b.Fatal(n, "rows")
		}
	}
	dials := map[string]func(b *testing.B) net.Conn{
		"ours": func(b *testing.B) net.Conn {
			c, _ := newTestServer(b, set).serve(b)
			return c
		},
		"theirs": func(b *testing.B) net.Conn { return dovecotDialer(b, set)(b) },
	}
	for _, who := range []string{"ours", "theirs"} {
		b.Run(who+"/cold", func(b *testing.B) {
			for b.Loop() {
				r, c := open(b, dials[who](b))
				fetch(b, c, r)
				c.Close()
			}
		})
		b.Run(who+"/warm", func(b *testing.B) {
			before := memory()
			r, c := open(b, dials[who](b))
			for b.Loop() {
				mustRun(b, c, r, "a SELECT INBOX")
				fetch(b, c, r)
			}
			if who == "ours" {
				runtime.GC()
				b.ReportMetric(float64(memory()-before)/1e6, "MB")
			}
		})
	}
}
