package attack

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// A dialogue is what a client says, step by step; each step gets one reply.
type dialogue struct {
	name  string
	steps []string
}

const mailTo = "MAIL FROM:<a@a.example>\r\n"

// advisories are what clients said when Postfix had to be mended. Those about STARTTLS (CVE-2011-0411) and about the ends of content
// (CVE-2023-51764) have tests of their own: test/door, test/smtpd and TestSmugglingOnward.
var advisories = []dialogue{
	// A mechanism after another that failed used what was freed.
	{"CVE-2011-1720 SASL again", []string{"EHLO x\r\n", "AUTH CRAM-MD5\r\n", "*\r\n", "AUTH CRAM-MD5\r\n", "Zm9v\r\n", "AUTH PLAIN\r\n", "*\r\n", "AUTH LOGIN\r\n", "dXNlcjBAZXhhbXBsZS50ZXN0\r\n", "=\r\n",
		"AUTH LOGIN\r\n", "dXNlcjBAZXhhbXBsZS50ZXN0\r\n", "cGFzcw==\r\n", "AUTH PLAIN AGEAYg==\r\n", mailTo, "RCPT TO:<b@elsewhere.test>\r\n"}},
	// Addresses that the parser of addresses never came back from.
	{"CVE-2003-0540 address without end", []string{"EHLO x\r\n", "MAIL FROM:<.!>\r\n", "MAIL FROM:<.!@mail.example.test>\r\n", "MAIL FROM:<.@.>\r\n", mailTo, "RCPT TO:<.!@mail.example.test>\r\n", "RCPT TO:<nonlocal!@mail.example.test>\r\n", "RCPT TO:<!@>\r\n"}},
	// Addresses by which others' ports could be tried.
	{"CVE-2003-0468 bounce scan", []string{"EHLO x\r\n", "MAIL FROM:<a@[127.0.0.1]:22>\r\n", mailTo, "RCPT TO:<x@[127.0.0.1]:22>\r\n", "RCPT TO:<[127.0.0.1]!x@mail.example.test>\r\n"}},
	// A relay between addresses of IPv6 by a wrong comparison.
	{"CVE-2005-0337 IPv6 relay", []string{"EHLO [IPv6:::1]\r\n", mailTo, "RCPT TO:<x@[IPv6:::1]>\r\n", "RCPT TO:<x@[IPv6:2001:db8::1]>\r\n"}},
	// Commands behind one that has to be waited for.
	{"unauthorized pipelining of commands", []string{"EHLO x\r\nMAIL FROM:<a@a.example>\r\n"}},
	{"unauthorized pipelining of content", []string{"EHLO x\r\n", mailTo, "RCPT TO:<user0@example.test>\r\n", "DATA\r\nSubject: early\r\n\r\n.\r\n"}},
	{"unauthorized pipelining without EHLO", []string{"HELO x\r\n", "MAIL FROM:<a@a.example>\r\nRCPT TO:<user0@example.test>\r\n"}},
	// What a web browser sends.
	{"HTTP request", []string{"POST / HTTP/1.1\r\n"}},
	{"HTTP request later", []string{"EHLO x\r\n", "CONNECT mail.example.test:25 HTTP/1.1\r\n"}},
	{"header as a command", []string{"EHLO x\r\n", "Host: mail.example.test\r\n"}},
	// What Postfix 3.7 knows nothing of.
	{"REQUIRETLS", []string{"EHLO x\r\n", "MAIL FROM:<a@a.example> REQUIRETLS\r\n"}},
	// Where AUTH is for TLS only it is not to be had without, whoever cut STARTTLS or the list of mechanisms out of a reply.
	{"AUTH downgrade", []string{"EHLO x\r\n", "AUTH PLAIN AHVzZXIwQGV4YW1wbGUudGVzdABwYXNz\r\n", "AUTH ANONYMOUS\r\n", "AUTH EXTERNAL =\r\n", "AUTH XOAUTH2 =\r\n", "AUTH plain\r\n", "*\r\n"}},
	{"AUTH within a message", []string{"EHLO x\r\n", mailTo, "AUTH PLAIN AHVzZXIwQGV4YW1wbGUudGVzdABwYXNz\r\n"}},
}

