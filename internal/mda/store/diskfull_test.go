package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// listOps are operations on names, which must not be done by half when the disk is full.
var listOps = []struct {
	name string
	do   func(t *testing.T, u *User) error
}{
	{"create", func(t *testing.T, u *User) error { return createAndUse(t, u, "New/Deep/Deeper") }},
	{"delete", func(t *testing.T, u *User) error { return u.Delete(t.Context(), "Old") }},
	{"rename", func(t *testing.T, u *User) error { return u.Rename(t.Context(), "Work", "Office/Work") }},
	{"rename INBOX", func(t *testing.T, u *User) error { return u.Rename(t.Context(), "INBOX", "Before") }},
	{"subscribe", func(t *testing.T, u *User) error { return u.Subscribe(t.Context(), "Dir/Sub") }},
	{"unsubscribe", func(t *testing.T, u *User) error { return u.Unsubscribe(t.Context(), "Work") }},
	{"status", func(t *testing.T, u *User) error { _, err := u.Status(t.Context(), "Dir/Sub", true); return err }},
	{"resync", func(t *testing.T, u *User) error { return u.ForceResync(t.Context(), "Dir/Sub") }},
}

// TestFullDiskOfNames has less and less space for each operation on names. It succeeds, or says that there
// is no space; then all mailboxes and messages are there, and it succeeds with space again.
func TestFullDiskOfNames(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may mount a small file system")
	}
	for _, format := range []string{"sdbox", "mdbox", "maildir", "mbox"} {
		for _, op := range listOps {
			if op.name == "rename INBOX" && format == "maildir" {
				continue // is refused
			}
			t.Run(format+"/"+op.name, func(t *testing.T) {
				failed := 0
				for pages := range 20 {
					if fullDiskOfNames(t, format, pages, op.do) {
						failed++
					}
				}
				t.Logf("failed %d times", failed)
			})
		}
	}
}

// fullDiskOfNames does an operation while so many pages are free, and reports whether it failed.
func fullDiskOfNames(t *testing.T, format string, pages int, do func(*testing.T, *User) error) (failed bool) {
	t.Helper()
	home := t.TempDir()
	if err := unix.Mount("tmpfs", home, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(home, unix.MNT_DETACH)
	conf := fmt.Sprintf("mail_location = %s:~/mail\nnamespace inbox {\n  inbox = yes\n  separator = /\n}\n", format)
	u := openTestUser(t, conf, home)
	defer u.Close()
	boxes := []string{"INBOX", "Old", "Work", "Dir/Sub"}
	for _, name := range boxes {
		if err := u.Create(t.Context(), name); err != nil && name != "INBOX" {
			t.Fatal(err)
		}
		saveTo(t, u.User, name, "Subject: in "+name+"\n\ntext\n")
	}
	if err := u.Subscribe(t.Context(), "Work"); err != nil {
		t.Fatal(err)
	}
	listed := names(t, u.User)
	ballast := filepath.Join(home, "ballast")
	fillDisk(t, home, ballast, pages)
	err := do(t, u.User)
	if err != nil {
		failed = true
		if !noSpace(err) {
			t.Errorf("%d pages: %v: %v", pages, err, errors.Unwrap(err))
		}
		for _, name := range boxes {
			if n := countIn(t, u.User, name); n != 1 {
				t.Errorf("%d pages: %s has %d messages after %v", pages, name, n, err)
			}
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if failed {
		// A mailbox that was only made is there and empty.
		if err := do(t, u.User); err != nil && !errors.Is(err, errExists) {
			t.Errorf("%d pages: with space again: %v: %v", pages, err, errors.Unwrap(err))
		}
	}
	after := names(t, u.User)
	subs, err := u.Subscriptions(t.Context())
	if err != nil {
		t.Errorf("%d pages: %v", pages, err)
	}
	u.Close()
	again := openTestUser(t, conf, home)
	defer again.Close()
	if got := names(t, again.User); !slices.Equal(got, after) {
		t.Errorf("%d pages: %q are listed by the next session, %q before; %q at first", pages, got, after, listed)
	}
	if got, err := again.Subscriptions(t.Context()); err != nil || !slices.Equal(got, subs) {
		t.Errorf("%d pages: the next session has the subscriptions %q, %v; want %q", pages, got, err, subs)
	}
	return failed
}

// noSpace tells whether an error says that the disk is full.
func noSpace(err error) bool {
	return errors.Is(err, mailbox.ErrNoSpace) || errors.Is(err, index.ErrNoSpace) || errors.Is(err, unix.ENOSPC)
}

// createAndUse has a mailbox that is or was created take a message.
func createAndUse(t *testing.T, u *User, name string) error {
	err := u.Create(t.Context(), name)
	if err != nil && !errors.Is(err, errExists) {
		return err
	}
	m, err := u.Mailbox(t.Context(), name)
	if err != nil {
		return err
	}
	defer m.Close()
	s, err := m.Save(t.Context(), mailbox.SaveOptions{})
	if err != nil {
		return err
	}
	defer s.Abort()
	if _, err = s.Write([]byte("Subject: new\n\ntext\n")); err == nil {
		_, err = s.Commit(t.Context())
	}
	return err
}

// fillDisk leaves so many pages.
func fillDisk(t *testing.T, dir, ballast string, pages int) {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, max(int64(st.Bfree)-int64(pages), 1)*st.Bsize); err != nil {
		t.Fatal(err)
	}
}

// countIn returns how many messages of a mailbox can be read while the disk is full.
func countIn(t *testing.T, u *User, name string) int {
	t.Helper()
	m, err := u.Mailbox(t.Context(), name)
	if err != nil {
		t.Errorf("%s: %v: %v", name, err, errors.Unwrap(err))
		return -1
	}
	defer m.Close()
	return m.Snapshot().Len()
}
