package attack

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// xtexts are control characters, in the encoding of parameters of MAIL and RCPT.
var xtexts = []string{"+00", "+0D", "+0A", "+0D+0A", "+01", "+09", "+1B", "+7F", "+85", "+C3+A4", "+E2+80+A8", "+FF", "+20", "+3D", "+2B"}

// A carrier is a message whose client hides something in parameters, its login, or its certificate.
type carrier struct {
	name        string
	login       string // SASL user name; empty: none
	subject     string // common name of its certificate; empty: none
	mail, orcpt string // parameters of MAIL, and the value of ORCPT
}

func carriers() []carrier {
	var all []carrier
	for _, x := range xtexts {
		all = append(all, carrier{name: "AUTH " + x, mail: " AUTH=a" + x + "X-Forged:yes"}, carrier{name: "ENVID " + x, mail: " ENVID=a" + x + "X-Forged:yes"},
			carrier{name: "ORCPT " + x, orcpt: "rfc822;a" + x + "X-Forged:yes"}, carrier{name: "ORCPT type " + x, orcpt: "x" + x + "X-Forged:yes;a@b.example"})
	}
	for _, mail := range []string{" AUTH=<>", " AUTH=<> AUTH=<>", " AUTH=x AUTH=<>", " AUTH=+", " AUTH=" + strings.Repeat("x", 600), " ENVID=+", " ENVID=x ENVID=y", " ENVID=", " ENVID=" + strings.Repeat("e", 150)} {
		all = append(all, carrier{name: fmt.Sprintf("%.20s", mail), mail: mail})
	}
	for _, orcpt := range []string{`utf-8;a\x{0D}\x{0A}X-Forged:yes`, `utf-8;\x{E4}\x{5C}+@b.example`, `utf-8;a\x{00}b`, `utf-8;a\x{110000}`, `utf-8;a\x{`, "rfc822;", ";x", "rfc822;" + strings.Repeat("o", 600), "rfc822;a+0"} {
		all = append(all, carrier{name: fmt.Sprintf("%.20s", orcpt), orcpt: orcpt})
	}
	for _, c := range []string{"\n", "\r\n", "\t", "\x01", "\x7f", "\xff", "\xc3\xa4", ")", "(", "\\", "=", " ", "\"", "<", "'"} {
		all = append(all, carrier{name: fmt.Sprintf("login %q", c), login: "u" + c + "X-Forged:yes"})
		if c != "\xff" {
			all = append(all, carrier{name: fmt.Sprintf("certificate %q", c), subject: "s" + c + "X-Forged:yes"})
		}
	}
	return append(all, carrier{name: "certificate NUL", subject: "s\x00X-Forged:yes"}, carrier{name: "certificate ending in NUL", subject: "s\x00"}, carrier{name: "long certificate", subject: strings.Repeat("s", 300)})
}

// TestControlCharacters has clients hide control characters in what is decoded, of parameters, logins and certificates, and follows it to the
// log, to policy servers, to headers, to commands of pipe(8), to the next server and to notifications: nothing becomes a line, an
// attribute or an argument of its own, and all is as with Postfix.
func TestControlCharacters(t *testing.T) {
	t.Parallel()
	mb := harness.StartMailbox(t, harness.Original, harness.MailboxOptions{Extra: "auth_username_chars =\npassdb {\n  driver = static\n  args = nopassword=y\n}\n"})
	ca := newIssuer(t)
	var seen [2]map[string]string
	for i, p := range []harness.Program{harness.Original, harness.Dovetail} {
		seen[i] = followed(t, p, mb.AuthTCP, ca)
	}
	for name, was := range seen[0] {
		was, is := escaped.ReplaceAllString(was, "u?x-forged"), escaped.ReplaceAllString(seen[1][name], "u?x-forged")
		if diff := cmp.Diff(strings.Split(was, "\n"), strings.Split(is, "\n")); diff != "" {
			t.Errorf("%s (-Postfix +Dovetail):\n%s", name, diff)
		}
	}
}

