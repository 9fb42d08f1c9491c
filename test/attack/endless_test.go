package attack

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// TestEndlessChunks sends a message in chunks of one byte: Postfix remembered each command until 2026. Nothing is kept
// of them: the bound is 120 bytes for each.
func TestEndlessChunks(t *testing.T) {
	s := start(t, "")
	total := size(100000, 1000000)
	s.under(t, 1, 0, 12, func(t *testing.T) {
		conn, err := dial(s.addr, 1)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(30 * time.Minute))
		if err := converse(conn, toContent[:8]...); err != nil {
			t.Fatal(err)
		}
		go stream(conn, bytes.Repeat([]byte("BDAT 1\r\nx"), 1000), 9*total)
		r := newReplies(conn)
		for i := range total {
			if reply := r.next(); !strings.HasPrefix(reply, "250 2.0.0 Ok: 1 bytes") {
				t.Fatalf("chunk %d gets %q", i, reply)
			}
		}
		if err := converse(conn, "BDAT 2 LAST\r\n\r\n", "250"); err != nil {
			t.Error(err)
		}
	})
	s.Empty(t)
}

// TestEndlessPostscreen has clients of postscreen's own SMTP engine send lines of 10 MB, commands without end, and begin TLS and say nothing:
// before 2026 Postfix kept all of a line.
func TestEndlessPostscreen(t *testing.T) {
	addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	tr := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{
		Main: "postscreen_access_list =\npostscreen_greet_banner =\npostscreen_pipelining_enable = yes\npostscreen_pipelining_action = ignore\npostscreen_bare_newline_enable = yes\n" +
			"postscreen_bare_newline_action = ignore\npostscreen_non_smtp_command_enable = yes\npostscreen_non_smtp_command_action = ignore\npostscreen_command_count_limit = 1000000000\n" +
			"smtpd_client_connection_count_limit = 0\n",
		Master: addr + " inet n - n - 1 postscreen\nsmtpd pass - - n - 1000 smtpd\n",
	})
	harness.WaitTCP(t, tr.Process, addr)
	// The good client comes to smtpd itself, which is in the same process.
	s := &target{tr, tr.SMTP, tr.Child(t, "postfix/mta")}
	if s.letter(t) == 0 {
		t.Fatal("nobody is attacking, and no mail is taken")
	}
	n := size(24, 90) // fewer than make stress
	s.under(t, n, 256, 48, func(t *testing.T) {
		crowd(n, n, func(i int) {
			conn, err := dial(addr, i)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			if err := converse(conn, "", "220"); err != nil {
				t.Error(err)
				return
			}
			piece := []string{"x", "EHLO ", "NOOP\r\n", "MAIL FROM:<a@a.example>\n", "XX\x00\r\n", ""}[i%6]
			if piece == "" {
				if err := converse(conn, "EHLO x\r\n", "250", "STARTTLS\r\n", "220"); err != nil {
					t.Error(err)
				}
				halfHello(conn, i) //nolint:errcheck // it ends anyhow
				return
			}
			conn.SetWriteDeadline(time.Now().Add(3 * time.Second)) // nobody reads the replies: what is sent may be taken no more
			stream(conn, bytes.Repeat([]byte(piece), 64<<10/len(piece)), 10<<20)
		})
	})
}

// TestEndlessReplies delivers to servers whose replies have no end: one line, or many of them. Nothing of them but the beginning is kept, and the
// mail stays in the queue.
func TestEndlessReplies(t *testing.T) {
	total := size(24, 500) << 20
	const kinds = 6
	var ended [kinds]atomic.Bool
	var transport, recipients strings.Builder
	for kind := range kinds {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					endless(conn, kind, total)
					ended[kind].Store(true)
				}()
			}
		}()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		fmt.Fprintf(&transport, " { endless%d.test = smtp:[127.0.0.1]:%s }", kind, port)
		fmt.Fprintf(&recipients, "RCPT TO:<x@endless%d.test>\r\n", kind)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	tr := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{Main: "transport_maps = inline:{" + transport.String() + " }\n", Master: addr + " inet n - n - 100 smtpd\n"})
	harness.WaitTCP(t, tr.Process, addr)
	s := &target{tr, addr, tr.Child(t, "postfix/mta")}
	s.under(t, kinds, 256, 48, func(t *testing.T) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		steps := []string{"", "220", "EHLO x\r\n", "250", "MAIL FROM:<a@a.example>\r\n", "250"}
		for rcpt := range strings.Lines(recipients.String()) {
			steps = append(steps, rcpt, "250")
		}
		if err := converse(conn, append(steps, "DATA\r\n", "354", "x\r\n.\r\n", "250", "QUIT\r\n", "221")...); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, "the ends of all replies", func() bool {
			for i := range ended {
				if !ended[i].Load() {
					return false
				}
			}
			return true
		})
	})
	queue := tr.Postqueue(t, "-p")
	for kind := range kinds {
		if !strings.Contains(queue, fmt.Sprintf("x@endless%d.test", kind)) {
			t.Errorf("server %d: the mail is not in the queue:\n%s", kind, queue)
		}
	}
}

// endless answers a client with no end: to the connection, or to a command, in one line or in many.
func endless(conn net.Conn, kind, total int) {
	piece := bytes.Repeat([]byte("x"), 64<<10)
	if kind%2 == 1 {
		piece = bytes.Repeat([]byte("250-x\r\n"), 8<<10)
	}
	commands := newReplies(conn)
	for i := range kind / 2 { // 0: the greeting, 1: EHLO, 2: MAIL
		if _, err := io.WriteString(conn, []string{"220 ok\r\n", "250 ok\r\n"}[i]); err != nil {
			return
		}
		commands.next()
	}
	io.WriteString(conn, map[bool]string{true: "220-", false: "250-"}[kind < 2])
	stream(conn, piece, total)
}
