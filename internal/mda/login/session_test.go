package login

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/sasl"
)

func dial(t testing.TB, s *testServer) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr(""))
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

// converse sends everything and returns all answers.
func converse(t testing.TB, s *testServer, input string) string {
	t.Helper()
	conn := dial(t, s)
	go func() {
		io.WriteString(conn, input)
		conn.CloseWrite()
	}()
	out, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("%v after %q", err, out)
	}
	return string(out)
}

// waitLog waits for a log line.
func waitLog(t testing.TB, s *testServer, text string) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		for _, line := range s.Log() {
			if strings.Contains(line, text) {
				return
			}
		}
	}
	t.Errorf("not in the log: %s\n%s", text, strings.Join(s.Log(), "\n"))
}

// TestFailures checks what clients and the log are told of logins that fail,
// as Dovecot does for the same answers of its auth server.
func TestFailures(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ user, imap, pop3, log string }{
		{"bob", "NO [AUTHENTICATIONFAILED] Authentication failed.", "[AUTH] Authentication failed.", "(auth failed, 1 attempts in 0 secs)"},
		{"temp", "NO [UNAVAILABLE] Temporary authentication failure. [", "[SYS/TEMP] Temporary authentication failure. [", "(auth service reported temporary failure)"},
		{"authz", "NO [AUTHORIZATIONFAILED] Authorization failed", "[AUTH] Authorization failed", "(authorization failed, 1 attempts in 0 secs)"},
		{"disabled", "NO [AUTHENTICATIONFAILED] Authentication failed.", "[AUTH] Authentication failed.", "(user disabled)"},
		{"reasoned", "NO [ALERT] Own reason", "[AUTH] Own reason", "(user disabled)"},
		{"expired", "NO [EXPIRED] Authentication failed.", "[AUTH] Authentication failed.", "(password expired)"},
		{"locked", "NO [CONTACTADMIN] Login disabled for this user", "[AUTH] Login disabled for this user", "(login disabled)"},
		{"lost", "NO [UNAVAILABLE] Temporary authentication failure. [", "[SYS/TEMP] Temporary authentication failure. [", "(auth process communication failure)"},
	} {
		t.Run(tt.user, func(t *testing.T) {
			s := newTestServer(t, "imap", "")
			if out := converse(t, s, "a LOGIN "+tt.user+" x\r\n"); !strings.Contains(out, "\r\na "+tt.imap) {
				t.Errorf("IMAP: %q", out)
			}
			waitLog(t, s, "imap-login: Info: Disconnected: Connection closed "+tt.log)
			s = newTestServer(t, "pop3", "")
			if out := converse(t, s, "USER "+tt.user+"\r\nPASS x\r\n"); !strings.Contains(out, "\r\n-ERR "+tt.pop3) {
				t.Errorf("POP3: %q", out)
			}
			waitLog(t, s, "pop3-login: Info: Disconnected: Connection closed "+tt.log)
		})
	}
}

func TestNologin(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, "imap", "")
	if out := converse(t, s, "a LOGIN closed pass\r\n"); !strings.Contains(out, "\r\na NO [CONTACTADMIN] Sorry closed\r\n") {
		t.Errorf("got %q", out)
	}
	waitLog(t, s, "Disconnected: Connection closed (internal failure, 1 successful auths): user=<closed>, method=PLAIN")
}

// TestHandedOver checks what the mail process gets to know.
func TestHandedOver(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, "imap", "imap_id_retain = yes\n")
	out := converse(t, s, "x ID (\"name\" \"c\")\r\ny LOGIN bob pass\r\nz NOOP\r\n")
	if !strings.HasSuffix(out, "y OK Logged in\r\nz NOOP\r\n") {
		t.Errorf("got %q", out)
	}
	l := s.mail.logins[0]
	if l.Service != "imap" || l.AuthID != 7 || l.AuthPID != 42 || l.AuthCookie != "c0" || l.Tag != "y" || string(l.Input) != "z NOOP\r\n" ||
		!l.Secured || l.TLS || l.Remote.Addr().String() != "127.0.0.1" || strings.Join(l.ClientID, " ") != "name c" {
		t.Errorf("got %+v", l)
	}
}

// TestRefused has the mail process not take the client.
func TestRefused(t *testing.T) {
	t.Parallel()
	const tooMany = "Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10)"
	s := newTestServer(t, "imap", "")
	s.mail.refuse = tooMany
	if out := converse(t, s, "a LOGIN bob pass\r\n"); !strings.HasSuffix(out, "a NO [LIMIT] "+tooMany+"\r\n") {
		t.Errorf("got %q", out)
	}
	waitLog(t, s, "imap-login: Info: Disconnected: "+tooMany+": user=<bob>, method=PLAIN")
	s = newTestServer(t, "pop3", "")
	s.mail.err = errors.New("no answer")
	if out := converse(t, s, "USER bob\r\nPASS pass\r\n"); !strings.HasSuffix(out, "-ERR [SYS/TEMP] Internal login failure. Refer to server log for more information.\r\n") {
		t.Errorf("got %q", out)
	}
	waitLog(t, s, "pop3-login: Info: Disconnected: Internal login failure (pid=42 id=7): user=<bob>, method=PLAIN")
}