// escaped is a login with control characters, whose escapes in Dovecot's protocol Postfix leaves as they are, but for what does not print.
var escaped = regexp.MustCompile(`u(\?[rnt1]?)+x-forged`)

// followed sends all carriers to a server and returns what is to be seen of each.
func followed(t *testing.T, p harness.Program, auth string, ca *issuer) map[string]string {
	t.Helper()
	policy := newPolicy(t)
	next := harness.StartNextHop(t, &harness.NextHop{})
	dir := harness.Dir(t)
	if err := os.Chmod(dir, 0o777); err != nil { //nolint:gosec // for the command, which runs as nobody
		t.Fatal(err)
	}
	harness.Write(t, filepath.Join(dir, "mark"), "for a in \"$@\"; do printf '%s|' \"$a\"; done >\""+dir+"/$1.args\"\ncat >/dev/null\n")
	tr := harness.StartTransport(t, p, harness.TransportOptions{Auth: "inet:" + auth, Relay: "smtp:[127.0.0.1]:" + next.Port(),
		Main: "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_authenticated_header = yes\nsmtpd_tls_received_header = yes\nsmtpd_tls_ask_ccert = yes\nsmtpd_tls_CAfile = " + ca.file +
			"\nsmtpd_tls_loglevel = 1\nsmtpd_tls_auth_only = no\nsmtpd_recipient_restrictions = check_policy_service inet:" + policy.addr + "\nsmtpd_relay_restrictions = permit_mynetworks, reject\n" +
			"transport_maps = inline:{ { piped.test = mark: } }\nmark_destination_recipient_limit = 1\nsmtpd_error_sleep_time = 0\nsmtpd_hard_error_limit = 100\n",
		Master: "mark unix - n n - - pipe user=nobody null_sender= argv=/bin/sh " + dir + "/mark ${user} ${sasl_sender} ${sasl_username} ${original_recipient} ${sender} end\n"})
	seen, queued := map[string]string{}, 0
	all := carriers()
	for i, c := range all {
		said := ca.send(t, tr.SMTP, i, &c)
		queued += strings.Count(said, "queued as")
		seen[c.name] = unnamed(said)
	}
	if queued < len(all)*2/3 {
		t.Fatalf("%v takes only %d of %d letters", p, queued, len(all))
	}
	// Each goes to one recipient on the next server, to one of pipe(8), and makes a notification about both.
	harness.Eventually(t, "letters", func() bool { return len(next.Letters()) >= 2*queued })
	for _, letter := range next.Letters() {
		header, body, _ := strings.Cut(letter.Content, "\r\n\r\n")
		_, number, _ := strings.Cut(letter.Content, "X-Case: ")
		number, _, _ = strings.Cut(number, "\r\n")
		var i int
		if _, err := fmt.Sscan(number, &i); err != nil {
			t.Fatalf("%v: no case in %q", p, letter.Content)
		}
		if forged.MatchString(header) || forged.MatchString(body) {
			t.Errorf("%v, %s: a line is the client's:\n%q", p, all[i].name, letter.Content)
		}
		if !strings.Contains(header, "X-Case") { // a notification
			_, body, _ = strings.Cut(body, "Content-Type: message/")
			header, _, _ = strings.Cut(body, "\r\n--")
			seen[all[i].name] += "\nnotification:"
		}
		header = regexp.MustCompile(`(?s)(Message-Id|Content-|Reporting|with cipher|key-exchange).*?\r\n`).ReplaceAllString(header, "$1...\r\n")
		seen[all[i].name] += "\n" + letter.From + "\n" + strings.Join(letter.To, "\n") + "\n" + unnamed(header)
	}
	for i, c := range all {
		args, _ := os.ReadFile(fmt.Sprintf("%s/p%d.args", dir, i)) //nolint:errcheck // there is none where the message was refused
		seen[c.name] += fmt.Sprintf("\narguments %q", args)
		seen[c.name] += "\npolicy " + policy.of(fmt.Sprintf("recipient=p%d@", i))
	}
	log, err := os.ReadFile(tr.Log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		if !logStart.MatchString(line) || strings.ContainsAny(strings.TrimSuffix(line, "\n"), "\r\x00\x01\x1b\x7f") {
			t.Errorf("%v: a line of the log is the client's: %q", p, line)
		}
		if i := strings.Index(line, ": client="); i > 0 {
			seen["log"] += "\n" + regexp.MustCompile(`\[127.*?\]`).ReplaceAllString(line[i:], "")
		}
	}
	return seen
}

