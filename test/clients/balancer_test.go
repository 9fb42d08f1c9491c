package clients

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// balanced are listeners behind a load balancer.
const balanced = `
haproxy_trusted_networks = 127.0.0.1
service imap-login {
  inet_listener balanced {
    port = @PORT@
    haproxy = yes
  }
}
`

// header is one of version 2, for a client of 192.0.2.1, that tells about TLS with the balancer.
func header(client byte, verified bool, name string) string {
	tls := []byte{client, 0, 0, 0, 0, 0x22}
	if !verified {
		tls[4] = 21
	}
	tls = append(binary.BigEndian.AppendUint16(tls, uint16(len(name))), name...)
	fields := append([]byte{0x20}, binary.BigEndian.AppendUint16(nil, uint16(len(tls)))...)
	fields = append(fields, tls...)
	addresses := "\xc0\x00\x02\x01\xc6\x33\x64\x02\x04\xd2\x00\x8f"
	n := binary.BigEndian.AppendUint16(nil, uint16(len(addresses)+len(fields)))
	return "\r\n\r\n\x00\r\nQUIT\n\x21\x11" + string(n) + addresses + string(fields)
}

// dialHeader connects as a balancer does.
func dialHeader(t *testing.T, addr, header string) *harness.Client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(header)); err != nil {
		t.Fatal(err)
	}
	c, err := harness.NewClient(conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

const (
	withTLS  = 1
	withCert = 1 | 2
)

// TestBalancer logs in through a load balancer, which has verified the client's certificate, or has not.
func TestBalancer(t *testing.T) {
	both(t, func(t *testing.T, p harness.Program) {
		port := harness.FreePort(t)
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		mb := harness.StartMailbox(t, p, harness.MailboxOptions{Extra: external + strings.ReplaceAll(balanced, "@PORT@", fmt.Sprint(port))})
		const external = "a AUTHENTICATE EXTERNAL ="
		c := dialHeader(t, addr, header(withCert, true, harness.User(1)))
		if strings.Contains(c.Greeting, "LOGINDISABLED") {
			t.Errorf("with TLS up to the balancer: %s", c.Greeting)
		}
		c.Expect(t, external, "a OK")
		wantLog(t, mb, "Login: user=<"+harness.User(1)+">, method=EXTERNAL, rip=192.0.2.1, lip=198.51.100.2, mpid=")
		c = dialHeader(t, addr, header(withTLS, true, harness.User(1)))
		if strings.Contains(c.Greeting, "LOGINDISABLED") {
			t.Errorf("with TLS up to the balancer: %s", c.Greeting)
		}
		if c = dialHeader(t, addr, header(0, true, "")); !strings.Contains(c.Greeting, "LOGINDISABLED") {
			t.Errorf("without TLS up to the balancer: %s", c.Greeting)
		}
		// Dovecot does not ask whether the balancer has verified the certificate.
		c = dialHeader(t, addr, header(withCert, false, harness.User(1)))
		if p == harness.Dovetail {
			c.Expect(t, external, "a NO")
		} else {
			c.Expect(t, external, "a OK")
		}
	})
}

// TestBalancerComesAndGoes changes a listener with a reload, there and back.
func TestBalancerComesAndGoes(t *testing.T) {
	port := harness.FreePort(t)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{Extra: strings.ReplaceAll(balanced, "@PORT@", fmt.Sprint(port))})
	with, err := os.ReadFile(mb.Config)
	if err != nil {
		t.Fatal(err)
	}
	without := strings.Replace(string(with), "haproxy = yes", "haproxy = no", 1)
	for _, now := range []string{without, string(with)} {
		harness.Write(t, mb.Config, now)
		mb.Cmd.Process.Signal(syscall.SIGHUP)
		harness.Eventually(t, "listener that has changed", func() bool {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				return false
			}
			defer conn.Close()
			conn.Write([]byte("PROXY TCP4 192.0.2.1 198.51.100.2 1234 143\r\n"))
			c, err := harness.NewClient(conn)
			if err != nil {
				return false
			}
			line, _ := c.Ask("a LOGOUT")
			return strings.HasPrefix(line, "* BYE") == (now != without)
		})
	}
	// A network that is none changes nothing; a service that does not know headers starts nothing.
	harness.Write(t, mb.Config, strings.Replace(string(with), "= 127.0.0.1\nservice imap", "= 127.0.0.1/99\nservice imap", 1))
	mb.Cmd.Process.Signal(syscall.SIGHUP)
	wantLog(t, mb, "haproxy_trusted_networks: Invalid network '127.0.0.1/99'")
	dialHeader(t, addr, header(withTLS, true, ""))
	harness.Write(t, mb.Config, strings.Replace(string(with), "service imap-login {\n  inet_listener balanced", "service doveadm {\n  inet_listener balanced", 1))
	mb.Cmd.Process.Signal(syscall.SIGHUP)
	wantLog(t, mb, "service(doveadm): inet_listener balanced: haproxy=yes is known to the services imap-login, pop3-login and lmtp only")
	dialHeader(t, addr, header(withTLS, true, ""))
}