// TestQueueFull has more clients than there may be: the oldest gives way.
func TestQueueFull(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, "imap", "", func(c *Config) { c.MaxClients = 2 })
	var conns []net.Conn
	for range 3 {
		conn := dial(t, s)
		readLine(t, bufio.NewReader(conn))
		conns = append(conns, conn)
	}
	out, _ := io.ReadAll(conns[0])
	if string(out) != "* BYE Connection queue full\r\n" {
		t.Errorf("oldest got %q", out)
	}
	waitLog(t, s, "Disconnected: Connection queue full (no auth attempts in 0 secs): user=<>")
	io.WriteString(conns[1], "a LOGOUT\r\n")
	if out, _ := io.ReadAll(conns[1]); !strings.HasPrefix(string(out), "* BYE Logging out") {
		t.Errorf("second got %q", out)
	}
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, "imap", "")
	conn := dial(t, s)
	in := bufio.NewReader(conn)
	readLine(t, in)
	s.stop()
	if out, _ := io.ReadAll(in); string(out) != "* BYE Server shutting down.\r\n" {
		t.Errorf("got %q", out)
	}
}

// TestTimeout ends the session of a client that does nothing.
func TestTimeout(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, "pop3", "")
	ours, theirs := net.Pipe()
	defer ours.Close()
	go s.Serve(context.Background(), &impatient{Conn: theirs}, Listener{})
	in := bufio.NewReader(ours)
	readLine(t, in)
	if out, _ := io.ReadAll(in); string(out) != "-ERR Disconnected for inactivity.\r\n" {
		t.Errorf("got %q", out)
	}
	waitLog(t, s, "pop3-login: Info: Disconnected: Inactivity (no auth attempts in 0 secs): user=<>")
}

// impatient is a connection whose first deadline, that of the login, comes soon.
type impatient struct {
	net.Conn
	set bool
}

func (c *impatient) SetDeadline(when time.Time) error {
	if !c.set {
		c.set = true
		if d := time.Until(when); d < loginTimeout-time.Minute || d > loginTimeout {
			return errors.New("not the login timeout")
		}
		c.Conn.SetWriteDeadline(time.Now().Add(time.Minute))
		return c.Conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	}
	return c.Conn.SetDeadline(when)
}

func readLine(t testing.TB, in *bufio.Reader) string {
	t.Helper()
	line, err := in.ReadString('\n')
	if err != nil {
		t.Fatalf("%v after %q", err, line)
	}
	return line
}

const imapScript = "a CAPABILITY\r\nb ID (\"x\" {1+}\r\ny)\r\nc AUTHENTICATE PLAIN\r\n*\r\nd LOGIN {4}\r\nhang {4}\r\npass\r\n"

// TestDisconnectAnywhere cuts sessions after every byte.
func TestDisconnectAnywhere(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, "imap", "")
	for n := range len(imapScript) {
		conn := dial(t, s)
		io.WriteString(conn, imapScript[:n])
		if n%2 == 0 {
			conn.SetLinger(0)
		}
		conn.Close()
	}
	if out := converse(t, s, "a LOGIN bob pass\r\n"); !strings.Contains(out, "a OK") {
		t.Errorf("got %q", out)
	}
	close(s.auth.hang)
}

// TestSlowClient sends single bytes and gets the same answers.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, "imap", "")
	conn := dial(t, s)
	script := strings.ReplaceAll(imapScript, "hang", "bob1") + "after"
	go func() {
		for i := range len(script) {
			io.WriteString(conn, script[i:i+1])
		}
		conn.CloseWrite()
	}()
	out, err := io.ReadAll(conn)
	if err != nil || !bytes.HasSuffix(out, []byte("d OK Logged in\r\nafter")) {
		t.Errorf("%v, got %q", err, out)
	}
}

// TestRelay sends much data both ways through a TLS session that was passed on.
func TestRelay(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, "imap", "")
	conn, err := tls.Dial("tcp", s.Addr("imaps"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	in := bufio.NewReader(conn)
	readLine(t, in)
	io.WriteString(conn, "a LOGIN bob pass\r\n")
	readLine(t, in)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() {
		for rest, n := data, 1; len(rest) > 0; n = n*3%20011 + 1 {
			n = min(n, len(rest))
			conn.Write(rest[:n])
			rest = rest[n:]
		}
		conn.CloseWrite()
	}()
	got, err := io.ReadAll(in)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%v: %d of %d bytes came back", err, len(got), len(data))
	}
	if l := s.mail.logins[0]; !l.TLS || !l.Secured {
		t.Errorf("got %+v", l)
	}
}

