package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/listindex"
)

// manyMailboxes are what a client can make, or an import leaves.
const manyMailboxes = 10_000

// With thousands of mailboxes all can be listed, and making, renaming and deleting one works as
// with few.
func TestManyMailboxes(t *testing.T) {
	for _, c := range []struct{ location, box string }{
		{"sdbox:~/mail", "mailboxes/%/dbox-Mails/"},
		{"maildir:~/mail", ".%/cur/"},
		{"mbox:~/mail", "%"},
		{"sdbox:~/mail:LAYOUT=index", ""},
	} {
		t.Run(strings.ReplaceAll(c.location, "/", "_"), func(t *testing.T) {
			home := t.TempDir()
			u := openTestUser(t, "mail_fsync = never\nmail_location = "+c.location+"\nnamespace inbox {\n  inbox = yes\n  separator = /\n}\n", home)
			if c.box == "" {
				nameMany(t, u)
			} else {
				makeMany(t, home+"/mail/"+c.box)
			}
			ctx := context.Background()
			if got := len(listed(t, u)); got != manyMailboxes+1 {
				t.Fatalf("%d names, want %d", got, manyMailboxes+1)
			}
			if err := u.Create(ctx, "fresh"); err != nil {
				t.Fatal(err)
			}
			saveText(t, u.User, "fresh", "Subject: new\n\nx\n")
			if err := u.Rename(ctx, "fresh", "renamed"); err != nil {
				t.Fatal(err)
			}
			if s, err := u.Status(ctx, "renamed", false); err != nil || s.Messages != 1 {
				t.Errorf("%+v, %v", s, err)
			}
			if err := u.Delete(ctx, "renamed"); err != nil {
				t.Fatal(err)
			}
			if got := len(listed(t, u)); got != manyMailboxes+1 {
				t.Errorf("%d names are left, want %d", got, manyMailboxes+1)
			}
		})
	}
}

// makeMany makes the directories or files of mailboxes; % is the name.
func makeMany(t *testing.T, pattern string) {
	t.Helper()
	for i := range manyMailboxes {
		path := strings.Replace(pattern, "%", fmt.Sprintf("box%d", i), 1)
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if err == nil && !strings.HasSuffix(path, "/") {
			err = os.WriteFile(path, nil, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// nameMany puts mailboxes into the list index.
func nameMany(t *testing.T, u testUser) {
	t.Helper()
	ns := u.Namespaces()[0]
	if _, err := ns.open(); err != nil {
		t.Fatal(err)
	}
	err := ns.listIndex().Change(context.Background(), func(c *listindex.Change) error {
		for i := range manyMailboxes {
			c.SetMailbox(c.AddPath([]string{fmt.Sprintf("box%d", i)}), dbox.NewGUID(), 1)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
