package service

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// A reload with a mistake in dovecot.conf changes nothing. doveadm says what is
// wrong as Dovecot's does, and the log has the same text.
func TestReloadWithMistakesInDovecotConf(t *testing.T) {
	const greeting = "login_greeting = As it was\n"
	ours := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{Extra: greeting})
	theirs := harness.NewMailbox(t, harness.Original, harness.MailboxOptions{Extra: greeting})
	session := harness.ConnectIMAP(t, ours.IMAP, 0, "INBOX")
	text := make(map[*harness.Mailbox]string)
	for _, mb := range []*harness.Mailbox{ours, theirs} {
		content, err := os.ReadFile(mb.Config)
		if err != nil {
			t.Fatal(err)
		}
		text[mb] = string(content)
		harness.Write(t, filepath.Join(mb.Dir, "bad.inc"), "\n# a comment\nlog_paht = x\n")
	}
	for name, mistake := range dovecotMistakes {
		t.Run(name, func(t *testing.T) {
			for mb, good := range text {
				harness.Write(t, mb.Config, good+mistake)
			}
			skip := size(ours.Log)
			got, status := attempt(t, harness.Binary(t), "doveadm", "-c", ours.Config, "reload")
			want, wantStatus := attempt(t, "/usr/bin/doveadm", "-c", theirs.Config, "reload")
			want = strings.ReplaceAll(want, theirs.Dir, ours.Dir)
			if wantStatus == notRunning { // a mistake that only the server sees
				want, wantStatus = "", 0
			} else {
				syscall.Kill(ours.Cmd.Process.Pid, syscall.SIGHUP)
			}
			if got != want || status != wantStatus {
				t.Errorf("doveadm says, with status %d,\n%s\nDovecot's, with status %d,\n%s", status, got, wantStatus, want)
			}
			harness.Eventually(t, "reason in the log", func() bool { return reason(tail(ours.Log, skip)) != "" })
			logs := reason(tail(ours.Log, skip))
			if said, ok := strings.CutPrefix(strings.TrimSpace(want), "doveconf: Fatal: "); ok && logs != "Error reading configuration: "+said {
				t.Errorf("the log says %q", logs)
			}
			c := harness.Connect(t, ours.IMAP)
			if !strings.Contains(c.Greeting, "As it was") {
				t.Errorf("greeting %q", c.Greeting)
			}
			c.Close()
			session.Must(t, "NOOP")
		})
	}
}

// notRunning is doveadm's exit status where there is no server to reload.
const notRunning = 75

// What only the processes would notice stops a reload too, with the reason.
func TestReloadWithWhatProcessesWouldNotice(t *testing.T) {
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{Extra: "login_greeting = As it was\n"})
	good, err := os.ReadFile(mb.Config)
	if err != nil {
		t.Fatal(err)
	}
	held, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	inUse := held.Addr().(*net.TCPAddr).Port
	_, imap, _ := strings.Cut(mb.IMAP, ":")
	for name, m := range map[string]struct{ old, text, reason string }{
		"passdb driver":  {"driver = passwd-file", "driver = nonsense", "Unknown passdb driver 'nonsense'"},
		"mechanism":      {"auth_mechanisms = plain login", "auth_mechanisms = plain nonsense", "Unknown authentication mechanism 'NONSENSE'"},
		"no certificate": {"ssl_cert = <" + mb.Dir + "/cert.pem", "ssl_cert = <" + mb.Dir + "/users", "ssl_cert"},
		"missing file":   {mb.Dir + "/cert.pem", mb.Dir + "/nocert.pem", "ssl_cert: Can't open file " + mb.Dir + "/nocert.pem: No such file or directory"},
		"port in use": {"address = 127.0.0.1\n    port = " + mb.LMTP[len("127.0.0.1:"):], fmt.Sprintf("address = 127.0.0.1\n    port = %d", inUse),
			fmt.Sprintf("service(lmtp): listen(127.0.0.1, %d) failed: Address already in use", inUse)},
		"port twice": {"address = 127.0.0.1\n    port = " + mb.LMTP[len("127.0.0.1:"):], "address = 127.0.0.1\n    port = " + imap,
			"listen(127.0.0.1, " + imap + ") failed: Address already in use"},
		"base_dir": {"base_dir = " + mb.Dir + "/run", "base_dir = " + mb.Dir + "/run2", "base_dir cannot change from "},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Count(string(good), m.old) != 1 {
				t.Fatalf("%q is not in the file once", m.old)
			}
			harness.Write(t, mb.Config, strings.Replace(string(good), m.old, m.text, 1)+"login_greeting = Never\n")
			skip := size(mb.Log)
			syscall.Kill(mb.Cmd.Process.Pid, syscall.SIGHUP)
			harness.Eventually(t, "reason in the log", func() bool { return reason(tail(mb.Log, skip)) != "" })
			if got := reason(tail(mb.Log, skip)); !strings.Contains(got, m.reason) {
				t.Errorf("the log says %q, not %q", got, m.reason)
			}
			for _, addr := range []string{mb.IMAP, mb.POP3, mb.LMTP} {
				c := harness.Connect(t, addr)
				if strings.Contains(c.Greeting, "Never") {
					t.Errorf("greeting %q", c.Greeting)
				}
				c.Close()
			}
		})
	}
}

// reason is what a log says of a reload that failed, without what else Dovecot
// tried.
func reason(log string) string {
	for line := range strings.Lines(log) {
		if _, text, ok := strings.Cut(line, "master: Error: "); ok {
			text, _, _ = strings.Cut(strings.TrimSpace(text), " - Also failed to read config")
			return text
		}
	}
	return ""
}
