package store

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// TestMboxMinIndexSize keeps no index files for a small file.
func TestMboxMinIndexSize(t *testing.T) {
	home := t.TempDir()
	u := openTestUser(t, "mail_location = mbox:~/mail\nmbox_min_index_size = 4k\nnamespace inbox {\n  inbox = yes\n}\n", home)
	index := filepath.Join(home, "mail/.imap/INBOX/dovecot.index.log")
	for n := range 2 {
		m, err := u.Mailbox(t.Context(), "INBOX")
		if err != nil {
			t.Fatal(err)
		}
		s, err := m.Save(t.Context(), mailbox.SaveOptions{})
		if err == nil {
			_, err = s.Write([]byte("Subject: x\n\n" + strings.Repeat("0123456789\n", 500)))
		}
		if err == nil {
			_, err = s.Commit(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(index); (err == nil) != (n > 0) {
			t.Errorf("message %d: index: %v", n+1, err)
		}
		if snap, err := m.Sync(t.Context()); err != nil || snap.Len() != n+1 {
			t.Errorf("message %d: %d messages, %v", n+1, snap.Len(), err)
		}
		m.Close()
	}
}

// TestMboxForeignTree has a tree that other programs made, with what is no mailbox in it.
func TestMboxForeignTree(t *testing.T) {
	home := t.TempDir()
	for _, dir := range []string{"mail/dir/sub", "mail/empty", "mail/x.lock"} {
		if err := os.MkdirAll(filepath.Join(home, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, name := range []string{"inbox", "dir/in", "dir/sub/deep", ".hidden", "a.lock", "dir/b.lock", ".subscriptions"} {
		text := "From a@b " + at.Format("Mon Jan _2 15:04:05 2006") + "\nSubject: " + name + "\n\nx\n\n"
		if name == ".subscriptions" {
			text = "V\t2\n\ndir\tin\n"
		}
		if err := os.WriteFile(filepath.Join(home, "mail", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"link": "dir/in", "up": ".", "out": "/etc/passwd", "dangling": "nowhere"} {
		if err := os.Symlink(to, filepath.Join(home, "mail", link)); err != nil {
			t.Fatal(err)
		}
	}
	u := openTestUser(t, "mail_location = mbox:~/mail\nnamespace inbox {\n  inbox = yes\n}\n", home)
	got := strings.Join(u.answer(`LIST "" *`), "\n")
	want := strings.Join([]string{
		`* LIST (\HasNoChildren) "/" INBOX`,
		`* LIST (\NoInferiors) "/" .hidden`,
		`* LIST (\Noselect \HasChildren) "/" dir`,
		`* LIST (\NoInferiors) "/" dir/in`,
		`* LIST (\Noselect \HasChildren) "/" dir/sub`,
		`* LIST (\NoInferiors) "/" dir/sub/deep`,
		`* LIST (\Noselect \HasNoChildren) "/" empty`,
		`* LIST (\NoInferiors) "/" link`,
		`* LIST (\Noselect \HasNoChildren) "/" up`,
		"OK",
	}, "\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for name, n := range map[string]int{"INBOX": 1, "dir/in": 1, "dir/sub/deep": 1} {
		m, err := u.Mailbox(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := m.Sync(t.Context()); err != nil || s.Len() != n {
			t.Errorf("%s: %v", name, err)
		}
		m.Close()
	}
	if _, err := os.Stat(filepath.Join(home, "mail/dir/.imap/in/dovecot.index.log")); err != nil {
		t.Error(err)
	}
}