// TestAdvisories plays what advisories are about with Postfix and with Dovetail, which answer the same.
func TestAdvisories(t *testing.T) {
	t.Parallel()
	mb := harness.StartMailbox(t, harness.Original, harness.MailboxOptions{Extra: "auth_mechanisms = plain login cram-md5\nauth_failure_delay = 0\nservice anvil {\n  unix_listener anvil-auth-penalty {\n    mode = 0\n  }\n}\n"})
	var said [2]map[string][]string
	for i, p := range []harness.Program{harness.Original, harness.Dovetail} {
		said[i] = map[string][]string{}
		secure := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
		tr := harness.StartTransport(t, p, harness.TransportOptions{Auth: "inet:" + mb.AuthTCP, Main: "mynetworks =\nsmtpd_forbid_unauth_pipelining = yes\n" +
			"smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination\nsmtpd_delay_reject = no\nsmtpd_sasl_auth_enable = yes\nsmtpd_tls_auth_only = no\nsmtpd_error_sleep_time = 0\n",
			Master: secure + " inet n - n - - smtpd\n  -o smtpd_tls_auth_only=yes\n"})
		harness.WaitTCP(t, tr.Process, secure)
		for _, d := range advisories {
			said[i][d.name] = play(t, tr.SMTP, d)
			said[i][d.name+", AUTH with TLS only"] = play(t, secure, d)
		}
	}
	if diff := cmp.Diff(said[0], said[1]); diff != "" {
		t.Errorf("(-Postfix +Dovetail):\n%s", diff)
	}
}

// play has a dialogue, until the server hangs up, and returns the replies.
func play(t *testing.T, addr string, d dialogue) []string {
	t.Helper()
	c, err := harness.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var said []string
	for _, step := range append(d.steps[:len(d.steps):len(d.steps)], "QUIT\r\n") {
		if c.Put(step) != nil {
			break
		}
		reply, err := c.Reply()
		if err != nil {
			break // the server hung up
		}
		said = append(said, challenge.ReplaceAllString(reply, "334 CHALLENGE"))
	}
	return said
}

var challenge = regexp.MustCompile(`334 PD\S+`) // of CRAM-MD5

// injections are what must become no line of its own, in a header or a log, in the ways that commands write it.
var injections = []dialogue{
	{"EHLO with CR", []string{"EHLO x\rX-Forged: yes\r\n"}},
	{"EHLO with LF", []string{"EHLO x\nX-Forged: yes\n"}},
	{"EHLO with NUL", []string{"EHLO x\x00X-Forged: yes\r\n"}},
	{"EHLO with other line ends", []string{"EHLO x\x0bX-Forged\x85\xe2\x80\xa8X-Forged\r\n"}},
	{"EHLO with comment", []string{"EHLO x) by forged (y\r\n"}},
	{"XCLIENT NAME", []string{"XCLIENT NAME=x+0D+0AX-Forged:yes ADDR=192.0.2.1\r\n"}},
	{"XCLIENT HELO", []string{"XCLIENT ADDR=192.0.2.1 HELO=x+0D+0AX-Forged:yes\r\n"}},
	{"XCLIENT LOGIN", []string{"XCLIENT ADDR=192.0.2.1 LOGIN=x+0D+0AX-Forged:yes\r\n"}},
	{"XCLIENT PORT", []string{"XCLIENT PORT=1+0D+0AX-Forged:yes ADDR=192.0.2.1\r\n"}},
	{"XCLIENT PROTO", []string{"XCLIENT PROTO=ESMTP+0D+0AX-Forged:yes ADDR=192.0.2.1\r\n"}},
	{"XCLIENT DESTADDR", []string{"XCLIENT DESTADDR=192.0.2.2+0D+0AX-Forged:yes ADDR=192.0.2.1\r\n"}},
	{"XFORWARD NAME", []string{"EHLO x\r\n", "XFORWARD NAME=x+0D+0AX-Forged:yes ADDR=192.0.2.1\r\n"}},
	{"XFORWARD ADDR", []string{"EHLO x\r\n", "XFORWARD ADDR=192.0.2.1+0D+0AX-Forged\r\n"}},
	{"XFORWARD HELO", []string{"EHLO x\r\n", "XFORWARD HELO=x+0D+0AX-Forged:yes PROTO=SMTP\r\n"}},
	{"XFORWARD PROTO", []string{"EHLO x\r\n", "XFORWARD PROTO=x+0D+0AX-Forged:yes\r\n"}},
	{"XFORWARD IDENT", []string{"EHLO x\r\n", "XFORWARD IDENT=x+0D+0AX-Forged:yes SOURCE=LOCAL\r\n"}},
	{"AUTH parameter", []string{"EHLO x\r\n", "MAIL FROM:<a@a.example> AUTH=x+0D+0AX-Forged:yes\r\n"}},
	{"ENVID", []string{"EHLO x\r\n", "MAIL FROM:<a@a.example> ENVID=x+0D+0AX-Forged:yes\r\n"}},
	{"sender", []string{"EHLO x\r\n", "MAIL FROM:<\"x\rX-Forged: yes\"@a.example>\r\n"}},
	{"ORCPT", []string{"EHLO x\r\n", mailTo, "RCPT TO:<user0@example.test> ORCPT=rfc822;x+0D+0AX-Forged:yes\r\n"}},
	{"recipient", []string{"EHLO x\r\n", mailTo, "RCPT TO:<\"x\rX-Forged: yes\"@example.test>\r\n"}},
	{"unknown command", []string{"EHLO x\r\n", "x\rX-Forged: yes\r\n"}},
	{"VRFY", []string{"EHLO x\r\n", "VRFY x\rX-Forged: yes\r\n"}},
	{"ETRN", []string{"EHLO x\r\n", "ETRN x\rX-Forged\r\n"}},
	{"pipelining", []string{"NOOP\r\nx\rX-Forged: yes\r\n"}},
}

