package imap

import (
	"bufio"
	"errors"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/handoff"
)

// talk sends text and returns what comes until the line with the prefix end, or
// the end of the connection.
func talk(t *testing.T, c net.Conn, r *bufio.Reader, text, end string) string {
	t.Helper()
	c.SetDeadline(time.Now().Add(60 * time.Second))
	if text != "" {
		io.WriteString(c, text)
	}
	var all strings.Builder
	for {
		line, err := r.ReadString('\n')
		all.WriteString(line)
		if err == io.EOF || err == nil && strings.HasPrefix(line, end) {
			return normalize(all.String())
		}
		if err != nil {
			t.Fatalf("after %q: %v", all.String(), err)
		}
	}
}

// lastLog returns the text of the last line logged, when the session has ended.
func lastLog(t *testing.T, srv *testServer, done <-chan struct{}) string {
	t.Helper()
	select {
	case <-done:
	case <-time.After(60 * time.Second):
		t.Fatal("the session does not end")
	}
	lines := strings.Split(strings.TrimSpace(srv.logged()), "\n")
	_, text, _ := strings.Cut(lines[len(lines)-1], ": ")
	return text
}

// TestLogLines checks the line about the end of a session, Dovecot's in form.
func TestLogLines(t *testing.T) {
	const none = " deleted=0 expunged=0 trashed=0 hdr_count=0 hdr_bytes=0 body_count=0 body_bytes=0"
	tests := []struct{ name, send, end, want string }{
		{"logout", "a LOGOUT\r\n", "a ", `^Info: Disconnected: Logged out in=10 out=\d+` + none + "$"},
		{"closed at once", "", "* PREAUTH", `^Info: Disconnected: Connection closed \(No commands sent\) in=0 out=\d+` + none + "$"},
		{"closed later", "a NOOP\r\n", "a ", `^Info: Disconnected: Connection closed \(NOOP finished 0\.\d+ secs ago\) in=8 out=\d+` + none + "$"},
		{"closed in IDLE", "a IDLE\r\n", "+ ", `^Info: Disconnected: Connection closed \(IDLE running for 0\.\d+ \+ waiting input for 0\.\d+ secs, \d+ B in \+ \d+ B out, state=wait-input\) in=8 out=\d+` + none + "$"},
		{"closed in APPEND", "a APPEND INBOX {10}\r\nabc", "+ ", `^Info: Disconnected: Connection closed \(While APPENDing: 1 msgs, 0 secs, 3/10 bytes\) in=24 out=\d+` + none + "$"},
		{"invalid commands", strings.Repeat("a X\r\n", 20), "* BYE", `^Info: Disconnected: Too many invalid IMAP commands\. in=100 out=\d+` + none + "$"},
		{"counts", "a APPEND INBOX {10+}\r\nA: b\r\n\r\nxy\r\nb SELECT INBOX\r\nb FETCH 1 (BODY[HEADER] BODY[])\r\nb STORE 1 +FLAGS \\Deleted\r\nb EXPUNGE\r\nc LOGOUT\r\n", "c ",
			`^Info: Disconnected: Logged out in=\d+ out=\d+ deleted=1 expunged=1 trashed=0 hdr_count=1 hdr_bytes=8 body_count=1 body_bytes=10$`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv := newTestServer(t, nil)
			c, done := srv.serve(t)
			talk(t, c, bufio.NewReader(c), tt.send, tt.end)
			c.Close()
			if got := lastLog(t, srv, done); !regexp.MustCompile(tt.want).MatchString(got) {
				t.Errorf("logged %q, want %s", got, tt.want)
			}
			if !strings.Contains(srv.logged(), "imap(bob)<") {
				t.Errorf("no mail_log_prefix: %s", srv.logged())
			}
		})
	}
}

