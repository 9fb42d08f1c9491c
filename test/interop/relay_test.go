package interop

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/dns/dnstest"
	"github.com/dovetail-mail/dovetail/test/harness"
)

// relays are the mixtures of a transport that sends and one that receives.
var relays = []struct{ from, to harness.Program }{
	{harness.Dovetail, harness.Original},
	{harness.Original, harness.Dovetail},
	{harness.Dovetail, harness.Dovetail},
}

// port is that of an address.
func port(t *testing.T, addr string) string {
	t.Helper()
	_, p, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// logged waits until the log of a transport has a line with all the words, and
// returns it.
func logged(t *testing.T, tr *harness.Transport, words ...string) string {
	t.Helper()
	found := ""
	harness.Eventually(t, fmt.Sprintf("line with %q in %s", words, tr.Log), func() bool {
		text, _ := os.ReadFile(tr.Log)
	lines:
		for line := range strings.Lines(string(text)) {
			for _, word := range words {
				if !strings.Contains(line, word) {
					continue lines
				}
			}
			found = line
			return true
		}
		return false
	})
	return found
}

func submit(t *testing.T, tr *harness.Transport, text string, to ...string) {
	t.Helper()
	args := []string{"-sS", "--url", "smtp://" + tr.SMTP, "--mail-from", "sender@example.org", "-T", "-"}
	for _, rcpt := range to {
		args = append(args, "--mail-rcpt", rcpt)
	}
	harness.Run(t, text, "curl", args...)
}

// Mail goes from one transport to another over verified TLS, into a mailbox.
func TestRelayWithTLS(t *testing.T) {
	for _, pair := range relays {
		t.Run(fmt.Sprintf("from=%v,to=%v", pair.from, pair.to), func(t *testing.T) {
			mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{SocketUser: "postfix"})
			last := harness.StartTransport(t, pair.to, harness.TransportOptions{
				Deliver: "lmtp:unix:" + mb.LMTPSocket, Main: "smtpd_tls_loglevel = 1",
			})
			first := harness.StartTransport(t, pair.from, harness.TransportOptions{
				Deliver: "smtp:[127.0.0.1]:" + port(t, last.SMTP),
				Main: "smtp_tls_security_level = secure\nsmtp_tls_secure_cert_match = localhost\nsmtp_tls_loglevel = 1\n" +
					"smtp_tls_CAfile = " + filepath.Join(last.Dir, "cert.pem"),
			})
			text := fmt.Sprintf(letter, "relayed")
			submit(t, first, text, harness.User(0), harness.User(1))
			for n := range 2 {
				logged(t, first, "to=<"+harness.User(n)+">", "relay=127.0.0.1[127.0.0.1]:"+port(t, last.SMTP), "dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as ")
				got := harness.Run(t, "", "python3", "testdata/pop3.py", mb.POP3, harness.User(n), harness.Password, "1")
				if want := text[strings.Index(text, "From:"):]; !strings.Contains(strings.ReplaceAll(got, "\r\n", "\n"), strings.ReplaceAll(want, "\r\n", "\n")) {
					t.Errorf("got\n%s\nwant it to contain\n%s", got, want)
				}
			}
			logged(t, first, "Verified TLS connection established to 127.0.0.1[127.0.0.1]:", "TLSv1.3 with cipher TLS_AES_")
			logged(t, last, "TLS connection established from ", "TLSv1.3 with cipher TLS_AES_")
			first.Empty(t)
			last.Empty(t)
		})
	}
}

