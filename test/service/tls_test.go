package service

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// An encrypted client is one behind a TLS handshake that the test did itself.
type encrypted struct {
	net.Conn
	r *bufio.Reader
}

// encrypt begins TLS on a connection whose server has agreed to it.
func encrypt(t *testing.T, conn net.Conn) *encrypted {
	t.Helper()
	c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // the tests' own server
	c.SetDeadline(time.Now().Add(60 * time.Second))
	if err := c.Handshake(); err != nil {
		t.Fatalf("TLS: %v", err)
	}
	return &encrypted{c, bufio.NewReader(c)}
}

// expect sends text and wants the next lines to begin so.
func (c *encrypted) expect(t *testing.T, text string, wants ...string) {
	t.Helper()
	c.SetDeadline(time.Now().Add(60 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	for _, want := range wants {
		line, err := c.r.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, want) {
			t.Fatalf("%q gives %q, %v; want %q", text, line, err, want)
		}
	}
}

// lmtps adds a listener with TLS from the first byte.
func lmtps(t *testing.T) (config, addr string) {
	port := harness.FreePort(t)
	return fmt.Sprintf("service lmtp {\n  inet_listener lmtps {\n    address = 127.0.0.1\n    port = %d\n    ssl = yes\n  }\n}\n", port),
		fmt.Sprintf("127.0.0.1:%d", port)
}

const mailFromTLS = "MAIL FROM:<sender@example.org>\r\nRCPT TO:<user0@example.test>\r\nDATA\r\nSubject: encrypted\r\n\r\ntext\r\n.\r\n"

// Mail comes by LMTP over TLS, from the first byte or after STARTTLS, to the
// original as to Dovetail.
func TestLMTPOverTLS(t *testing.T) {
	for _, p := range []harness.Program{harness.Dovetail, harness.Original} {
		t.Run(p.String(), func(t *testing.T) {
			extra, addr := lmtps(t)
			mb := harness.StartMailbox(t, p, harness.MailboxOptions{Extra: extra})

			c, err := harness.DialTLS(addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if hello := c.Expect(t, "LHLO client.example.org", "250-"); strings.Contains(hello, "STARTTLS") {
				t.Errorf("STARTTLS is offered within TLS: %s", hello)
			}
			c.Put(mailFromTLS)
			for _, want := range []string{"250 2.1.0", "250 2.1.5", "354 ", "250 2.0.0 <user0@example.test>"} {
				c.Expect(t, "", want)
			}

			plain := harness.Connect(t, mb.LMTP)
			if hello := plain.Expect(t, "LHLO client.example.org", "250-"); !strings.Contains(hello, "STARTTLS") {
				t.Errorf("STARTTLS is not offered: %s", hello)
			}
			plain.Expect(t, "STARTTLS", "220 ")
			e := encrypt(t, plain.Conn)
			e.expect(t, "LHLO client.example.org\r\n", "250-")
			for line := "250-"; strings.HasPrefix(line, "250-"); {
				if line, err = e.r.ReadString('\n'); err != nil || strings.Contains(line, "STARTTLS") {
					t.Fatalf("within TLS: %q, %v", line, err)
				}
			}
			e.expect(t, mailFromTLS, "250 2.1.0", "250 2.1.5", "354 ", "250 2.0.0 <user0@example.test>")
			e.expect(t, "QUIT\r\n", "221 ")

			i := harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX")
			if found, _ := i.Must(t, "SEARCH HEADER Subject encrypted HEADER Received TLS"); strings.Join(found, "") != "* SEARCH 1 2" {
				t.Errorf("delivered over TLS, and saying so: %q", found)
			}
		})
	}
}

// A client that speaks no TLS where it must is sent away, and others are served.
func TestNoTLS(t *testing.T) {
	extra, addr := lmtps(t)
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{Extra: extra})
	for _, to := range []string{addr, mb.IMAPS, mb.POP3S} {
		for _, text := range []string{"LHLO x\r\n", "1 NOOP\r\n", "\x16\x03\x01\x02\x00\x01\x00", strings.Repeat("\x16\x03\x01\x40\x00", 10000)} {
			if answer := say(to, text, "", 300*time.Millisecond); strings.ContainsAny(answer, "+*") || strings.HasPrefix(answer, "220") {
				t.Errorf("%s answers %q in plain text to %q", to, answer, text[:min(len(text), 20)])
			}
		}
		c, err := harness.DialTLS(to)
		if err != nil {
			t.Fatalf("%s: %v", to, err)
		}
		c.Close()
	}
}

// What somebody in the middle sends in plain text along with STARTTLS is not taken
// for what the client says inside TLS, with any protocol (RFC 3207 6, RFC 3501 6.2.1).
func TestInjectedBehindSTARTTLS(t *testing.T) {
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{SocketUser: "postfix"})
	tr := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{Deliver: "lmtp:unix:" + mb.LMTPSocket})
	const envelope = "MAIL FROM:<mallory@example.org>\r\nRCPT TO:<user1@example.test>\r\n"
	for _, tt := range []struct {
		name, addr     string
		before, hello  string // sent before, and how the last line of the answer begins
		start, agreed  string
		injected       string
		after, genuine string // sent inside, and the one line that answers it
	}{
		{"SMTP", tr.SMTP, "EHLO c\r\n", "250 ", "STARTTLS\r\n", "220 ", "EHLO mallory\r\n" + envelope, "DATA\r\n", "503 5.5.1 "},
		{"SMTP within a transaction", tr.SMTP, "EHLO c\r\n", "250 ", "STARTTLS\r\n", "220 ", envelope + "DATA\r\nSubject: injected\r\n\r\n", "NOOP\r\n", "250 2.0.0 "},
		{"LMTP", mb.LMTP, "LHLO c\r\n", "250 ", "STARTTLS\r\n", "220 ", "LHLO mallory\r\n" + envelope, "DATA\r\n", "503 5.5.0 MAIL needed first"},
		{"IMAP", mb.IMAP, "1 NOOP\r\n", "1 OK", "2 STARTTLS\r\n", "2 OK", "3 LOGIN user1@example.test pass\r\n", "4 NOOP\r\n", "4 OK NOOP completed."},
		{"IMAP with a literal cut", mb.IMAP, "1 NOOP\r\n", "1 OK", "2 STARTTLS\r\n", "2 OK", "3 LOGIN user1@example.test {100}\r\nx", "4 NOOP\r\n", "4 OK NOOP completed."},
		{"POP3", mb.POP3, "", "+OK ", "STLS\r\n", "+OK ", "USER user1@example.test\r\n", "PASS pass\r\n", "-ERR No username given."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := harness.Connect(t, tt.addr)
			if tt.before != "" {
				c.Put(tt.before)
				for line := ""; !strings.HasPrefix(line, tt.hello); {
					var err error
					if line, err = c.Line(); err != nil {
						t.Fatal(err)
					}
				}
			}
			c.Put(tt.start + tt.injected) // in one packet
			c.Expect(t, "", tt.agreed)
			e := encrypt(t, c.Conn)
			e.expect(t, tt.after, tt.genuine)
		})
	}
	tr.Empty(t)
	for _, user := range []int{0, 1} {
		i := harness.ConnectIMAP(t, mb.IMAP, user, "INBOX")
		if found, _ := i.Must(t, "SEARCH ALL"); strings.Join(found, "") != "* SEARCH" {
			t.Errorf("user %d has got %q", user, found)
		}
	}
}
