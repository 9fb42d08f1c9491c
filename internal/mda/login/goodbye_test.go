package login

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/handoff"
)

// TestAnnounced has IMAP4rev2 announced before the login, unless the list is the administrator's.
func TestAnnounced(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		"": "* CAPABILITY IMAP4rev1 IMAP4rev2 SASL-IR ", "imap_capability = +X\n": "* CAPABILITY IMAP4rev1 IMAP4rev2 SASL-IR ",
		"imap_capability = IMAP4rev1\n": "* CAPABILITY IMAP4rev1 STARTTLS ",
	} {
		if out := converse(t, newTestServer(t, "imap", config), "a CAPABILITY\r\nb LOGOUT\r\n"); !strings.Contains(out, want) {
			t.Errorf("%q: got %q, want %q", config, out, want)
		}
	}
}

// A parting mail process is told to stop when the login process is, and takes a moment to say goodbye.
type parting struct {
	stopped <-chan struct{}
	text    string        // its last words
	silent  chan struct{} // closed when it may go
}

func (m *parting) Pass(_ context.Context, l *handoff.Login, conn syscall.Conn) (Passed, error) {
	c, err := dupConn(conn)
	if err != nil {
		return Passed{}, err
	}
	go func() {
		defer c.Close()
		io.WriteString(c, l.Tag+" OK Logged in\r\n")
		<-m.stopped
		time.Sleep(20 * time.Millisecond) // the relay knows of the stop first
		io.WriteString(c, m.text)
		<-m.silent
	}()
	return Passed{PID: 99}, nil
}

// TestGoodbye ends the login process and the mail process together: a client with TLS reads what the mail process
// says last. One whose mail process does not end is cut off.
func TestGoodbye(t *testing.T) {
	t.Parallel()
	for name, ends := range map[string]bool{"ends": true, "hangs": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stopped, silent := make(chan struct{}), make(chan struct{})
			mail := &parting{stopped: stopped, text: "* BYE Server shutting down.\r\n", silent: silent}
			if ends {
				close(silent)
			} else {
				defer close(silent)
			}
			s := newTestServer(t, "imap", "", func(c *Config) { c.Pass = mail })
			if !ends {
				s.goodbyeTime = time.Second
			}
			raw, err := net.Dial("tcp", s.Addr("imaps"))
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true}) // the tests' own server
			conn.SetDeadline(time.Now().Add(time.Minute))
			io.WriteString(conn, "a LOGIN bob pass\r\n")
			var got strings.Builder
			for b := make([]byte, 1000); !strings.Contains(got.String(), "a OK"); {
				n, err := conn.Read(b)
				if err != nil {
					t.Fatalf("after %q: %v", got.String(), err)
				}
				got.Write(b[:n])
			}
			close(stopped)
			s.stop()
			rest, err := io.ReadAll(conn)
			if string(rest) != mail.text || err != nil {
				t.Errorf("last words are %q, %v", rest, err)
			}
		})
	}
}
