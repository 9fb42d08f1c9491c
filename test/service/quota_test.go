package service

import (
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

const quotaConfig = `
mail_plugins = $mail_plugins quota
protocol imap {
  mail_plugins = $mail_plugins imap_quota
}
plugin {
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:storage=10:messages=4
  quota_max_mail_size = 50k
  quota_warning = messages=75%% quota-warning above "%u"
  quota_warning2 = -messages=75%% quota-warning below %u
  quota_status_success = DUNNO
  quota_status_nouser = REJECT nobody
  quota_status_toolarge = 552 5.2.3 too large
}
service quota-status {
  executable = quota-status -p postfix
  unix_listener quota-status {
    mode = 0666
  }
  client_limit = 1
}
service quota-warning {
  executable = script DIR/warn first
  user = mail
  unix_listener quota-warning {
    mode = 0666
  }
}
`

// warnScript appends its arguments to a file, under a lock: warnings may come together.
const warnScript = "#!/bin/sh\numask 0\nexec 9>>DIR/warned\n/usr/bin/flock 9\necho \"$*\" >&9\n"

// TestQuotaServices has both servers answer policy requests, run warnings and refuse messages.
func TestQuotaServices(t *testing.T) {
	outcomes := map[harness.Program]string{}
	for _, p := range []harness.Program{harness.Original, harness.Dovetail} {
		t.Run(p.String(), func(t *testing.T) {
			mb := harness.NewMailbox(t, p, harness.MailboxOptions{})
			dir := filepath.Join(mb.Dir, "quota")
			if err := os.Mkdir(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			script := filepath.Join(dir, "warn")
			if err := os.WriteFile(script, []byte(strings.ReplaceAll(warnScript, "DIR", dir)), 0o755); err != nil {
				t.Fatal(err)
			}
			add(t, mb.Config, strings.ReplaceAll(quotaConfig, "DIR", dir))
			mb.Start(t)
			outcomes[p] = playQuota(t, mb, dir)
		})
	}
	if diff := cmp.Diff(outcomes[harness.Original], outcomes[harness.Dovetail]); diff != "" {
		t.Errorf("(-original +ours):\n%s", diff)
	}
}

// playQuota fills and empties a mailbox, and returns what was answered and run.
func playQuota(t *testing.T, mb *harness.Mailbox, dir string) string {
	t.Helper()
	var out strings.Builder
	socket := filepath.Join(mb.Dir, "run", "quota-status")
	harness.WaitSocket(t, mb.Process, socket)
	policy := dialPolicy(t, socket)
	ask := func(attributes ...string) {
		fmt.Fprintf(&out, "%s: %s\n", strings.Join(attributes, " "), policy(attributes...))
	}
	warned := func(line string) {
		harness.Eventually(t, "warning "+line, func() bool {
			text, _ := os.ReadFile(filepath.Join(dir, "warned"))
			return strings.HasSuffix(string(text), line+"\n")
		})
	}
	user := harness.User(0)
	c := harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX")
	save := func(size int) {
		text := "Subject: x\r\n\r\n" + strings.Repeat("x", size-14)
		_, ok, err := c.IMAP(fmt.Sprintf("APPEND INBOX {%d+}\r\n%s", len(text), text))
		if err != nil {
			ok = err.Error()
		}
		fmt.Fprintf(&out, "append %d: %v\n", size, strings.Contains(ok, "APPENDUID"))
	}
	ask("recipient=" + user)
	ask("recipient="+user, "size=5000")
	ask("recipient="+user, "size=15000")
	ask("recipient="+strings.Replace(user, "@", "+detail@", 1), "protocol_state=rcpt", "size=x")
	ask("recipient="+user, "protocol_state=DATA")
	ask("sender=" + user)
	ask("recipient="+user, "size=60000")
	save(100)
	save(100)
	save(100)
	warned("first above \"" + user + "\"")
	save(9000)
	ask("recipient="+user, "size=600")
	save(700)
	save(400)
	ask("recipient=" + user)
	c.Must(t, "STORE 1:2 +FLAGS.SILENT \\Deleted")
	c.Must(t, "EXPUNGE")
	warned("first below " + user)
	ask("recipient="+user, "size=20")
	ask("recipient="+user, "size=9000")
	c.Must(t, "LOGOUT")
	text, err := os.ReadFile(filepath.Join(dir, "warned"))
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	return out.String()
}

// dialPolicy connects to a policy service and returns how to ask it.
func dialPolicy(t *testing.T, path string) func(attributes ...string) string {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return func(attributes ...string) string {
		t.Helper()
		conn.SetDeadline(time.Now().Add(time.Minute))
		if _, err := conn.Write([]byte("request=smtpd_access_policy\n" + strings.Join(attributes, "\n") + "\n\n")); err != nil {
			t.Fatal(err)
		}
		var answer []byte
		b := make([]byte, 512)
		for !strings.HasSuffix(string(answer), "\n\n") {
			n, err := conn.Read(b)
			if err != nil {
				t.Fatalf("after %q: %v", answer, err)
			}
			answer = append(answer, b[:n]...)
		}
		return strings.TrimSpace(string(answer))
	}
}
