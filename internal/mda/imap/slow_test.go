package imap

import (
	"bufio"
	"io"
	"strings"
	"testing"
	"time"
)

// TestSlowClients has clients that do not read what they have asked for, that send a byte now and then, and that
// send a literal without end. Each costs its own session only: another works on the same mailbox meanwhile, and
// when they go away their sessions end and what they had not finished is not there.
func TestSlowClients(t *testing.T) {
	tests := []struct {
		name string
		act  func(c io.Writer, stop <-chan struct{})
	}{
		{"never reads", func(c io.Writer, _ <-chan struct{}) {
			for range 200 { // 200 MB, more than any socket holds
				io.WriteString(c, "a FETCH 1 BODY.PEEK[]\r\n")
			}
		}},
		{"a byte now and then", func(c io.Writer, stop <-chan struct{}) {
			for _, b := range []byte(strings.Repeat("a STORE 1 +FLAGS (x", 1000)) {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
					c.Write([]byte{b})
				}
			}
		}},
		{"a literal without end", func(c io.Writer, stop <-chan struct{}) {
			io.WriteString(c, "a APPEND INBOX {4000000000+}\r\n")
			chunk := make([]byte, 4096)
			for range 1000 {
				select {
				case <-stop:
					return
				default:
					c.Write(chunk)
				}
			}
			<-stop
		}},
		{"an argument without end", func(c io.Writer, stop <-chan struct{}) {
			io.WriteString(c, "a SEARCH SUBJECT \"")
			chunk := []byte(strings.Repeat("x", 4096))
			for range 1000 {
				select {
				case <-stop:
					return
				default:
					c.Write(chunk)
				}
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv := newTestServer(t, nil)
			other := newTalker(t, srv.dial(t))
			m := strings.Repeat("0123456789abcdef\r\n", 1<<20/18)
			other.say("APPEND INBOX {" + itoa(len(m)) + "+}\r\n" + m)
			other.say("SELECT INBOX")

			slow, done := srv.serve(t)
			talk(t, slow, bufio.NewReader(slow), "s SELECT INBOX\r\n", "s ")
			slow.SetDeadline(time.Time{})
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				tt.act(slow, stop)
			}()
			for range 20 {
				for _, line := range []string{"STORE 1 +FLAGS (\\Seen)", "STORE 1 -FLAGS (\\Seen)", "FETCH 1 (FLAGS RFC822.SIZE)", "APPEND INBOX {3+}\r\nabc", "NOOP"} {
					if got := other.say(line); !strings.Contains(got, "t OK ") {
						t.Fatalf("%s: %q", line, got)
					}
				}
			}
			close(stop)
			slow.Close()
			<-stopped
			select {
			case <-done:
			case <-time.After(time.Minute):
				t.Fatal("the session does not end")
			}
			if got := other.say("STATUS INBOX (MESSAGES)"); !strings.Contains(got, "MESSAGES 21)") {
				t.Errorf("in the end: %q", got)
			}
		})
	}
}
