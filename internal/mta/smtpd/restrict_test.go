package smtpd

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestPermitInetInterfacesBehindProxy does not take the clients of a proxy on this
// host (XCLIENT) for this host. Postfix does, which makes a relay of it.
func TestPermitInetInterfacesBehindProxy(t *testing.T) {
	ts := startServer(t, "", nil)
	own := netip.MustParseAddr("127.0.0.1")
	for _, tt := range []struct {
		client string
		want   verdict
	}{{"127.0.0.1", permit}, {"192.0.2.9", dunno}} {
		s := &session{srv: ts.Server, client: clientInfo{peer: own, addr: netip.MustParseAddr(tt.client)}}
		e := eval{s: s}
		if got := e.permitInetInterfaces(new(item)); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.client, got, tt.want)
		}
	}
}

// TestSenderRoutedToOurselves judges user%ours@ours, who is user@ours, as that one.
func TestSenderRoutedToOurselves(t *testing.T) {
	d := dialogue{config: `
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:` + startAuth(t) + `
smtpd_sender_login_maps = inline:{{bob@example.com=bob},{alice@example.com=alice}}
smtpd_sender_restrictions = reject_known_sender_login_mismatch
`, lines: []string{
		"S: 220 mail.example.com ESMTP Postfix",
		"C: HELO c",
		"S: 250 mail.example.com",
		"C: AUTH PLAIN AGFsaWNlAHNlY3JldA==",
		"S: 235 2.7.0 Authentication successful",
		"C: MAIL FROM:<bob%example.com@example.com>",
		"S: 250 2.1.0 Ok",
		"C: RCPT TO:<alice@example.com>",
		"S: 553 5.7.1 <bob%example.com@example.com>: Sender address rejected: not owned by user alice",
		"C: RSET",
		"S: 250 2.0.0 Ok",
		"C: MAIL FROM:<alice%example.com@example.com>",
		"S: 250 2.1.0 Ok",
		"C: RCPT TO:<alice@example.com>",
		"S: 250 2.1.5 Ok",
	}}
	ts := startServer(t, d.config, nil)
	transcript, _ := d.play(t, ts.addr)
	d.check(t, transcript, "", "")
}

// TestAuthServerGone has nobody listen on the socket of the authentication server. No client may take
// that for a wrong password.
func TestAuthServerGone(t *testing.T) {
	d := dialogue{config: "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = " + t.TempDir() + "/gone\n", lines: []string{
		"S: 220 mail.example.com ESMTP Postfix",
		"C: HELO c",
		"S: 250 mail.example.com",
		"C: AUTH PLAIN AGFsaWNlAHNlY3JldA==",
		"S: 454 4.7.0 Temporary authentication failure: Can't connect to authentication server",
	}}
	ts := startServer(t, d.config, nil)
	transcript, _ := d.play(t, ts.addr)
	d.check(t, transcript, "", "")
}

// TestPanicIsNotCounted has sessions panic: their connections are not held against
// the client any more.
func TestPanicIsNotCounted(t *testing.T) {
	ts := startServer(t, "smtpd_client_connection_count_limit = 1\nsmtpd_client_event_limit_exceptions =\n", func(c *Config) {
		c.Anvil = NewAnvil(time.Minute, c.Log)
		c.Free = func() (int64, error) { panic("no space") }
	})
	for range 3 {
		conn, err := net.Dial("tcp", ts.addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(60 * time.Second))
		r := bufio.NewReader(conn)
		if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "220 ") {
			t.Errorf("greeting: %q, %v", line, err)
		}
		io.WriteString(conn, "HELO c\r\nMAIL FROM:<>\r\n")
		io.ReadAll(r)
		conn.Close()
		ts.awaitSessions(t)
	}
}
