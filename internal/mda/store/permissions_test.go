package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Mailboxes below a directory of a group are the group's, whatever the umask is.
func TestMailboxesKeepTheGroup(t *testing.T) {
	for _, format := range []string{"sdbox", "maildir"} {
		t.Run(format, func(t *testing.T) {
			home := t.TempDir()
			mail := filepath.Join(home, "mail")
			if err := os.Mkdir(mail, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(mail, 0o770|fs.ModeSetgid); err != nil {
				t.Fatal(err)
			}
			if format == "maildir" {
				if err := os.WriteFile(filepath.Join(mail, maildirShared), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			u := openTestUser(t, "mail_location = "+format+":~/mail\nnamespace inbox {\n  inbox = yes\n  separator = /\n}\n", home)
			ctx := context.Background()
			for _, name := range []string{"one", "one/two"} {
				if err := u.Create(ctx, name); err != nil {
					t.Fatal(err, errors.Unwrap(err))
				}
				saveText(t, u.User, name, "Subject: x\n\ny\n")
				if _, err := u.Status(ctx, name, false); err != nil {
					t.Fatal(err)
				}
			}
			filepath.WalkDir(mail, func(path string, d fs.DirEntry, err error) error {
				if err != nil {
					t.Fatal(err)
				}
				st, err := d.Info()
				if err != nil {
					t.Fatal(err)
				}
				name := strings.TrimPrefix(path, mail)
				switch {
				case strings.Contains(name, "dovecot-uidvalidity."), name == "/"+maildirShared:
				case d.IsDir() && st.Mode() != fs.ModeDir|fs.ModeSetgid|0o770, !d.IsDir() && st.Mode() != 0o660:
					t.Errorf("%s has mode %v", name, st.Mode())
				}
				return nil
			})
			if format == "maildir" {
				if _, err := os.Stat(filepath.Join(mail, ".one.two", maildirShared)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
