package pop3

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// TestPanic shows that a panic costs its own session only, and leaves neither the
// mailbox nor the session's lock behind.
func TestPanic(t *testing.T) {
	commands["XPANIC"] = func(*session, context.Context, []byte) { panic("injected") }
	defer delete(commands, "XPANIC")
	s := newTestServer(t, "pop3_lock_session = yes\n")
	login := func() (net.Conn, *bufio.Reader) {
		conn, err := net.Dial("tcp", s.Addr(""))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(60 * time.Second))
		in := bufio.NewReader(conn)
		io.WriteString(conn, "USER pop\r\nPASS x\r\n")
		for range 3 {
			if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "+OK") {
				t.Fatalf("login: %q, %v", line, err)
			}
		}
		return conn, in
	}
	for range 2 { // the second gets in, though the first held the lock
		conn, in := login()
		io.WriteString(conn, "DELE 1\r\nXPANIC\r\n")
		if rest, _ := io.ReadAll(in); string(rest) != okMarked && string(rest) != "" {
			t.Errorf("got %q", rest)
		}
	}
	conn, in := login()
	io.WriteString(conn, "STAT\r\nQUIT\r\n")
	if rest, _ := io.ReadAll(in); !strings.HasPrefix(string(rest), "+OK 3 ") {
		t.Errorf("got %q", rest)
	}
	if log := strings.Join(s.Log(), "\n"); strings.Count(log, "Panic: injected") != 2 || !strings.Contains(log, "panic_test.go") {
		t.Errorf("log:\n%s", log)
	}
}
