package store

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// Mail that is there is found where Dovecot finds it.
func TestAutodetection(t *testing.T) {
	for _, c := range []struct {
		location string
		have     string // directories, and files with a trailing ":", in the home directory
	}{
		{"", "Maildir/cur"},
		{"", "sdbox/mailboxes"},
		{"", "mdbox/storage"},
		{"", "Maildir/cur sdbox/mailboxes"},
		{"", "sdbox/mailboxes mdbox/storage"},
		{"", "sdbox/mailboxes sdbox/storage"},
		{"", "mail/.imap"},
		{"", "mail/inbox:"},
		{"", "Mail/mbox:"},
		{"", "Maildir/cur mail/.imap"},
		{"", "Maildir mail"},
		{"~/x", "x/cur"},
		{"~/x", "x/mailboxes"},
		{"~/x", "x/storage"},
		{"~/x", "x/storage x/cur"},
		{"~/x", "x/mbox:"},
		{"~/x", "x"},
		{"~/x", "x: mail/.imap"},
		{"auto:~/x", "x/cur x/.imap"},
		{"auto:~/x:INDEX=~/i", "x/mailboxes"},
		{"auto:", "sdbox/mailboxes"},
		{"auto:~/x", "y"},
		{"~/x:LAYOUT=fs", "x/cur"},
	} {
		t.Run(strings.ReplaceAll(c.location+" "+c.have, "/", "_"), func(t *testing.T) {
			home := t.TempDir()
			for _, name := range strings.Fields(c.have) {
				if file, ok := strings.CutSuffix(name, ":"); ok {
					os.MkdirAll(filepath.Dir(filepath.Join(home, file)), 0o700)
					os.WriteFile(filepath.Join(home, file), nil, 0o600)
				} else {
					os.MkdirAll(filepath.Join(home, name), 0o700)
				}
			}
			conf := "mail_location = " + c.location + "\n"
			ours := detectedInbox(t, conf, home)
			cmd := dovecotCommand(t, conf, home, "mailbox", "path", "-t", "mailbox", "INBOX")
			var errs strings.Builder
			cmd.Stderr = &errs
			out, _ := cmd.Output()
			theirs := strings.TrimSpace(string(out))
			if theirs == "" {
				theirs = strings.TrimPrefix(strings.TrimSpace(errs.String()), "doveadm(bob): Error: ")
			}
			if ours != theirs {
				t.Errorf("\n got %s\nwant %s", ours, theirs)
			}
		})
	}
}

// detectedInbox returns where INBOX is, or why it is nowhere.
func detectedInbox(t *testing.T, conf, home string) string {
	cfg, err := dovecot.Parse("dovecot.conf", conf)
	if err != nil {
		t.Fatal(err)
	}
	u, err := OpenUser(context.Background(), cfg, UserInfo{Username: "bob", Home: home}, nil, nil)
	if err != nil {
		return err.Error()
	}
	defer u.Close()
	p, err := u.resolve("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	loc := p.location()
	return cmpOr(loc.File, loc.Dir)
}
