package service

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// rcpt is the answer to the recipient of a transaction from a sender.
func rcpt(t *testing.T, tr *harness.Transport, sender string) string {
	t.Helper()
	c := harness.Connect(t, tr.SMTP)
	defer c.Close()
	c.Expect(t, "EHLO client.example.org", "250")
	c.Expect(t, "MAIL FROM:<"+sender+">", "250")
	reply, err := c.Ask("RCPT TO:<" + harness.User(0) + ">")
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// Postfix opens tables before it drops its privileges. So tables of every kind
// work that only root can read, or in a directory that only root may enter.
func TestTablesThatOnlyRootCanRead(t *testing.T) {
	replies := make(map[harness.Program]map[string]string)
	for _, program := range []harness.Program{harness.Dovetail, harness.Original} {
		tr := harness.NewTransport(t, program, harness.TransportOptions{})
		secret := filepath.Join(tr.Dir, "secret")
		files := map[string]string{
			"hash": "hash@example.org REJECT of hash\n", "texthash": "texthash@example.org REJECT of texthash\n",
			"regexp": "/^regexp@/ REJECT of regexp\n", "pcre": "/^pcre@/ REJECT of pcre\n", "cidr": "127.0.0.9 REJECT\n",
			"networks": "127.0.0.1\n",
		}
		for name, text := range files {
			harness.Write(t, filepath.Join(secret, name), text)
		}
		harness.Run(t, "", "/usr/sbin/postmap", "hash:"+secret+"/hash")
		protect(t, secret)
		main := filepath.Join(tr.Config, "main.cf")
		edit(t, main, "mynetworks = 127.0.0.0/8", "mynetworks = "+secret+"/networks")
		add(t, main, strings.ReplaceAll(`
indexed = hash:@/
smtpd_restriction_classes = more
more = check_sender_access pcre:@/pcre
smtpd_sender_restrictions = check_sender_access ${indexed}hash check_sender_access texthash:@/texthash
  check_sender_access unionmap:{regexp:@/regexp} check_client_access cidr:@/cidr more
`, "@", secret))
		tr.Start(t)
		answers := make(map[string]string)
		for _, kind := range []string{"hash", "texthash", "regexp", "pcre", "nobody"} {
			answers[kind] = rcpt(t, tr, kind+"@example.org")
		}
		replies[program] = answers

		// A rebuilt table is noticed without a reload.
		harness.Write(t, filepath.Join(secret, "hash"), "hash@example.org OK\n")
		harness.Run(t, "", "/usr/sbin/postmap", "hash:"+secret+"/hash")
		protect(t, secret)
		harness.Eventually(t, "notice of the rebuilt table", func() bool {
			return strings.HasPrefix(rcpt(t, tr, "hash@example.org"), "250")
		})
		tr.Stop()
	}
	for kind, want := range replies[harness.Original] {
		if got := replies[harness.Dovetail][kind]; got != want {
			t.Errorf("%s: Dovetail answers %q, Postfix %q", kind, got, want)
		}
		if kind != "nobody" && !strings.Contains(want, "of "+kind) {
			t.Errorf("%s: Postfix answers %q", kind, want)
		}
	}
}

// protect makes all files of a directory, and the directory, root's alone.
func protect(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.Chmod(filepath.Join(dir, e.Name()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

// A password table for the client is the usual file that only root can read.
func TestPasswordTableThatOnlyRootCanRead(t *testing.T) {
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{SocketUser: "postfix"})
	next := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{Auth: mb.AuthSocket})
	_, port, _ := strings.Cut(next.Submission, ":")
	first := harness.NewTransport(t, harness.Dovetail, harness.TransportOptions{Deliver: "smtp:[127.0.0.1]:" + port})
	passwords := filepath.Join(first.Dir, "sasl_passwd")
	add(t, filepath.Join(first.Config, "main.cf"), `
smtp_sasl_auth_enable = yes
smtp_sasl_security_options = noanonymous
smtp_sasl_password_maps = hash:`+passwords+"\n")
	write := func(password string) {
		harness.Write(t, passwords, "[127.0.0.1]:"+port+" "+harness.User(0)+":"+password+"\n")
		os.Chmod(passwords, 0o600)
		harness.Run(t, "", harness.Binary(t), "postmap", "hash:"+passwords)
		if info, err := os.Stat(passwords + ".db"); err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%v, %v", info, err)
		}
	}
	write("wrong")
	first.Start(t)
	send := func() {
		harness.Run(t, "", "swaks", "--server", first.SMTP, "--from", "sender@example.org", "--to", harness.User(1), "-n")
	}
	send()
	logged(t, first.Log, "SASL authentication failed", 0)
	write(harness.Password)
	time.Sleep(1100 * time.Millisecond) // how long a rebuilt table may go unnoticed
	harness.Run(t, "", harness.Binary(t), "postqueue", "-c", first.Config, "-f")
	logged(t, first.Log, "status=sent", 0)
	logged(t, next.Log, "sasl_username="+harness.User(0), 0)
}
