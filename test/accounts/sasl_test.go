package accounts

import (
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// securityOptions are those of procedure 2.10.3: passwords in the clear are for sessions
// with TLS only.
const securityOptions = "smtpd_sasl_security_options = noanonymous, noplaintext\nsmtpd_sasl_tls_security_options = noanonymous\n"

// startSASL starts an auth server with mechanisms, on a socket that is only Postfix's and
// over TCP. It returns what smtpd_sasl_path may be.
func startSASL(t *testing.T, program harness.Program, mechanisms string) (paths []string) {
	t.Helper()
	port := harness.FreePort(t)
	a := start(t, program, map[string]string{
		"dovecot.conf": noPenalties + "auth_mechanisms = " + mechanisms + "\npassdb {\n  driver = passwd-file\n  args = @DIR@/users\n}\n" +
			"service auth {\n  unix_listener @DIR@/run/postfix-auth {\n    mode = 0660\n    user = postfix\n    group = postfix\n  }\n" +
			fmt.Sprintf("  inet_listener {\n    address = 127.0.0.1\n    port = %d\n  }\n}\n", port),
		"users": "dvtlsasl:{PLAIN}sasl secret\n",
	})
	socket := filepath.Join(a.dir, "run", "postfix-auth")
	harness.WaitSocket(t, a.Process, socket)
	return []string{"unix:" + socket, fmt.Sprintf("inet:127.0.0.1:%d", port)}
}

// playSecurity returns what an SMTP server offers and answers without and with TLS.
func playSecurity(t *testing.T, program harness.Program, path, options string) (said []string) {
	t.Helper()
	tr := harness.StartTransport(t, program, harness.TransportOptions{Auth: path, Main: securityOptions + options})
	defer tr.Stop()
	for _, secure := range []bool{false, true} {
		for _, i := range []int{0, 5, 6} {
			said = append(said, saslDialogue(t, tr.Submission, secure, saslSessions[i])...)
		}
	}
	return said
}

// TestSASL is procedure 2.10.3 with the Dovecot type. Each of both programs asks each, with
// a mechanism besides that may be used without TLS.
func TestSASL(t *testing.T) {
	t.Parallel()
	var want []string
	for _, server := range []harness.Program{harness.Original, harness.Dovetail} {
		for _, path := range startSASL(t, server, "plain login cram-md5") {
			for _, smtp := range []harness.Program{harness.Original, harness.Dovetail} {
				said := playSecurity(t, smtp, path, "")
				if want == nil {
					want = said
				}
				if diff := cmp.Diff(want, said); diff != "" {
					t.Errorf("%v asks %v at %s (-originals +these)\n%s", smtp, server, path, diff)
				}
			}
		}
	}
	if want[0] != "CRAM-MD5" || !strings.Contains(strings.Join(want, "\n"), "PLAIN LOGIN CRAM-MD5\n") {
		t.Errorf("offered: %q", want)
	}
}

// TestSASLPlaintextOnly is the same with the mechanisms of the procedure, of which none is
// left without TLS. Postfix's smtpd dies then as soon as somebody connects, so it can do that
// only where TLS comes first. Ours does not announce AUTH before STARTTLS.
func TestSASLPlaintextOnly(t *testing.T) {
	t.Parallel()
	for _, server := range []harness.Program{harness.Original, harness.Dovetail} {
		path := startSASL(t, server, "plain login")[0]
		theirs, ours := playTLSFirst(t, harness.Original, path), playTLSFirst(t, harness.Dovetail, path)
		if diff := cmp.Diff(theirs, ours); diff != "" || theirs[0] != "PLAIN LOGIN" {
			t.Errorf("%v (-Postfix +Dovetail)\n%s\n%q", server, diff, theirs)
		}
		said := playSecurity(t, harness.Dovetail, path, "")
		if tls := said[len(said)/2:]; said[0] != "no AUTH" || !slices.Equal(tls, ours) {
			t.Errorf("%v: offered before STARTTLS: %q; after it: %q, want %q", server, said[0], tls, ours)
		}
	}
	path := startSASL(t, harness.Original, "plain login")[0]
	tr := harness.StartTransport(t, harness.Original, harness.TransportOptions{Auth: path, Main: securityOptions})
	c, err := net.Dial("tcp", tr.Submission)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	harness.Eventually(t, "the end of Postfix's smtpd", func() bool {
		return strings.Contains(readFile(t, tr.Log), "fatal: no SASL authentication mechanisms")
	})
}

// playTLSFirst returns what an SMTP server with smtpd_tls_wrappermode offers and answers.
func playTLSFirst(t *testing.T, program harness.Program, path string) (said []string) {
	t.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	tr := harness.StartTransport(t, program, harness.TransportOptions{
		Auth: path, Main: securityOptions, Master: addr + " inet n - n - - smtpd\n  -o smtpd_tls_wrappermode=yes\n  -o smtpd_sasl_auth_enable=yes\n",
	})
	defer tr.Stop()
	harness.WaitTCP(t, tr.Process, addr)
	for _, i := range []int{0, 5, 6} {
		c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the test's own server
		if err != nil {
			t.Fatal(err)
		}
		l := newLineConn(c)
		l.until("220 ")
		said = append(said, authDialogue(l, saslSessions[i])...)
		c.Close()
	}
	return said
}