// TestRelayClosed has each end close first.
func TestRelayClosed(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"client", "mail process", "shutdown"} {
		s := newTestServer(t, "imap", "")
		conn, err := tls.Dial("tcp", s.Addr("imaps"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(60 * time.Second))
		in := bufio.NewReader(conn)
		readLine(t, in)
		io.WriteString(conn, "a LOGIN bob pass\r\n")
		readLine(t, in)
		switch end {
		case "client":
			conn.Close()
		case "mail process": // it echoes, and ends with its input
			conn.CloseWrite()
			if _, err := in.ReadByte(); err != io.EOF {
				t.Errorf("client sees %v", err)
			}
		case "shutdown":
			s.stop()
			in.ReadByte()
		}
		ended := make(chan struct{})
		go func() { s.done.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(60 * time.Second):
			t.Errorf("%s closed: the relay goes on", end)
		}
		conn.Close()
	}
}

// TestHandshakeFailed has no TLS client come to a TLS port.
func TestHandshakeFailed(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, "imap", "")
	for _, input := range []string{"", "a NOOP\r\n"} {
		conn, err := net.Dial("tcp", s.Addr("imaps"))
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, input)
		conn.(*net.TCPConn).CloseWrite()
		io.ReadAll(conn)
		conn.Close()
	}
	waitLog(t, s, "imap-login: Info: Disconnected: Connection closed (no auth attempts in 0 secs): user=<>, rip=127.0.0.1, lip=127.0.0.1, TLS handshaking: Connection closed, session=<")
	waitLog(t, s, "Disconnected: Connection closed: SSL_accept() failed: ")
}

// TestMechanisms offers what the auth server has, with the private ones left out.
func TestMechanisms(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, "imap", "", func(c *Config) {
		c.Auth.(*fakeAuth).mechanisms = []client.Mechanism{
			{Name: "PLAIN", Flags: sasl.Plaintext}, {Name: "CRAM-MD5", Flags: sasl.Dictionary | sasl.Active},
			{Name: "APOP", Flags: sasl.Private}, {Name: "SCRAM-SHA-1", Flags: sasl.MutualAuth},
		}
	})
	out := converse(t, s, "a AUTHENTICATE APOP\r\n")
	if !strings.Contains(out, " STARTTLS AUTH=PLAIN AUTH=CRAM-MD5 AUTH=SCRAM-SHA-1] ") || !strings.Contains(out, "a NO [ALERT] Unsupported") {
		t.Errorf("got %q", out)
	}
}

func TestSASLTooLong(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, "imap", "")
	out := converse(t, s, "a AUTHENTICATE PLAIN\r\n"+strings.Repeat("A", maxSASL)+"\r\n")
	if !strings.HasSuffix(out, "a NO [AUTHENTICATIONFAILED] Authentication failed.\r\n") {
		t.Errorf("longest: %q", out)
	}
	conn := dial(t, s)
	io.WriteString(conn, "a AUTHENTICATE PLAIN\r\n"+strings.Repeat("A", maxSASL+100))
	io.ReadAll(conn)
	waitLog(t, s, "Disconnected: Authentication response too large (client didn't finish SASL auth, waited 0 secs)")
	conn = dial(t, s)
	io.WriteString(conn, "a LOGIN "+strings.Repeat("b", 2*maxLine))
	io.ReadAll(conn)
	waitLog(t, s, "Disconnected: Input buffer full (no auth attempts in 0 secs)")
}

func TestSessionID(t *testing.T) {
	// One that Dovecot made; its time has 48 bits.
	if id := sessionID(time.UnixMicro(106489922492951), netip.MustParseAddrPort("127.0.0.9:55047")); id != "F5oAHtpgB9d/AAAJ" {
		t.Errorf("got %s", id)
	}
	if id := sessionID(time.Now(), netip.MustParseAddrPort("[2001:db8::1]:1")); len(id) != 32 {
		t.Errorf("IPv6: %s", id)
	}
}

func BenchmarkLogin(b *testing.B) {
	s := newTestServer(b, "imap", "")
	b.ReportAllocs()
	var mu sync.Mutex
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			conn, err := net.Dial("tcp", s.Addr(""))
			if err != nil {
				b.Error(err)
				return
			}
			in := bufio.NewReader(conn)
			in.ReadSlice('\n')
			io.WriteString(conn, "a LOGIN bob pass\r\n")
			if line, _ := in.ReadSlice('\n'); !bytes.HasPrefix(line, []byte("a OK")) {
				mu.Lock()
				b.Errorf("got %q", line)
				mu.Unlock()
			}
			conn.Close()
		}
	})
}