// ownWay are injections that get other replies than from Postfix: an address with CR is none, CR does not end a word, NUL does not end a text.
var ownWay = map[string]bool{"sender": true, "recipient": true, "VRFY": true, "ETRN": true, "EHLO with NUL": true}

// TestInjection writes line ends into everything that goes into a header or a log line, and sends a message then: its header has no
// line of the attacker's, the log has none that does not begin with the time, and what arrives is what Postfix makes of it.
func TestInjection(t *testing.T) {
	t.Parallel()
	var said, came [2]map[string]string
	for i, p := range []harness.Program{harness.Original, harness.Dovetail} {
		said[i], came[i] = map[string]string{}, map[string]string{}
		last := harness.StartNextHop(t, &harness.NextHop{})
		tr := harness.StartTransport(t, p, harness.TransportOptions{Deliver: "smtp:[127.0.0.1]:" + last.Port(), Main: "smtpd_authorized_xclient_hosts = 127.0.0.0/8\n" +
			"smtpd_authorized_xforward_hosts = 0.0.0.0/0\nsmtpd_sasl_authenticated_header = yes\nsmtpd_error_sleep_time = 0\nvirtual_mailbox_maps = static:x\nsmtpd_forbid_bare_newline = no\n"})
		queued := 0
		for _, d := range injections {
			d.steps = append(d.steps[:len(d.steps):len(d.steps)], mailTo, "RCPT TO:<user0@example.test>\r\n", "DATA\r\n", "X-Case: "+d.name+"\r\n\r\nx\r\n.\r\n")
			replies := strings.Join(play(t, tr.SMTP, d), "\n")
			queued += strings.Count(replies, "queued as")
			if !ownWay[d.name] {
				said[i][d.name] = unnamed(replies)
			}
		}
		if queued < len(injections)*2/3 {
			t.Errorf("%v takes only %d letters", p, queued)
		}
		harness.Eventually(t, "letters", func() bool { return len(last.Letters()) >= queued })
		for _, letter := range last.Letters() {
			header, _, _ := strings.Cut(letter.Content, "\r\n\r\n")
			if regexp.MustCompile(`(?im)(^|\r)[^ ]*X-Forged`).MatchString(header) {
				t.Errorf("%v: a header is the attacker's:\n%q", p, header)
			}
			_, name, _ := strings.Cut(header, "X-Case: ")
			name, _, _ = strings.Cut(name, "\r\n")
			if ownWay[name] {
				continue
			}
			came[i][name] = letter.From + "\n" + strings.Join(letter.To, "\n") + "\n" + unnamed(header)
		}
		log, err := os.ReadFile(tr.Log)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(log)) {
			if !logStart.MatchString(line) || strings.ContainsAny(strings.TrimSuffix(line, "\n"), "\r\x00\x0b") {
				t.Errorf("%v: a line of the log is the attacker's: %q", p, line)
			}
		}
	}
	if diff := cmp.Diff(said[0], said[1]); diff != "" {
		t.Errorf("replies (-Postfix +Dovetail):\n%s", diff)
	}
	if diff := cmp.Diff(came[0], came[1]); diff != "" {
		t.Errorf("letters (-Postfix +Dovetail):\n%s", diff)
	}
}

var (
	logStart = regexp.MustCompile(`^[A-Z][a-z]{2} [ 0-9]\d \d\d:\d\d:\d\d \S+ postfix/\S+\[\d+\]: `)
	queueID  = regexp.MustCompile(`\b[0-9A-F]{9,14}\b`)
	date     = regexp.MustCompile(`\w{3}, [ 0-9]\d? \w{3} \d{4} \d\d:\d\d:\d\d \S+( \(\w+\))?`)
)

// unnamed is a text without what differs from run to run.
func unnamed(s string) string {
	return date.ReplaceAllString(queueID.ReplaceAllString(s, "QUEUEID"), "DATE")
}
