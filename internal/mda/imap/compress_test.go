package imap

import (
	"bufio"
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/handoff"
	"github.com/google/go-cmp/cmp"
)

// compressing is a client with COMPRESS=DEFLATE.
type compressing struct {
	net.Conn
	r io.Reader
	w *flate.Writer
}

func newCompressing(t *testing.T, c net.Conn) *compressing {
	w, err := flate.NewWriter(c, 9)
	if err != nil {
		t.Fatal(err)
	}
	return &compressing{c, flate.NewReader(c), w}
}

func (c *compressing) Read(p []byte) (int, error) { return c.r.Read(p) }

func (c *compressing) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if err == nil {
		err = c.w.Flush()
	}
	return n, err
}

var zlibPlugins = map[string]string{"mail_plugins": "zlib imap_zlib", "plugin/imap_compress_deflate_level": "3"}

// compressedDialogue says things before and after COMPRESS and returns what is answered.
func compressedDialogue(t *testing.T, conn net.Conn) (got []string) {
	t.Helper()
	say := func(c net.Conn, r *bufio.Reader, text string) {
		got = append(got, talk(t, c, r, text+"\r\n", "a "))
	}
	plain := bufio.NewReader(conn)
	talk(t, conn, plain, "", "* PREAUTH")
	for _, bad := range []string{"a COMPRESS", "a COMPRESS \"DEFLATE\"", "a COMPRESS DEFLATE x", "a COMPRESS FOO", "a COMPRESS DEFLATE"} {
		say(conn, plain, bad)
	}
	c := newCompressing(t, conn)
	r := bufio.NewReader(c)
	say(c, r, "a COMPRESS DEFLATE")
	body := "Subject: x\r\n\r\n" + strings.Repeat("one line of a message\r\n", 10000)
	say(c, r, fmt.Sprintf("a APPEND INBOX {%d+}\r\n%s", len(body), body))
	say(c, r, "a SELECT INBOX")
	say(c, r, "a FETCH 1 BODY[]")
	say(c, r, "a NOOP\r\na NOOP")
	got = append(got, talk(t, c, r, "", "a "))
	say(c, r, "a LOGOUT")
	// The end of the last flush may come when the server has closed.
	if rest, err := io.ReadAll(conn); err != nil && !errors.Is(err, syscall.ECONNRESET) || len(rest) > 0 {
		t.Errorf("after LOGOUT: %d bytes, %v", len(rest), err)
	}
	return got
}

// TestCompress has the same dialogue with the real Dovecot.
func TestCompress(t *testing.T) {
	if _, err := os.Stat(dovecotIMAP); err != nil {
		t.Fatal("Dovecot is not installed: run test/install-packages")
	}
	srv := newTestServer(t, zlibPlugins)
	ours := compressedDialogue(t, srv.dial(t))
	theirs := compressedDialogue(t, newDovecot(t, zlibPlugins)(t))
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("dialogue differs (-Dovecot +ours):\n%s", diff)
	}
}

// TestCompressOff has no command without the plugin.
func TestCompressOff(t *testing.T) {
	c := newTestServer(t, nil).dial(t)
	r := bufio.NewReader(c)
	talk(t, c, r, "", "* PREAUTH")
	if got := talk(t, c, r, "a COMPRESS DEFLATE\r\n", "a "); !strings.HasPrefix(got, "a BAD Error in IMAP command COMPRESS: Unknown command") {
		t.Errorf("%q", got)
	}
}

// TestCompressIdle is IDLE in a compressed session, whose client sends DONE in pieces and flushes
// nothing in between.
func TestCompressIdle(t *testing.T) {
	srv := newTestServer(t, zlibPlugins)
	for _, tt := range []struct {
		name string
		dial func() net.Conn
	}{
		{"socket", func() net.Conn { return srv.dial(t) }},
		{"no descriptor", func() net.Conn {
			client, conn := tcpPair(t)
			user := srv.open(t)
			go func() {
				defer user.Close()
				srv.srv.Serve(srv.ctx, struct{ net.Conn }{conn}, handoff.Login{}, user)
			}()
			return client
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn := tt.dial()
			defer conn.Close()
			plain := bufio.NewReader(conn)
			talk(t, conn, plain, "", "* PREAUTH")
			talk(t, conn, plain, "a SELECT INBOX\r\nb COMPRESS DEFLATE\r\n", "b ")
			c := newCompressing(t, conn)
			r := bufio.NewReader(c)
			talk(t, c, r, "a IDLE\r\n", "+ ")
			var done bytes.Buffer
			w, _ := flate.NewWriter(&done, 6)
			w.Write([]byte("DONE\r\n"))
			w.Flush()
			w.Flush() // an empty block: nothing to read
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				for _, b := range done.Bytes() {
					conn.Write([]byte{b})
					time.Sleep(time.Millisecond) // so that it comes by itself
				}
			}()
			if got := talk(t, c, r, "", "a "); got != "a OK Idle completed (T).\r\n" {
				t.Errorf("%q", got)
			}
			<-sent
			c.w.Reset(conn)
			if got := talk(t, c, r, "a NOOP\r\n", "a "); got != "a OK NOOP completed (T).\r\n" {
				t.Errorf("%q", got)
			}
		})
	}
}

// TestCompressCorrupt ends a session that sends no deflate stream.
func TestCompressCorrupt(t *testing.T) {
	srv := newTestServer(t, zlibPlugins)
	conn, done := srv.serve(t)
	r := bufio.NewReader(conn)
	talk(t, conn, r, "", "* PREAUTH")
	talk(t, conn, r, "a COMPRESS DEFLATE\r\n", "a ")
	conn.Write(bytes.Repeat([]byte{0xff}, 100))
	if got := lastLog(t, srv, done); !strings.Contains(got, "Disconnected: Connection closed: inflate: corrupt deflate stream") {
		t.Errorf("%q", got)
	}
}
