package attack

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// stream writes a piece again and again until so many bytes are out, or the server has hung up.
func stream(conn net.Conn, piece []byte, total int) {
	for ; total > 0; total -= len(piece) {
		if _, err := conn.Write(piece); err != nil {
			return
		}
	}
}

// TestEndlessCommandLines has clients that send lines of 10 MB, as commands and as answers to AUTH and with an argument.
func TestEndlessCommandLines(t *testing.T) {
	s := start(t, "")
	n := size(12, 100)
	s.under(t, n, 256, 48, func(t *testing.T) {
		crowd(n, n, func(i int) {
			conn, err := dial(s.addr, i)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			begin := []string{"", "EHLO ", "MAIL FROM:<", "RCPT TO:<"}[i%4]
			if err := converse(conn, "", "220"); err != nil {
				t.Error(err)
				return
			}
			io.WriteString(conn, begin)
			stream(conn, bytes.Repeat([]byte("x"), 64<<10), 10<<20)
			if err := converse(conn, "\r\n", "5", "QUIT\r\n", "221"); err != nil && i%4 != 1 {
				t.Errorf("%s, and 10 MB: %v", begin, err)
			}
		})
	})
}

// TestEndlessContent has clients whose content is one header line, header lines, folded header lines, MIME parts in
// MIME parts, addresses, or a line of the body, without end: no more than message_size_limit is kept, and that on disk.
func TestEndlessContent(t *testing.T) {
	s := start(t, "smtpd_recipient_limit = 10\n")
	n, total := size(12, 48), size(12, 100)<<20
	s.under(t, 12, 2<<10, 32, func(t *testing.T) {
		crowd(n, 12, func(i int) {
			conn, err := dial(s.addr, i)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			begin := []string{"Subject: ", "", "Received: x\r\n", "Content-Type: multipart/mixed; boundary=a\r\n\r\n", "To: ", "Subject: x\r\n\r\n"}[i%6]
			piece := []string{"x", "X-Y: z\r\n", " by x\r\n", "--a\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n", "a@a.example,\r\n ", "x"}[i%6]
			if err := converse(conn, toContent...); err != nil {
				t.Error(err)
				return
			}
			io.WriteString(conn, begin)
			stream(conn, bytes.Repeat([]byte(piece), 64<<10/len(piece)), total)
			if err := converse(conn, "\r\n.\r\n", "552 5.3.4 Error: message file too big"); err != nil {
				t.Errorf("content %q, then %q: %v", begin, piece, err)
			}
		})
	})
}

// TestEndlessRecipients sends RCPT TO without end. By default the client is sent away soon; where smtpd_recipient_limit lets
// it, all are taken, which costs the server at most 1 KB each.
func TestEndlessRecipients(t *testing.T) {
	s := start(t, "smtpd_error_sleep_time = 0\n")
	total := size(20000, 1000000)
	s.under(t, 1, 4<<10, 32, func(t *testing.T) {
		taken, last := s.recipients(t, total)
		if taken != 1000 || !strings.HasPrefix(last, "421 4.7.0 mail.example.test Error: too many errors") {
			t.Errorf("%d recipients are taken, the last reply is %q", taken, last)
		}
	})
	s = start(t, fmt.Sprintf("smtpd_recipient_limit = %d\nsmtpd_timeout = 3600s\n", total))
	s.under(t, total, 1, 32, func(t *testing.T) {
		if taken, last := s.recipients(t, total); taken != total || !strings.HasPrefix(last, "250") {
			t.Errorf("%d recipients are taken, the last reply is %q", taken, last)
		}
	})
	s.Empty(t)
}

// recipients sends a message to so many, and returns how many were taken and the last reply.
func (s *target) recipients(t *testing.T, total int) (taken int, last string) {
	conn, err := dial(s.addr, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Minute))
	if err := converse(conn, toContent[:6]...); err != nil {
		t.Fatal(err)
	}
	go func() {
		var all bytes.Buffer
		for i := range total {
			fmt.Fprintf(&all, "RCPT TO:<user0+%d@example.test>\r\n", i)
			if all.Len() > 32<<10 {
				if _, err := all.WriteTo(conn); err != nil {
					return // it was sent away
				}
			}
		}
		all.WriteString("DATA\r\n")
		all.WriteTo(conn)
	}()
	r := newReplies(conn)
	for range total {
		reply := r.next()
		if reply == "" {
			return taken, last
		}
		if last = reply; strings.HasPrefix(reply, "250") {
			taken++
		}
	}
	if last = r.next(); strings.HasPrefix(last, "354") {
		io.WriteString(conn, "Subject: all\r\n\r\nx\r\n.\r\n")
		last = r.next()
	}
	return taken, last
}

// TestNeverReading has clients that send commands without end and read no reply: the server waits for them, it keeps nothing for them.
func TestNeverReading(t *testing.T) {
	s := start(t, "smtpd_junk_command_limit = 1000000000\nsmtpd_hard_error_limit = 1000000000\nsmtpd_soft_error_limit = 1000000000\n")
	n := size(60, 1000)
	s.under(t, n, 128, 64, func(t *testing.T) {
		crowd(n, n, func(i int) {
			conn, err := dial(s.addr, i)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { conn.Close() })
			piece := []string{"NOOP\r\n", "EHLO x\r\n", "VRFY x@example.test\r\n", "XX\r\n"}[i%4]
			conn.SetWriteDeadline(time.Now().Add(2 * time.Second)) // by then its own buffers are full
			stream(conn, bytes.Repeat([]byte(piece), 4<<10), 100<<20)
		})
	})
}
