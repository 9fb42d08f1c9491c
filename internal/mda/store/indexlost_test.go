package store

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// The map of an mdbox is made anew of mailboxes whose directories are named by GUIDs, too.
func TestMdboxMapWithoutNames(t *testing.T) {
	home := t.TempDir()
	conf := "mail_location = mdbox:~/mail:LAYOUT=index\nnamespace inbox {\n  inbox = yes\n  separator = /\n}\n"
	ctx := context.Background()
	u := openTestUser(t, conf, home)
	for _, name := range []string{"A", "A/b"} {
		if err := u.Create(ctx, name); err != nil {
			t.Fatal(err)
		}
		saveText(t, u.User, name, "Subject: "+name+"\n\nx\n")
	}
	files, err := filepath.Glob(filepath.Join(home, "mail", "storage", "dovecot.map.index*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	u = openTestUser(t, conf, home)
	for _, name := range []string{"A", "A/b"} {
		if err := u.ForceResync(ctx, name); err != nil {
			t.Fatal(err)
		}
		if s, err := u.Status(ctx, name, false); err != nil || s.Messages != 1 {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
}
