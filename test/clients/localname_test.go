package clients

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// named are settings for clients that ask for a name, with a certificate of their own.
const named = `
login_greeting = Everybody is welcome.
login_log_format_elements = user=<%u> name=%{local_name} method=%m %c
login_log_format = %s: %$
local_name mail.example.test {
  ssl_cert = <@DIR@/named.pem
  ssl_key = <@DIR@/named.key
  login_greeting = Welcome to %{local_name}.
  protocol imap {
    imap_capability = IMAP4rev1 NAMED
  }
}
local_name *.wild.test {
  login_log_format = wild %s: %$
}
`

// TestLocalName asks for names in the TLS handshake: certificate and log follow it; greeting and what IMAP can do
// were settled before.
func TestLocalName(t *testing.T) {
	both(t, func(t *testing.T, p harness.Program) {
		dir := harness.Dir(t)
		harness.Run(t, "", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
			"-subj", "/CN=mail.example.test", "-keyout", filepath.Join(dir, "named.key"), "-out", filepath.Join(dir, "named.pem"))
		mb := harness.StartMailbox(t, p, harness.MailboxOptions{Extra: strings.ReplaceAll(named, "@DIR@", dir)})
		for _, tt := range []struct{ name, cert string }{
			{"", "localhost"},
			{"other.example.test", "localhost"},
			{"mail.example.test", "mail.example.test"},
			{"MAIL.example.test", "mail.example.test"},
			{"some.wild.test", "localhost"},
		} {
			for _, addr := range []string{mb.IMAPS, mb.POP3S} {
				c, err := dialCert(addr, tt.name, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if got := c.Conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Subject.CommonName; got != tt.cert {
					t.Errorf("%s, %s: certificate of %s, want %s", p, tt.name, got, tt.cert)
				}
				if !strings.HasSuffix(c.Greeting, " Everybody is welcome.") || strings.Contains(c.Greeting, "NAMED") {
					t.Errorf("%s, %s: greeted with %q", p, tt.name, c.Greeting)
				}
				if addr == mb.IMAPS {
					c.Must(t, "LOGIN "+harness.User(0)+" "+harness.Password)
					wantLog(t, mb, map[bool]string{true: "Info: wild ", false: "Info: "}[tt.name == "some.wild.test"]+"user=<"+harness.User(0)+">, "+strings.TrimSuffix("name="+tt.name+", ", "name=, ")+"method=PLAIN, TLS: Login")
				}
			}
		}
		if b, err := os.ReadFile(mb.Log); err != nil || strings.Contains(string(b), "Error") {
			t.Errorf("%v:\n%s", err, b)
		}
	})
}
