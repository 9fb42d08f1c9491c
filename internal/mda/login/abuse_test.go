package login

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
)

// waitClients waits until n clients are here.
func waitClients(t testing.TB, s *testServer, n int) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		s.mu.Lock()
		now := s.clients.len
		s.mu.Unlock()
		if now == n {
			return
		}
	}
	t.Errorf("not %d clients", n)
}

// TestQueueFullOfBusy has all clients wait for the auth server, which takes its
// time: new ones come in nevertheless, and there are never many more than allowed.
func TestQueueFullOfBusy(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, "imap", "", func(c *Config) { c.MaxClients = 2 })
	var busy []net.Conn
	for range 2 {
		conn := dial(t, s)
		readLine(t, bufio.NewReader(conn))
		io.WriteString(conn, "a LOGIN hang pass\r\n")
		busy = append(busy, conn)
	}
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(time.Millisecond) {
		n := 0
		s.mu.Lock()
		for c := s.clients.first; c != nil; c = c.next {
			if c.busy.Load() == authenticating {
				n++
			}
		}
		s.mu.Unlock()
		if n == 2 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("clients do not wait for auth")
		}
	}
	fresh := dial(t, s)
	readLine(t, bufio.NewReader(fresh))
	if out, _ := io.ReadAll(busy[0]); string(out) != "* BYE Connection queue full\r\n" {
		t.Errorf("oldest got %q", out)
	}
	waitClients(t, s, 2)
	close(s.auth.hang)
	if line := readLine(t, bufio.NewReader(busy[1])); !strings.HasPrefix(line, "a NO") && !strings.HasPrefix(line, "a OK") {
		t.Errorf("second got %q", line)
	}
}

// TestQueueFullOfStuck has clients that ask and do not read: they go at once when
// they have to, and do not pile up.
func TestQueueFullOfStuck(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, "imap", "", func(c *Config) { c.MaxClients = 2 })
	for n := range 6 {
		conn := dial(t, s)
		conn.SetReadBuffer(1 << 10)
		stuck := make(chan struct{})
		go func() {
			defer close(stuck)
			for {
				conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
				if _, err := io.WriteString(conn, strings.Repeat("a CAPABILITY\r\n", 100)); err != nil {
					return
				}
			}
		}()
		<-stuck
		waitClients(t, s, min(n+1, 2))
	}
}

// TestQueueHardLimit refuses clients when those that have to go do not.
func TestQueueHardLimit(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, "imap", "", func(c *Config) { c.MaxClients = 2 })
	var stuck []*session
	for range 2 * s.MaxClients {
		c := &session{srv: s.Server, conn: &net.TCPConn{}, cancel: func() {}}
		c.busy.Store(passing)
		if !s.add(c) {
			t.Fatal("refused below the limit")
		}
		stuck = append(stuck, c)
	}
	if out := converse(t, s, ""); out != "" {
		t.Errorf("got %q", out)
	}
	waitLog(t, s, "Disconnected: Connection queue full (no auth attempts")
	for _, c := range stuck {
		s.remove(c)
	}
	if out := converse(t, s, "a LOGOUT\r\n"); !strings.Contains(out, "a OK Logout") {
		t.Errorf("got %q", out)
	}
}

