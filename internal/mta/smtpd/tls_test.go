package smtpd

import (
	"bufio"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// An authority issues certificates for a test.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir(), key: newKey(t, "rsa")}
	if err := os.Chmod(a.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"Example"}, CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err == nil {
		a.cert, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.file("ca"), pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

func newKey(t *testing.T, kind string) (key crypto.Signer) {
	t.Helper()
	var err error
	switch kind {
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ecdsa":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name+".pem") }

// issue makes a certificate and writes it, after its key, into a file.
func (a *authority) issue(t *testing.T, name, kind string, expires time.Duration) tls.Certificate {
	t.Helper()
	key := newKey(t, kind)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(expires),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.file(name), pem.Block{Type: "PRIVATE KEY", Bytes: private}, pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func writePEM(t *testing.T, name string, blocks ...pem.Block) {
	t.Helper()
	var text []byte
	for i := range blocks {
		text = append(text, pem.EncodeToMemory(&blocks[i])...)
	}
	if err := os.WriteFile(name+".new", text, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

func fingerprint(der []byte) string {
	return strings.ReplaceAll(fmt.Sprintf("% X", sha256.Sum256(der)), " ", ":")
}

// A tlsCase is a session with TLS.
type tlsCase struct {
	name    string
	config  string // of the service, after smtpd_tls_security_level = may and the certificates
	client  *tls.Config
	inject  string // sent in plain text together with STARTTLS
	garbage bool   // in place of a handshake
	wrap    bool
	twice   bool // a second session resumes the first
	ignore  string
}

func tlsCases(t *testing.T, ca, other *authority) []tlsCase {
	trusted := ca.issue(t, "client.example", "rsa", time.Hour)
	trustedEC := ca.issue(t, "client-ec.example", "ecdsa", time.Hour)
	expired := ca.issue(t, "old.example", "rsa", -time.Minute)
	unknown := other.issue(t, "stranger.example", "ecdsa", time.Hour)
	leaf, err := x509.ParseCertificate(unknown.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	ask := "smtpd_tls_ask_ccert = yes\nsmtpd_tls_CAfile = " + ca.file("ca") + "\n"
	relay := func(list string) string {
		return ask + "smtpd_relay_restrictions = " + list + ", reject_unauth_destination\n"
	}
	with := func(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }
	return []tlsCase{
		{name: "TLS 1.3"},
		{name: "TLS 1.3 with P-256", client: &tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP256}}},
		{name: "TLS 1.2", client: &tls.Config{MaxVersion: tls.VersionTLS12}},
		{name: "ECDSA", config: "smtpd_tls_chain_files = " + ca.file("ec.example")},
		{name: "Ed25519", config: "smtpd_tls_chain_files = " + ca.file("ed.example")},
		{name: "chains of two kinds", config: "smtpd_tls_chain_files = " + ca.file("ec.example") + ", " + ca.file("mail.example.com"), client: &tls.Config{
			MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}},
		{name: "old protocol", config: "smtpd_tls_protocols = >=TLSv1.3", client: &tls.Config{MaxVersion: tls.VersionTLS12}, ignore: "TLS library problem"},
		{name: "excluded cipher", config: "smtpd_tls_exclude_ciphers = AES128+AESGCM, aNULL", client: &tls.Config{
			MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384}}},
		{name: "no common cipher", config: "smtpd_tls_exclude_ciphers = AESGCM", ignore: "TLS library problem", client: &tls.Config{
			MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}},
		{name: "injected commands", inject: "MAIL FROM:<injected@example.org>\r\nRCPT TO:<alice@example.com>\r\n"},
		{name: "garbage", garbage: true, ignore: "TLS library problem"},
		{name: "wrapper mode", config: "smtpd_tls_wrappermode = yes\nsmtpd_tls_security_level = none\n", wrap: true},
		{name: "no certificate presented", config: relay("permit_tls_clientcerts")},
		{name: "trusted", config: relay("permit_tls_all_clientcerts"), client: with(trusted)},
		{name: "trusted, ECDSA", config: relay("permit_tls_all_clientcerts"), client: with(trustedEC)},
		{name: "trusted, but not listed", config: relay("permit_tls_clientcerts"), client: with(trusted)},
		{name: "expired", config: relay("permit_tls_all_clientcerts") + "smtpd_tls_loglevel = summary,untrusted,peercert\n", client: with(expired)},
		{name: "another authority", config: relay("permit_tls_all_clientcerts") + "smtpd_tls_loglevel = summary,untrusted,peercert\n", client: with(unknown)},
		{name: "listed certificate", config: relay("permit_tls_clientcerts") + "relay_clientcerts = inline:{{" + fingerprint(leaf.Raw) + "=x}}\n", client: with(unknown)},
		{name: "listed key", config: relay("permit_tls_clientcerts") + "relay_clientcerts = inline:{{" + fingerprint(leaf.RawSubjectPublicKeyInfo) + "=x}}\n", client: with(unknown)},
		{name: "key refused", config: ask + "smtpd_client_restrictions = check_ccert_access inline:{{" + fingerprint(leaf.RawSubjectPublicKeyInfo) + "=REJECT not you}}\n", client: with(unknown)},
		{name: "certificates asked for by nobody", config: "smtpd_client_restrictions = check_ccert_access inline:{x=REJECT}, permit_tls_clientcerts\n"},
		{name: "required, absent", config: ask + "smtpd_tls_req_ccert = yes\nsmtpd_tls_security_level = encrypt\n"},
		{name: "required, not trusted", config: ask + "smtpd_tls_req_ccert = yes\nsmtpd_tls_security_level = encrypt\n", client: with(unknown)},
		{name: "required, trusted", config: ask + "smtpd_tls_req_ccert = yes\nsmtpd_tls_security_level = encrypt\n", client: with(trusted)},
		{name: "required in vain", config: ask + "smtpd_tls_req_ccert = yes\n"},
		{name: "SNI", config: "tls_server_sni_maps = hash:" + ca.dir + "/sni\n", client: &tls.Config{ServerName: "a.b.example"}},
		{name: "SNI of a domain", config: "tls_server_sni_maps = hash:" + ca.dir + "/sni\n", client: &tls.Config{ServerName: "x.domain.example"}},
		{name: "SNI not matched", config: "tls_server_sni_maps = hash:" + ca.dir + "/sni\n", client: &tls.Config{ServerName: "elsewhere.example"}},
		{name: "resumed", config: ask + "smtpd_tls_loglevel = summary,cache\n", client: with(trusted), twice: true, ignore: "session ticket, key expiration"},
	}
}

// play speaks the client's part twice, or once, and returns what the server said. ended returns when
// the server has logged the end of the first session.
func (c *tlsCase) play(t *testing.T, addr string, ended func()) string {
	config := new(tls.Config)
	if c.client != nil {
		config = c.client.Clone()
	}
	config.InsecureSkipVerify = true
	if config.CurvePreferences == nil {
		config.CurvePreferences = []tls.CurveID{tls.X25519} // the newest curve that both servers have
	}
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	if config.ServerName == "" {
		config.ServerName = "127.0.0.1" // the name of the session, not sent
	}
	var said strings.Builder
	c.session(t, addr, config, &said)
	if c.twice {
		ended()
		c.session(t, addr, config, &said)
	}
	return normalize(said.String())
}

func (c *tlsCase) session(t *testing.T, addr string, config *tls.Config, said *strings.Builder) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	r := bufio.NewReader(conn)
	command := func(line string) bool {
		if line != "" {
			io.WriteString(conn, line+"\r\n")
		}
		for {
			reply, err := r.ReadString('\n')
			if err != nil {
				fmt.Fprintf(said, "closed\n")
				return false
			}
			said.WriteString(strings.ReplaceAll(reply, "\r\n", "\n"))
			if len(reply) > 3 && reply[3] == ' ' {
				return true
			}
		}
	}
	if !c.wrap {
		command("")
		command("EHLO client.example")
		command(strings.TrimSuffix("STARTTLS\r\n"+c.inject, "\r\n"))
	}
	if c.garbage {
		io.WriteString(conn, "EHLO this is no handshake\r\n")
		for err == nil { // an alert, and the end
			_, err = r.ReadByte()
		}
		return
	}
	secure := tls.Client(conn, config)
	if err := secure.Handshake(); err != nil {
		fmt.Fprintf(said, "no handshake\n")
		return
	}
	fmt.Fprintf(said, "%s resumed=%v\n", tls.VersionName(secure.ConnectionState().Version), secure.ConnectionState().DidResume)
	fmt.Fprintf(said, "server is %s\n", secure.ConnectionState().PeerCertificates[0].Subject.CommonName)
	conn, r = secure, bufio.NewReader(secure)
	if c.wrap {
		command("")
	}
	for _, line := range []string{
		"EHLO client.example", "MAIL FROM:<a@b.example>", "RCPT TO:<c@elsewhere.example>", "RCPT TO:<alice@example.com>",
		"DATA", "Subject: x\r\n\r\nx\r\n.", "QUIT",
	} {
		if !command(line) {
			return
		}
	}
}

var queuedPattern = regexp.MustCompile(`: client=`)

// comparable leaves out of a log what no case is about, and what it ignores.
func (c *tlsCase) comparable(log string) string {
	var out strings.Builder
	for line := range strings.Lines(normalize(log)) {
		if c.ignore != "" && strings.Contains(line, c.ignore) || strings.Contains(line, "message-id=") {
			continue
		}
		out.WriteString(line)
	}
	return out.String()
}

// TestTLSLikePostfix has the same sessions with this server and with Postfix: replies, log lines and Received headers are the same.
func TestTLSLikePostfix(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may start Postfix")
	}
	ca, other := newAuthority(t, "Test CA"), newAuthority(t, "Other CA")
	ca.issue(t, "mail.example.com", "rsa", time.Hour)
	ca.issue(t, "ec.example", "ecdsa", time.Hour)
	ca.issue(t, "ed.example", "ed25519", time.Hour)
	sni := fmt.Sprintf("a.b.example %s\n.domain.example %s\n", ca.file("ec.example"), ca.file("ed.example"))
	if err := os.WriteFile(filepath.Join(ca.dir, "sni"), []byte(sni), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("/usr/sbin/postmap", "-F", "hash:"+ca.dir+"/sni").CombinedOutput(); err != nil {
		t.Fatalf("postmap: %v: %s (run test/install-packages)", err, out)
	}
	common := "smtpd_tls_loglevel = 1\nsmtpd_tls_received_header = yes\nsmtpd_tls_security_level = may\nsmtpd_relay_restrictions = reject_unauth_destination\n" +
		"smtpd_tls_cert_file = " + ca.file("mail.example.com") + "\nsmtpd_discard_ehlo_keywords = chunking, silent-discard\n"
	cases := tlsCases(t, ca, other)
	var all []dialogue
	for i := range cases {
		if strings.Contains(cases[i].config, "chain_files") {
			cases[i].config += "\nsmtpd_tls_cert_file =\n"
		}
		all = append(all, dialogue{config: lastWins(common + cases[i].config)})
	}
	p := startPostfix(t, all)
	for i := range cases {
		c := &cases[i]
		t.Run(c.name, func(t *testing.T) {
			theirs := c.play(t, p.addrs[i], func() { p.sessionsLog(t, i, 1) })
			their := p.sessionsLog(t, i, 1+count(c.twice))
			ts := startServer(t, all[i].config, nil)
			ours := c.play(t, ts.addr, func() { ts.awaitSessions(t) })
			ts.stop()
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("dialogue (-Postfix +Dovetail):\n%s", diff)
			}
			if diff := cmp.Diff(c.comparable(their), c.comparable(ts.log.lines(t))); diff != "" {
				t.Errorf("log (-Postfix +Dovetail):\n%s", diff)
			}
			id := queueIDPattern.FindString(queuedLine(their))
			if (id == "") != (len(ts.queue.messages) == 0) {
				t.Fatalf("one of both has accepted the message")
			}
			if id == "" {
				return
			}
			want, _, _ := strings.Cut(normalize(p.content(t, id)), "\nSubject:")
			got, _, _ := strings.Cut(normalize(strings.ReplaceAll(ts.queue.messages[0].body.String(), "\r\n", "\n")), "\nSubject:")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("header (-Postfix +Dovetail):\n%s", diff)
			}
		})
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

func queuedLine(log string) string {
	for line := range strings.Lines(log) {
		if queuedPattern.MatchString(line) {
			return line
		}
	}
	return ""
}

// lastWins leaves one line for each parameter: the last.
func lastWins(config string) string {
	var names []string
	values := map[string]string{}
	for line := range strings.Lines(config) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			continue
		}
		if name = strings.TrimSpace(name); values[name] == "" {
			names = append(names, name)
		}
		values[name] = name + " = " + strings.TrimSpace(value)
	}
	var b strings.Builder
	for _, name := range names {
		b.WriteString(values[name] + "\n")
	}
	return b.String()
}

// sessionsLog is what a service logged of so many sessions.
func (p *realPostfix) sessionsLog(t *testing.T, service, sessions int) string {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if log := p.smtpdLog(t, service); strings.Count(log, "disconnect from ") >= sessions || time.Now().After(deadline) {
			return log
		}
	}
}
