package doveadm

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// madeAnew are words about mailboxes that are made, different with each program.
var madeAnew = regexp.MustCompile(` (guid|uidvalidity)=\w+|pop3\.uidl: \w+`)

func TestImport(t *testing.T) {
	for _, from := range []string{"maildir:~/Maildir", "mbox:~/mbox:INBOX=~/inbox"} {
		t.Run(from, func(t *testing.T) {
			t.Parallel()
			a := newHome(t, "sdbox:~/mail")
			a.at(from).fill()
			a.setUp(testMail(60), "save")
			b := a.clone()
			for _, args := range [][]string{
				{"import", from, "imported", "all"},
				{"import", "-s", from, "", "mailbox", "Folder*", "all"},
				{"import", "-s", from, "Deep/Er", "mailbox", "INBOX", "seen"},
				{"import", from, "none", "subject", "matches nothing"},
				{"import", from, "x", "mailbox", "Nosuch", "all"},
			} {
				both(t, a, b, "", args...)
				fields := backupFields + " guid"
				state := func(h *home) string {
					s := h.state(fields)
					return madeAnew.ReplaceAllString(s, "")
				}
				if diff := cmp.Diff(state(a), state(b)); diff != "" {
					t.Fatalf("mail after doveadm %q (-original +ours):\n%s", args, diff)
				}
				if diff := cmp.Diff(a.at(from).state(fields), b.at(from).state(fields)); diff != "" {
					t.Fatalf("the source after doveadm %q (-original +ours):\n%s", args, diff)
				}
			}
		})
	}
}

// TestCopyFromAnotherUser needs the userdb of a running service.
func TestCopyFromAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("as another user than root there is one user only")
		return
	}
	m := harness.StartMailbox(t, harness.Original, harness.MailboxOptions{Users: 3})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h := &home{t: t, dir: m.Dir, self: self}
	asRoot := func(stdin string, program string, args ...string) outcome {
		cmd := h.command(program, "dovecot.conf", args...)
		cmd.SysProcAttr, cmd.Dir = nil, m.Dir
		return h.run(cmd, stdin)
	}
	for n := range 4 {
		if r := asRoot(testMail(n), "/usr/bin/doveadm", "save", "-u", harness.User(1)); r != (outcome{}) {
			t.Fatalf("save: %+v", r)
		}
	}
	for _, program := range []string{"/usr/bin/doveadm", self} {
		for _, args := range [][]string{
			{"copy", "-u", harness.User(0), "INBOX", "user", harness.User(1), "mailbox", "INBOX", "uid", "1"},
			{"move", "-u", harness.User(0), "INBOX", "user", harness.User(1), "mailbox", "INBOX", "uid", map[string]string{self: "3", "/usr/bin/doveadm": "2"}[program]},
		} {
			if r := asRoot("", program, args...); r != (outcome{}) {
				t.Errorf("%s %q: %+v", filepath.Base(program), args, r)
			}
		}
	}
	got := asRoot("", "/usr/bin/doveadm", "fetch", "-u", harness.User(0), "hdr.subject", "mailbox", "INBOX", "all")
	if want := "hdr.subject: mail 0\n\f\nhdr.subject: mail 1\n\f\nhdr.subject: mail 0\n\f\nhdr.subject: mail 2\n"; got.Out != want {
		t.Errorf("destination has %q, want %q", got.Out, want)
	}
	got = asRoot("", "/usr/bin/doveadm", "fetch", "-u", harness.User(1), "uid", "mailbox", "INBOX", "all")
	if want := "uid: 1\n\f\nuid: 4\n"; got.Out != want {
		t.Errorf("source has %q, want %q", got.Out, want)
	}
	names := filepath.Join(m.Dir, "names")
	harness.Write(t, names, harness.User(0)+"\n"+harness.User(1)+"\n")
	if r := asRoot("", self, "flags", "add", "-F", names, "Everybody", "mailbox", "INBOX", "all"); r != (outcome{}) {
		t.Errorf("flags add -F: %+v", r)
	}
	got = asRoot("", "/usr/bin/doveadm", "search", "-F", names, "keyword", "Everybody")
	if n := strings.Count(got.Out, "\n"); n != 6 {
		t.Errorf("flags add -F changed %d messages, want 6:\n%s", n, got.Out)
	}
}