// TestClientIDBounded has a client tell very much of itself, again and again: a
// line to the auth server has a limit, and who exceeds it cuts the connection on
// which all logins are.
func TestClientIDBounded(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, "imap", "imap_id_retain = yes\n")
	value := strings.Repeat("v", maxLiteral)
	var script strings.Builder
	for i := range 50 {
		fmt.Fprintf(&script, "i%d ID (", i)
		for f := range 20 {
			fmt.Fprintf(&script, "\"f%d\" {%d+}\r\n%s ", f, len(value), value)
		}
		script.WriteString(")\r\n")
	}
	script.WriteString("x ID (\"name\" \"last\")\r\na LOGIN bob pass\r\n")
	if out := converse(t, s, script.String()); !strings.HasSuffix(out, "a OK Logged in\r\n") {
		t.Fatalf("got %q", out[max(0, len(out)-200):])
	}
	if id := strings.Join(s.mail.logins[0].ClientID, " "); id != "name last" {
		t.Errorf("kept %d bytes: %.100s", len(id), id)
	}
	if out := converse(t, s, fmt.Sprintf("i ID (\"a\" {1000+}\r\n%s \"b\" {1000+}\r\n%s \"c\" {1000+}\r\n%s)\r\na LOGIN bob pass\r\n",
		value[:1000], value[:1000], value[:1000])); !strings.HasSuffix(out, "a OK Logged in\r\n") {
		t.Fatalf("got %q", out[max(0, len(out)-200):])
	}
	if id := strings.Join(s.mail.logins[1].ClientID, " "); len(id) > maxClientID+10 || !strings.HasPrefix(id, "a v") {
		t.Errorf("kept %d bytes: %.100s", len(id), id)
	}
}

// TestForgottenAtSTLS has somebody in the middle speak before TLS: what was said
// there counts for nothing behind it, nor does what was sent along with STLS.
func TestForgottenAtSTLS(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, "pop3", "")
	conn := dial(t, s)
	in := bufio.NewReader(conn)
	readLine(t, in)
	io.WriteString(conn, "USER mallory\r\n")
	readLine(t, in)
	io.WriteString(conn, "STLS\r\nUSER mallory\r\n")
	if line := readLine(t, in); line != "+OK Begin TLS negotiation now.\r\n" {
		t.Fatalf("got %q", line)
	}
	c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	io.WriteString(c, "PASS pass\r\nQUIT\r\n")
	if out, _ := io.ReadAll(c); string(out) != "-ERR No username given.\r\n+OK Logging out\r\n" {
		t.Errorf("got %q", out)
	}
}

// panickyAuth panics for one user.
type panickyAuth struct{ *fakeAuth }

func (a panickyAuth) Authenticate(ctx context.Context, req *client.Request, challenge client.Challenger) (client.Result, error) {
	if bytes.Contains(req.Initial, []byte("panic")) {
		panic("injected")
	}
	return a.fakeAuth.Authenticate(ctx, req, challenge)
}

// TestPanic shows that a panic costs its own session only, in TLS or not.
func TestPanic(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, "imap", "", func(c *Config) { c.Auth = panickyAuth{c.Auth.(*fakeAuth)} })
	bystander := dial(t, s)
	in := bufio.NewReader(bystander)
	readLine(t, in)
	if out := converse(t, s, "a LOGIN panic pass\r\n"); strings.Contains(out, "\r\na ") {
		t.Errorf("got %q", out)
	}
	conn, err := tls.Dial("tcp", s.Addr("imaps"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	io.WriteString(conn, "a LOGIN panic pass\r\n")
	io.ReadAll(conn)
	io.WriteString(bystander, "b LOGIN bob pass\r\n")
	if line := readLine(t, in); line != "b OK Logged in\r\n" {
		t.Errorf("got %q", line)
	}
	waitClients(t, s, 0)
	if log := strings.Join(s.Log(), "\n"); strings.Count(log, "Panic: injected") != 2 {
		t.Errorf("log:\n%s", log)
	}
}

// TestRelayPatience has a TLS client take nothing of what the mail process sends:
// the relay does not wait for it for ever, though the mail process has gone.
func TestRelayPatience(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, "imap", "")
	s.relayPatience = 200 * time.Millisecond
	raw, err := net.Dial("tcp", s.Addr("imaps"))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.(*net.TCPConn).SetReadBuffer(1 << 10)
	raw.SetDeadline(time.Now().Add(60 * time.Second))
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	in := bufio.NewReader(conn)
	readLine(t, in)
	io.WriteString(conn, "a LOGIN bob pass\r\n")
	readLine(t, in)
	go func() { // the mail process echoes it all
		block := make([]byte, 64<<10)
		for {
			if _, err := conn.Write(block); err != nil {
				return
			}
		}
	}()
	ended := make(chan struct{})
	go func() { s.done.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(60 * time.Second):
		t.Error("the relay goes on")
	}
}
