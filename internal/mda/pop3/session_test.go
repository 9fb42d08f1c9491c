package pop3

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// script is a session with every command; cut short anywhere it must not harm.
const script = "USER pop\r\nPASS pass\r\nSTAT\r\nLIST\r\nUIDL\r\nTOP 1 1\r\nRETR 1\r\nDELE 2\r\nRSET\r\nDELE 1\r\nNOOP\r\n"

// TestDisconnectAnywhere cuts the session after every byte of the script:
// nothing may be deleted, and the server must go on.
func TestDisconnectAnywhere(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, "")
	for n := range len(script) {
		conn := dial(t, s)
		io.WriteString(conn, script[:n])
		if n%2 == 0 {
			conn.(*net.TCPConn).SetLinger(0) // reset instead of end of input
		}
		conn.Close()
	}
	conn := dial(t, s)
	io.WriteString(conn, script+"QUIT\r\n")
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(all, []byte("+OK 3 133\r\n")) || !bytes.HasSuffix(all, []byte("+OK Logging out, messages deleted.\r\n")) {
		t.Errorf("last session got %q", all)
	}
}

// TestSlowClient sends the script in single bytes, and gets the same answers.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, "")
	conn := dial(t, s)
	go func() {
		for i := range len(script) {
			io.WriteString(conn, script[i:i+1])
		}
		io.WriteString(conn, "QUIT\r\n")
	}()
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(all, []byte("-ERR")); n != 0 {
		t.Errorf("%d errors: %q", n, all)
	}
}

func TestMessageExpungedElsewhere(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, "")
	first, second := login(t, s), login(t, s)
	ask(t, second, "DELE 1", "+OK")
	ask(t, second, "QUIT", "+OK Logging out, messages deleted.")
	ask(t, first, "RETR 1", "-ERR Message 1 expunged.")
	ask(t, first, "STAT", "+OK 3 133")
	ask(t, first, "DELE 1", "+OK")
	ask(t, first, "QUIT", "+OK Logging out, messages deleted.")
}

func TestLockSession(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, "pop3_lock_session = yes\n")
	first := login(t, s)
	second := dial(t, s)
	io.WriteString(second, "USER pop\r\nPASS x\r\nQUIT\r\n")
	ask(t, first, "QUIT", "+OK Logging out.")
	all, _ := io.ReadAll(second)
	if !strings.HasSuffix(string(all), "+OK Logged in.\r\n+OK Logging out.\r\n") {
		t.Errorf("second session got %q", all)
	}
}

type testConn struct {
	net.Conn
	in *bufio.Reader
}

func dial(t testing.TB, s *testServer) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr(""))
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	t.Cleanup(func() { conn.Close() })
	return conn
}

func login(t testing.TB, s *testServer) *testConn {
	conn := dial(t, s)
	c := &testConn{conn, bufio.NewReader(conn)}
	c.in.ReadString('\n')
	ask(t, c, "USER pop", "+OK")
	ask(t, c, "PASS pass", "+OK Logged in.")
	return c
}

func ask(t testing.TB, c *testConn, command, want string) {
	t.Helper()
	io.WriteString(c, command+"\r\n")
	line, err := c.in.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, want) {
		t.Fatalf("%s: got %q, %v; want %q", command, line, err, want)
	}
}

func TestTopLines(t *testing.T) {
	const text = "A: b\r\nC: d\r\n\r\none\r\ntwo\r\nthree"
	for _, tt := range []struct {
		name  string
		lines int64
		want  string
	}{
		{"header only", 0, "A: b\r\nC: d\r\n\r\n"},
		{"one line", 1, "A: b\r\nC: d\r\n\r\none\r\n"},
		{"last line without end", 3, text},
		{"more than there are", 9, text},
		{"all", allLines, text},
	} {
		for size := 1; size <= len(text); size++ {
			top := topLines{left: tt.lines, bol: true}
			var got []byte
			for rest := []byte(text); len(rest) > 0; {
				n := min(size, len(rest))
				piece, done := top.cut(rest[:n])
				got = append(got, piece...)
				if done {
					break
				}
				rest = rest[n:]
			}
			if string(got) != tt.want {
				t.Errorf("%s, pieces of %d: got %q, want %q", tt.name, size, got, tt.want)
			}
		}
	}
}

func TestUIDLFormat(t *testing.T) {
	for _, tt := range []struct{ format, want string }{
		{standardUIDL, "0000000afedcba98"},
		{"%u", "10"}, {"%Xv", "fedcba98"}, {"%v.%u", "4275878552.10"}, {"x%%%05u", "x%00010"},
	} {
		parts, err := parseUIDLFormat(tt.format)
		if err != nil {
			t.Fatal(err)
		}
		u := uidls{parts: parts, validity: 0xfedcba98}
		var b []byte
		for i := range parts {
			if b, err = u.append(b, &parts[i], 10, nil); err != nil {
				t.Fatal(err)
			}
		}
		if string(b) != tt.want {
			t.Errorf("%s: got %q, want %q", tt.format, b, tt.want)
		}
	}
	if _, err := parseUIDLFormat("%Q"); err == nil || err.Error() != "Unknown pop3_uidl_format variable: %Q" {
		t.Errorf("%%Q: %v", err)
	}
}
