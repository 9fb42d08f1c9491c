package store

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A hierarchy as deep as names can be: every command ends, and nothing is lost.
func TestDeepHierarchy(t *testing.T) {
	const depth = 1000
	for _, location := range []string{"sdbox:~/mail", "maildir:~/mail:LAYOUT=fs", "sdbox:~/mail:LAYOUT=index", "mbox:~/mail", "mbox:~/mail:LAYOUT=index", "sdbox:~/mail:NO-NOSELECT"} {
		t.Run(strings.ReplaceAll(location, "/", "_"), func(t *testing.T) {
			u := openTestUser(t, "mail_location = "+location+"\nnamespace inbox {\n  inbox = yes\n  separator = /\n}\n", t.TempDir())
			ctx := context.Background()
			leaf := strings.Repeat("a/", depth-1) + "a"
			if err := u.Create(ctx, leaf); err != nil {
				t.Fatal(err)
			}
			saveText(t, u.User, leaf, "Subject: deep\n\nx\n")
			if got := len(listed(t, u)); got != depth+1 {
				t.Fatalf("%d names listed, want %d", got, depth+1)
			}
			if err := u.Create(ctx, strings.Repeat("b/", 5000)+"b"); err == nil {
				t.Error("made a mailbox whose name is too long")
			}
			if err := u.Rename(ctx, "a", "c"); err != nil {
				t.Fatal(err)
			}
			leaf = "c" + leaf[1:]
			if s, err := u.Status(ctx, leaf, false); err != nil || s.Messages != 1 {
				t.Errorf("after the rename: %+v, %v", s, err)
			}
			if err := u.Delete(ctx, leaf); err != nil {
				t.Fatal(err)
			}
			left := depth // the parents, and INBOX
			if strings.Contains(location, "NO-NOSELECT") {
				left = 1
			}
			if got := len(listed(t, u)); got != left {
				t.Errorf("%d names left, want %d", got, left)
			}
		})
	}
}

func listed(t *testing.T, u testUser) (names []string) {
	t.Helper()
	entries, err := u.List(context.Background(), ListQuery{Patterns: []string{"*"}, Return: ReturnChildren})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name)
	}
	return names
}

// What lies in the tree besides mailboxes neither ends a LIST nor leads out.
func TestStrangeTrees(t *testing.T) {
	for _, c := range []struct{ location, box string }{
		{"sdbox:~/mail", "mailboxes/%/dbox-Mails"},
		{"maildir:~/mail:LAYOUT=fs", "%/cur"},
		{"maildir:~/mail", ".%/cur"},
	} {
		t.Run(strings.ReplaceAll(c.location, "/", "_"), func(t *testing.T) {
			home, outside := t.TempDir(), t.TempDir()
			u := openTestUser(t, "mail_location = "+c.location+"\nnamespace inbox {\n  inbox = yes\n  separator = /\n}\n", home)
			ctx := context.Background()
			if err := u.Create(ctx, "real"); err != nil {
				t.Fatal(err)
			}
			dir := func(name string) string {
				path, _ := filepath.Split(strings.Replace(c.box, "%", name, 1))
				return filepath.Join(home, "mail", path)
			}
			base := filepath.Dir(dir("real"))
			os.MkdirAll(filepath.Join(outside, "x", filepath.Base(c.box)), 0o755)
			for name, target := range map[string]string{
				"inside": filepath.Base(dir("real")), "loop": "loop", "up": ".", "out": outside, "far": "../../..", "gone": "nowhere", "file": "/etc/passwd",
			} {
				if err := os.Symlink(target, dir(name)); err != nil {
					t.Fatal(err)
				}
			}
			os.Symlink("..", filepath.Join(dir("real"), "up"))
			os.WriteFile(dir("plain"), nil, 0o600)
			os.MkdirAll(filepath.Join(dir("bad\xff\xfename"), filepath.Base(c.box)), 0o700)
			os.MkdirAll(filepath.Join(dir("bad&name"), filepath.Base(c.box)), 0o700)
			os.MkdirAll(filepath.Join(dir("bad&AGE-"), filepath.Base(c.box)), 0o700)
			os.MkdirAll(filepath.Join(base, ".."+"DOVECOT-TrasH", "x"), 0o700)
			names := listed(t, u)
			for _, want := range []string{"INBOX", "real", "inside", "bad&name", "bad&AGE-"} {
				if !slices.Contains(names, want) {
					t.Errorf("%s is not listed: %q", want, names)
				}
			}
			for _, name := range names {
				if strings.HasPrefix(name, "out/") || strings.HasPrefix(name, "far/") || len(names) > 40 {
					t.Fatalf("listed %q", names)
				}
			}
			if _, err := u.Status(ctx, "inside", false); err != nil {
				t.Error(err)
			}
			for _, name := range []string{"out/x", "out", "loop", "file", "gone"} {
				if m, err := u.Mailbox(ctx, name); err == nil {
					t.Errorf("opened %s at %s", name, m.Location().Dir)
					m.Close()
				}
				u.Delete(ctx, name)
			}
			if _, err := os.Stat(filepath.Join(outside, "x", filepath.Base(c.box))); err != nil {
				t.Error(err)
			}
		})
	}
}