// TestLogin checks the answer to the command that logged in, and that what the
// login process had read already is the first input.
func TestLogin(t *testing.T) {
	srv := newTestServer(t, nil)
	client, conn := tcpPair(t)
	user := srv.open(t)
	defer user.Close()
	go srv.srv.Serve(srv.ctx, conn, handoff.Login{Tag: "x1", Input: []byte("x2 NO"), Session: "abc"}, user)
	defer client.Close()
	got := talk(t, client, bufio.NewReader(client), "OP\r\n", "x2 ")
	want := "x1 OK [CAPABILITY " + builtinCapability + " LITERAL+ NOTIFY] Logged in\r\nx2 OK NOOP completed (T).\r\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestShutdown ends sessions that wait, in IDLE and otherwise.
func TestShutdown(t *testing.T) {
	for _, cmd := range []string{"", "a IDLE\r\n", "a SELECT INBOX\r\na IDLE\r\n", "a APPEND INBOX {100}\r\n", "a SELECT {5}\r\n"} {
		srv := newTestServer(t, nil)
		c, done := srv.serve(t)
		r := bufio.NewReader(c)
		end := "+ "
		if cmd == "" {
			end = "* PREAUTH"
		}
		talk(t, c, r, cmd, end)
		srv.cancel()
		if got := talk(t, c, r, "", "* BYE"); !strings.Contains(got, "* BYE Server shutting down.\r\n") {
			t.Errorf("%q: %q", cmd, got)
		}
		if got := lastLog(t, srv, done); !strings.HasPrefix(got, "Info: Disconnected: ") {
			t.Errorf("%q: logged %q", cmd, got)
		}
	}
}

// TestPanic shows that a panic costs its own session only.
func TestPanic(t *testing.T) {
	commandByName["X-PANIC"] = &entry{name: "X-PANIC", run: func(*command) error { panic("boom") }}
	defer delete(commandByName, "X-PANIC")
	srv := newTestServer(t, nil)
	other, _ := srv.serve(t)
	r := bufio.NewReader(other)
	talk(t, other, r, "a SELECT INBOX\r\n", "a ")
	c, done := srv.serve(t)
	talk(t, c, bufio.NewReader(c), "a SELECT INBOX\r\nb X-PANIC\r\n", "b ")
	<-done
	if log := srv.logged(); !strings.Contains(log, "panic: boom") || !strings.Contains(log, "session_test.go") {
		t.Errorf("not logged with stack: %s", log)
	}
	if got := talk(t, other, r, "a NOOP\r\n", "a "); got != "a OK NOOP completed (T).\r\n" {
		t.Errorf("the other session: %q", got)
	}
}

// TestStillHere checks the keepalive of IDLE.
func TestStillHere(t *testing.T) {
	srv := newTestServer(t, map[string]string{"imap_idle_notify_interval": "1s"})
	c, _ := srv.serve(t)
	r := bufio.NewReader(c)
	if got := talk(t, c, r, "a IDLE\r\n", "* OK"); !strings.HasSuffix(got, "+ idling\r\n* OK Still here\r\n") {
		t.Errorf("%q", got)
	}
}

// pipeClient is a connection without file descriptor, as in other tests.
func TestPipe(t *testing.T) {
	srv := newTestServer(t, nil)
	client, conn := net.Pipe()
	user := srv.open(t)
	defer user.Close()
	done := make(chan struct{})
	go func() {
		srv.srv.Serve(srv.ctx, conn, handoff.Login{}, user)
		close(done)
	}()
	r := bufio.NewReader(client)
	talk(t, client, r, "", "* PREAUTH")
	got := talk(t, client, r, "a APPEND INBOX {3+}\r\nabc\r\n", "a ") + talk(t, client, r, "b LOGOUT\r\n", "b ")
	if want := "a OK [APPENDUID VALIDITY 1] Append completed (T).\r\n* BYE Logging out\r\nb OK Logout completed (T).\r\n"; got != want {
		t.Errorf("got %q", got)
	}
	<-done
}

// TestInactivity ends a session whose client says nothing. The time is that of
// the connection's deadline, which the test moves.
func TestInactivity(t *testing.T) {
	c := &conn{}
	server, client := net.Pipe()
	defer client.Close()
	c.init(server, nil, nil)
	if err := c.wait(time.Now().Add(-time.Second)); !errors.Is(err, errInactive) {
		t.Errorf("past deadline: %v", err)
	}
	c.wake()
	if err := c.wait(time.Now().Add(time.Hour)); !errors.Is(err, errWoken) {
		t.Errorf("woken: %v", err)
	}
}