var forged = regexp.MustCompile(`(?im)(^|\r)[^ a-z]*X-Forged`)

// An issuer makes certificates.
type issuer struct {
	file string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	ca := &issuer{file: filepath.Join(harness.Dir(t), "ca.pem"), key: key}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	harness.Write(t, ca.file, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return ca
}

func (ca *issuer) issue(t *testing.T, subject string) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: subject}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &ca.key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: ca.key}
}

// send sends a message with number i, and returns the replies.
func (ca *issuer) send(t *testing.T, addr string, i int, c *carrier) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { conn.Close() }()
	conn.SetDeadline(time.Now().Add(time.Minute))
	r := newReplies(conn)
	var said []string
	ask := func(format string, args ...any) {
		fmt.Fprintf(conn, format, args...)
		for {
			line := r.next()
			if len(line) < 4 || line[3] != '-' {
				said = append(said, line)
				return
			}
		}
	}
	ask("")
	if c.subject != "" {
		ask("EHLO x\r\n")
		ask("STARTTLS\r\n")
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{ca.issue(t, c.subject)}})
		r = newReplies(conn)
	}
	ask("EHLO x\r\n")
	if c.login != "" {
		ask("AUTH PLAIN %s\r\n", base64.StdEncoding.EncodeToString([]byte("\x00"+c.login+"\x00password")))
	}
	ask("MAIL FROM:<sender@origin.test>%s\r\n", c.mail)
	for _, to := range []string{"r%d@relayed.test", "p%d@piped.test"} {
		to = fmt.Sprintf(to, i)
		if c.orcpt != "" {
			ask("RCPT TO:<%s> NOTIFY=%s ORCPT=%s\r\n", to, map[byte]string{'r': "NEVER", 'p': "SUCCESS"}[to[0]], c.orcpt)
		} else {
			ask("RCPT TO:<%s> NOTIFY=%s\r\n", to, map[byte]string{'r': "NEVER", 'p': "SUCCESS"}[to[0]])
		}
	}
	ask("DATA\r\n")
	ask("X-Case: %d\r\n\r\nx\r\n.\r\n", i)
	return strings.Join(said, "\n")
}

// A policy is a policy server that lets all pass and keeps what it was told.
type policy struct {
	addr string
	mu   sync.Mutex
	told []string
}

func newPolicy(t *testing.T) *policy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &policy{addr: l.Addr().String()}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(conn)
		}
	}()
	return p
}

func (p *policy) serve(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for request := ""; ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if request += line; line != "\n" {
			continue
		}
		p.mu.Lock()
		p.told = append(p.told, request)
		p.mu.Unlock()
		request = ""
		if _, err := fmt.Fprint(conn, "action=dunno\n\n"); err != nil {
			return
		}
	}
}

// of returns what names a login or a certificate in the request that has a text; everything is an attribute that Postfix has.
func (p *policy) of(text string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, request := range p.told {
		if !strings.Contains(request, text) {
			continue
		}
		var kept []string
		for line := range strings.Lines(request) {
			name, _, _ := strings.Cut(line, "=")
			if strings.HasPrefix(name, "sasl_") || name == "ccert_subject" || name == "ccert_issuer" || !strings.Contains(line, "=") && line != "\n" || strings.HasPrefix(name, "X-") {
				kept = append(kept, fmt.Sprintf("%q", line))
			}
		}
		return strings.Join(kept, " ")
	}
	return "none"
}
