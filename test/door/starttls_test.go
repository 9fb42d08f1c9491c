package door

import (
	"bufio"
	"crypto/tls"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// TestCommandsBeforeTLS sends commands behind STARTTLS, without waiting for the handshake: who
// sits in the middle must not get them into the session that TLS protects (CVE-2011-0411).
func TestCommandsBeforeTLS(t *testing.T) {
	t.Parallel()
	var said [2][]string
	for i, p := range programs {
		tr := harness.StartTransport(t, p, harness.TransportOptions{})
		for _, injected := range []string{"NOOP\r\n", "MAIL FROM:<forged@origin.example>\r\n", "EHLO forged.example\r\nMAIL FROM:<forged@origin.example>\r\nRCPT TO:<user0@example.test>\r\n", "\r\n"} {
			conn := dial(t, tr.SMTP)
			r := bufio.NewReader(conn)
			say(t, conn, r, "")
			say(t, conn, r, "EHLO client.example\r\n")
			if got := say(t, conn, r, "STARTTLS\r\n"+injected); !strings.HasPrefix(got, "220 ") {
				t.Fatalf("%v: STARTTLS and %q give %q", p, injected, got)
			}
			if r.Buffered() > 0 {
				t.Errorf("%v: there is a reply before the handshake to %q", p, injected)
			}
			secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // the test's own server
			r = bufio.NewReader(secure)
			for _, command := range []string{"RCPT TO:<user0@example.test>\r\n", "NOOP\r\n", "QUIT\r\n"} {
				said[i] = append(said[i], say(t, secure, r, command))
			}
		}
	}
	if diff := cmp.Diff(said[0], said[1]); diff != "" {
		t.Errorf("(-Postfix +Dovetail):\n%s", diff)
	}
	if want := "503 5.5.1 Error: need MAIL command\r\n"; said[0][0] != want {
		t.Errorf("Postfix answers RCPT with %q, want %q", said[0][0], want)
	}
}

// say says something and returns the reply.
func say(t *testing.T, conn io.Writer, r *bufio.Reader, text string) string {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	var reply strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("after %q: %v", text, err)
		}
		reply.WriteString(line)
		if len(line) < 4 || line[3] != '-' {
			return reply.String()
		}
	}
}