// Mail for other domains finds its servers by MX records, next hops of
// transport_maps, and relayhost.
func TestRouting(t *testing.T) {
	sink := harness.StartTransport(t, harness.Original, harness.TransportOptions{
		Main: "relay_domains = mx.test, backup.test, mapped.test, other.test\nsmtpd_relay_restrictions = permit_mynetworks, reject\n" +
			"transport_maps = static:discard:taken",
	})
	at := port(t, sink.SMTP)
	zone := dnstest.New(t, `
mx.test.          IN MX 10 host.mx.test.
host.mx.test.     IN A 127.0.0.1
backup.test.      IN MX 10 gone.backup.test.
backup.test.      IN MX 20 host.mx.test.
gone.backup.test. IN A 127.0.0.77
null.test.        IN MX 0 .
`)
	dir := harness.Dir(t)
	conf, err := os.ReadFile(zone.ResolvConf)
	if err != nil {
		t.Fatal(err)
	}
	resolvConf := filepath.Join(dir, "resolv.conf") // where every user can read it
	harness.Write(t, resolvConf, string(conf))
	maps := filepath.Join(dir, "transport")
	harness.Write(t, maps, strings.ReplaceAll(`
mx.test       smtp:
backup.test   smtp:
null.test     smtp:
unknown.test  smtp:
mapped.test   smtp:[127.0.0.1]:PORT
error.test    error:5.7.1 no mail for you
discard.test  discard:silently
retry.test    retry:4.2.0 not today
`, "PORT", at))
	tr := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{
		Relay: "smtp",
		Main:  "transport_maps = texthash:" + maps + "\nrelayhost = [127.0.0.1]:" + at + "\nsmtp_tcp_port = " + at + "\nsmtp_connect_timeout = 5s\nsmtpd_reject_unlisted_recipient = no",
		Env:   []string{"DOVETAIL_RESOLV_CONF=" + resolvConf},
	})
	for _, test := range []struct{ to, want string }{
		{"mx.test", "relay=host.mx.test[127.0.0.1]:" + at + ", "},
		{"backup.test", "relay=host.mx.test[127.0.0.1]:" + at + ", "},
		{"mapped.test", "relay=127.0.0.1[127.0.0.1]:" + at + ", "},
		{"other.test", "relay=127.0.0.1[127.0.0.1]:" + at + ", "}, // relayhost
		{"null.test", "dsn=5.1.0, status=bounced (Domain null.test does not accept mail (nullMX))"},
		{"unknown.test", "dsn=5.4.4, status=bounced (Host or domain name not found. Name service error for name=unknown.test type=A: Host not found)"},
		{"error.test", "relay=none, delay="},
		{"error.test", "dsn=5.7.1, status=bounced (no mail for you)"},
		{"discard.test", "dsn=2.0.0, status=sent (silently)"},
		{"retry.test", "dsn=4.2.0, status=deferred (not today)"},
	} {
		submit(t, tr, fmt.Sprintf(letter, "routed"), "someone@"+test.to)
		line := logged(t, tr, "to=<someone@"+test.to+">", test.want)
		if strings.Contains(test.want, "relay=") && !strings.Contains(test.want, "none") && !strings.Contains(line, "status=sent (250 2.0.0 Ok: queued as ") {
			t.Errorf("%s: %s", test.to, line)
		}
	}
	logged(t, tr, "connect to gone.backup.test[127.0.0.77]:"+at+": Connection refused")
}

// LMTP over TCP with STARTTLS: each recipient has a status of its own.
func TestLMTPWithTLS(t *testing.T) {
	for _, pair := range pairs[:3] {
		t.Run(fmt.Sprintf("transport=%v,mailbox=%v", pair.transport, pair.mailbox), func(t *testing.T) {
			mb := harness.StartMailbox(t, pair.mailbox, harness.MailboxOptions{})
			tr := harness.StartTransport(t, pair.transport, harness.TransportOptions{
				Deliver: "lmtp:inet:" + strings.Replace(mb.LMTP, "127.0.0.1", "localhost", 1), Users: 3,
				Main: "lmtp_tls_security_level = verify\nlmtp_tls_loglevel = 1\nlmtp_host_lookup = native\nlmtp_tls_CAfile = " + filepath.Join(mb.Dir, "cert.pem"),
			})
			// The transport knows a third user, the mailbox service does not.
			harness.Write(t, filepath.Join(mb.Dir, "users"), harness.User(0)+":{PLAIN}x\n"+harness.User(1)+":{PLAIN}x\n")
			submit(t, tr, fmt.Sprintf(letter, "by LMTP"), harness.User(0), harness.User(1), harness.User(2))
			for n := range 2 {
				logged(t, tr, "to=<"+harness.User(n)+">", "relay=localhost[127.0.0.1]:", "dsn=2.0.0, status=sent (250 2.0.0 <"+harness.User(n)+"> ", "Saved)")
			}
			logged(t, tr, "to=<"+harness.User(2)+">", "dsn=5.1.1, status=bounced (host localhost[127.0.0.1] said: 550 5.1.1 <"+harness.User(2)+"> User doesn't exist: "+harness.User(2)+" (in reply to RCPT TO command))")
			logged(t, tr, "Verified TLS connection established to localhost[127.0.0.1]:")
		})
	}
}
