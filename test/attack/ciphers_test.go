package attack

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// choices are settings of a service about ciphers and curves.
var choices = []struct{ name, options string }{
	{"default", ""},
	{"high", "-o smtpd_tls_ciphers=high"},
	{"null", "-o smtpd_tls_ciphers=null"},
	{"mandatory null where TLS is not", "-o smtpd_tls_mandatory_ciphers=null -o smtpd_tls_mandatory_exclude_ciphers=AES128"},
	{"mandatory null", "-o smtpd_tls_security_level=encrypt -o smtpd_tls_mandatory_ciphers=null"},
	{"without AES128 and SHA1", "-o {smtpd_tls_exclude_ciphers=AES128, SHA1}"},
	{"without what is both", "-o smtpd_tls_exclude_ciphers=aRSA+AESGCM:RC4"},
	{"without both lists", "-o smtpd_tls_security_level=encrypt -o smtpd_tls_exclude_ciphers=CHACHA20 -o smtpd_tls_mandatory_exclude_ciphers=aECDSA"},
	{"grade high by names", "-o smtpd_tls_ciphers=HIGH -o tls_high_cipherlist=ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:AES128-SHA"},
	{"grade high by classes", "-o smtpd_tls_ciphers=high -o tls_high_cipherlist=EECDH+AESGCM:EDH+AESGCM -o smtpd_tls_exclude_ciphers=aRSA"},
	{"grade medium is another", "-o tls_high_cipherlist=AES128 -o tls_medium_cipherlist=HIGH:!AES256"},
	{"server's order", "-o tls_preempt_cipherlist=yes"},
	{"curve P-256", "-o tls_eecdh_auto_curves=prime256v1"},
	{"curves", "-o {tls_eecdh_auto_curves=X25519, secp384r1 X448}"},
	{"unknown curve", "-o {tls_eecdh_auto_curves=nosuch}"},
	{"grade of curves", "-o smtpd_tls_eecdh_grade=ultra"},
}

// TestCiphers offers each cipher suite and each curve of crypto/tls alone, to Postfix and to Dovetail with the same settings, in smtpd and in
// postscreen: they take the same.
func TestCiphers(t *testing.T) {
	t.Parallel()
	var took [2]map[string]string
	for i, p := range []harness.Program{harness.Original, harness.Dovetail} {
		took[i] = map[string]string{}
		dir := harness.Dir(t)
		var chains []string
		for _, key := range [][]string{{"rsa:2048"}, {"ec", "-pkeyopt", "ec_paramgen_curve:P-256"}} {
			file := filepath.Join(dir, fmt.Sprintf("%d.pem", len(chains)))
			harness.Run(t, "", "openssl", append([]string{"req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=mail.example.test", "-keyout", file + ".key", "-out", file, "-newkey"}, key...)...)
			for _, part := range []string{file + ".key", file} {
				text, err := os.ReadFile(part)
				if err != nil {
					t.Fatal(err)
				}
				chains = append(chains, string(text))
			}
		}
		chain := filepath.Join(dir, "chain.pem")
		harness.Write(t, chain, strings.Join(chains, ""))
		var master strings.Builder
		addrs := map[string]string{}
		add := func(name, format string) {
			addrs[name] = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
			fmt.Fprintf(&master, format+"\n", addrs[name])
		}
		for _, c := range choices {
			add(c.name, "%s inet n - n - - smtpd "+c.options)
		}
		add("postscreen", "%s inet n - n - 1 postscreen")
		master.WriteString("smtpd pass - - n - - smtpd\ntlsproxy unix - - n - 0 tlsproxy -o tlsproxy_tls_ciphers=high -o tls_high_cipherlist=HIGH:!AES256 -o tlsproxy_tls_exclude_ciphers=SHA1 -o tls_eecdh_auto_curves=secp384r1\n")
		tr := harness.StartTransport(t, p, harness.TransportOptions{Master: master.String(), Main: "smtpd_tls_chain_files = " + chain + "\nsmtpd_tls_cert_file =\nsmtpd_tls_key_file =\n" +
			"postscreen_access_list =\npostscreen_greet_banner =\npostscreen_pipelining_enable = yes\nsmtpd_client_connection_rate_limit = 0\nsmtpd_client_connection_count_limit = 0\n"})
		for name, addr := range addrs {
			harness.WaitTCP(t, tr.Process, addr)
			took[i][name] = offer(t, addr)
		}
	}
	if diff := cmp.Diff(took[0], took[1]); diff != "" {
		t.Errorf("taken (-Postfix +Dovetail):\n%s", diff)
	}
	if all := strings.Fields(took[1]["default"]); len(all) != 14 {
		t.Errorf("of 10 suites and 4 curves %q are taken by default", all)
	}
}

// offer returns which suites of TLS 1.2 and which curves of TLS 1.3 a server takes.
func offer(t *testing.T, addr string) string {
	var taken []string
	for _, suite := range tls.CipherSuites() {
		if suite.SupportedVersions[0] < tls.VersionTLS13 && secured(t, addr, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite.ID}}) {
			taken = append(taken, suite.Name)
		}
	}
	for _, curve := range []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521} {
		if secured(t, addr, &tls.Config{MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{curve}}) {
			taken = append(taken, curve.String())
		}
	}
	return strings.Join(taken, " ")
}

// secured reports whether STARTTLS succeeds. Whatever else goes wrong is an error of the test.
func secured(t *testing.T, addr string, config *tls.Config) bool {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	r := newReplies(conn)
	for _, step := range [][2]string{{"", "220"}, {"HELO x\r\n", "250"}, {"STARTTLS\r\n", "220"}} {
		if _, err := conn.Write([]byte(step[0])); err != nil {
			t.Fatal(err)
		}
		if reply := r.next(); !strings.HasPrefix(reply, step[1]) {
			t.Fatalf("%s: %q is answered with %q", addr, step[0], reply)
		}
	}
	config.InsecureSkipVerify = true
	secure := tls.Client(conn, config)
	if secure.Handshake() != nil {
		return false
	}
	fmt.Fprint(secure, "NOOP\r\n")
	return strings.HasPrefix(newReplies(secure).next(), "250")
}
