package mailbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

const foreignFrom = "From other@example.org Tue Jan  2 03:04:05 2024\n"

// deliver appends to the file as another program does.
func foreignDelivery(t testing.TB, m *Mailbox, text string) {
	t.Helper()
	f, err := os.OpenFile(m.Location().File, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(foreignFrom + text + "\n")
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// foreignChange gives the file another content.
func foreignChange(t testing.TB, m *Mailbox, change func(string) string) {
	t.Helper()
	text := mboxText(t, m)
	changed := change(text)
	if changed == text {
		t.Fatalf("nothing changes in %q", text)
	}
	if err := os.WriteFile(m.Location().File, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestMboxForeign has other programs deliver, change flags and remove messages.
func TestMboxForeign(t *testing.T) {
	w := newMboxWorld(t)
	m := w.create("A")
	save(t, m, "Subject: 1\r\nMessage-ID: <1>\r\n\r\nx\r\n", SaveOptions{Flags: Seen, Keywords: []string{"Work"}})
	foreignDelivery(t, m, "Subject: 2\nMessage-ID: <2>\n\nx\n")
	foreignDelivery(t, m, "Subject: 3\nMessage-ID: <3>\nStatus: R\nX-Keywords: Work NewKw\nX-UID: 77\n\nx\n")
	wantRows(t, synced(t, m), []row{{1, Seen, "Work"}, {2, 0, ""}, {3, Seen, ""}})
	setFlags(t, m, []uint32{2}, FlagsAdd, Flagged, "Work")
	foreignDelivery(t, m, "Subject: 4\nMessage-ID: <4>\n\nFrom here\nnot quoted\n")
	want := []row{{1, Seen, "Work"}, {2, Flagged, "Work"}, {3, Seen, ""}, {4, 0, ""}}
	wantRows(t, synced(t, m), want)
	if got := text(t, m, 4); got != "Subject: 4\nMessage-ID: <4>\n\nFrom here\nnot quoted\n" {
		t.Errorf("text %q", got)
	}

	// All of it is still so for a new process, whatever happens to the index.
	for _, lost := range []string{"", index.IndexName, index.LogName, "dovecot.index*"} {
		m.Close()
		w.restart()
		if lost != "" {
			paths, err := filepath.Glob(filepath.Join(m.Location().Dir, lost))
			if err != nil || len(paths) == 0 {
				t.Fatal(paths, err)
			}
			for _, path := range paths {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
		}
		m = w.open("A")
		wantRows(t, synced(t, m), want)
		if next := m.Snapshot().UIDNext(); next != 5 {
			t.Errorf("without %s: next uid %d", lost, next)
		}
		for i, r := range want {
			if got := text(t, m, r.UID); !strings.HasPrefix(got, fmt.Sprintf("Subject: %d\n", i+1)) {
				t.Errorf("without %s: text of %d is %q", lost, r.UID, got)
			}
		}
	}

	// Others change flags in place, and remove messages.
	foreignChange(t, m, func(s string) string { return strings.Replace(s, "X-Status: F\n", "X-Status: A\n", 1) })
	want[1].Flags = Answered
	wantRows(t, synced(t, m), want)
	foreignChange(t, m, func(s string) string {
		i, j := strings.Index(s, "From other"), strings.Index(s, "\n\nFrom other@example.org Tue Jan  2 03:04:05 2024\nSubject: 3")
		return s[:i] + s[j+2:]
	})
	want = append(want[:1], want[2:]...)
	wantRows(t, synced(t, m), want)
	// A program that writes a new file.
	other := filepath.Join(w.root, "other")
	if err := os.WriteFile(other, []byte(mboxText(t, m)+foreignFrom+"Subject: 5\n\nx\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, m.Location().File); err != nil {
		t.Fatal(err)
	}
	want = append(want, row{5, 0, ""})
	wantRows(t, synced(t, m), want)
	if err := m.Expunge(ctx, []uint32{1, 3}); err != nil {
		t.Fatal(err)
	}
	wantRows(t, synced(t, m), want[2:])
	if got := text(t, m, 5); got != "Subject: 5\n\nx\n" {
		t.Errorf("text %q", got)
	}

	// One that removes the file when it is empty, and one that delivers then.
	if err := os.Remove(m.Location().File); err != nil {
		t.Fatal(err)
	}
	m.Close()
	if _, err := w.pool.Open(ctx, w.loc("A"), &w.set); err == nil {
		t.Error("a mailbox without a file was opened")
	}
	if err := os.WriteFile(w.loc("A").File, []byte(foreignFrom+"Subject: 6\nMessage-ID: <6>\n\nx\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m = w.open("A")
	wantRows(t, synced(t, m), []row{{6, 0, ""}})
}

// TestMboxMoved reads messages whose places another program has changed since.
func TestMboxMoved(t *testing.T) {
	w := newMboxWorld(t)
	m := w.create("A")
	for i := range 3 {
		save(t, m, fmt.Sprintf("Subject: %d\nMessage-ID: <%d>\n\nbody %d\n", i+1, i+1, i+1), SaveOptions{})
	}
	synced(t, m)
	stamp, err := os.Stat(m.Location().File)
	if err != nil {
		t.Fatal(err)
	}
	// Same size, same time: nothing but the content tells.
	foreignChange(t, m, func(s string) string {
		i, j := strings.Index(s, "\nFrom tester"), strings.LastIndex(s, "\nFrom tester")
		first, second, third := s[:i+1], s[i+1:j+1], s[j+1:]
		return first + third + second
	})
	if err := os.Chtimes(m.Location().File, stamp.ModTime(), stamp.ModTime()); err != nil {
		t.Fatal(err)
	}
	if got := text(t, m, 1); got != "Subject: 1\nMessage-ID: <1>\n\nbody 1\n" {
		t.Errorf("text %q", got)
	}
	// Uids must ascend, so the second message became another one.
	if msg, err := m.Message(2); err != nil {
		t.Fatal(err)
	} else if _, err := msg.Open(); !errors.Is(err, ErrExpunged) {
		t.Errorf("message 2: %v", err)
	}
	wantRows(t, synced(t, m), []row{{1, 0, ""}, {3, 0, ""}, {4, 0, ""}})
	for uid, n := range map[uint32]int{1: 1, 3: 3, 4: 2} {
		if got := text(t, m, uid); got != fmt.Sprintf("Subject: %d\nMessage-ID: <%d>\n\nbody %d\n", n, n, n) {
			t.Errorf("text %q", got)
		}
	}
}

// TestMboxSlowReader reads a large message slowly while the mailbox changes, which needs its lock.
func TestMboxSlowReader(t *testing.T) {
	w := newMboxWorld(t)
	m := w.create("A")
	body := strings.Repeat("0123456789\n", 100_000)
	save(t, m, "Subject: 1\n\nsmall\n", SaveOptions{})
	save(t, m, "Subject: 2\n\n"+body, SaveOptions{})
	msg, err := m.Message(2)
	if err != nil {
		t.Fatal(err)
	}
	f, err := msg.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 5)
	if _, err := f.ReadAt(buf, 0); err != nil {
		t.Fatal(err)
	}
	if err := m.Expunge(ctx, []uint32{1}); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	if err != nil || string(got) != "Subject: 2\n\n"+body {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if got := text(t, m, 2); got != "Subject: 2\n\n"+body {
		t.Errorf("%d bytes after the change", len(got))
	}
}

// TestMboxSamples compares with what doveadm fetch said of the same mailboxes.
func TestMboxSamples(t *testing.T) {
	t.Setenv("TZ", "UTC")
	for _, c := range []struct{ dir, name, want string }{
		{"", "inbox", "1\t$Forwarded \\Seen\t8\te748ea84507a9b14f698961af9ab3e9b\t164\t2024-01-01 10:00:01\n" +
			"2\t\\Seen\t9\tf2716ebec9e4766d11f48310612d8697\t164\t2024-01-01 10:00:02\n" +
			"3\tCustom \\Flagged\t12\t3909b8e44ff47ef115a48e0af91c22a5\t164\t2024-01-01 10:00:03\n" +
			"5\t\\Recent\t16\t59d47f9ec160f73a5654417bf5437ee9\t382\t2026-11-22 08:55:56\n" +
			"messages=4 recent=1 uidnext=6 uidvalidity=1795337758 unseen=2 highestmodseq=16 guid=c88160141cae026b6b7d000083ecc375\n"},
		{"Work", "Projects", "1\t$Forwarded \\Recent \\Seen\t3\te748ea84507a9b14f698961af9ab3e9b\t164\t2024-01-01 10:00:01\n" +
			"2\tCustom \\Flagged \\Recent\t4\t3909b8e44ff47ef115a48e0af91c22a5\t164\t2024-01-01 10:00:03\n" +
			"messages=2 recent=2 uidnext=3 uidvalidity=1795337756 unseen=1 highestmodseq=4 guid=d6d30b141cae026b6b7d000083ecc375\n"},
		{"", "Entw&APw-rfe", "1\t\\Draft \\Recent \\Seen\t2\t8d60fbbcb5056a47e398de44a2bcbcad\t180\t2024-02-02 12:00:00\n" +
			"messages=1 recent=1 uidnext=2 uidvalidity=1795337757 unseen=0 highestmodseq=2 guid=900b14141cae026b6b7d000083ecc375\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newMboxWorld(t)
			unpack(t, "testdata/mbox-2.3.19.tar.gz", w.root)
			root := filepath.Join(w.root, "mbox/mail", c.dir)
			index := c.name
			if index == "inbox" {
				index = "INBOX"
			}
			loc := Location{Format: "mbox", Name: c.name, File: filepath.Join(root, c.name), Dir: filepath.Join(root, ".imap", index)}
			m, err := w.pool.Open(ctx, loc, &w.set)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if d := cmp.Diff(c.want, ourTable(t, m)); d != "" {
				t.Errorf("(-Dovecot +ours)\n%s", d)
			}
		})
	}
}

// TestMboxDamage has files that are none, or were cut off.
func TestMboxDamage(t *testing.T) {
	w := newMboxWorld(t)
	m := w.create("A")
	for i := range 3 {
		save(t, m, fmt.Sprintf("Subject: %d\nMessage-ID: <%d>\n\nbody %d\n", i+1, i+1, i+1), SaveOptions{Keywords: []string{"k"}})
	}
	whole := mboxText(t, m)
	guid := m.GUID()
	for n := len(whole) - 1; n >= 0; n -= 7 {
		foreignChange(t, m, func(string) string { return whole[:n] })
		s, err := m.Sync(ctx)
		if err != nil && n > 0 && n < strings.Index(whole, "\n") {
			continue // there is not even a From_ line
		}
		if err != nil {
			t.Fatal(err)
		}
		if n > len(whole)-10 && s.Len() != 3 || n == 0 && s.Len() > 0 {
			t.Fatalf("%d messages of the first %d bytes", s.Len(), n)
		}
		for i := range s.Len() {
			text(t, m, s.UID(i))
		}
	}
	if err := os.WriteFile(m.Location().File, []byte("this is no mbox\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Sync(ctx); err == nil || !strings.Contains(err.Error(), "not a valid mbox file") {
		t.Errorf("a text file: %v", err)
	}
	if err := trySave(m, "Subject: x\n\nx\n"); err == nil {
		t.Error("saved into a text file")
	}
	if got := mboxText(t, m); got != "this is no mbox\n" {
		t.Errorf("a text file became %q", got)
	}
	if err := os.WriteFile(m.Location().File, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := synced(t, m); s.Len() != 3 || s.GUID() != guid {
		t.Errorf("%d messages, GUID %x, was %x", s.Len(), s.GUID(), guid)
	}
	// A link to a directory or a device is no mailbox.
	for _, to := range []string{"/", "/dev/null"} {
		loc := w.loc("link")
		os.Remove(loc.File)
		if err := os.Symlink(to, loc.File); err != nil {
			t.Fatal(err)
		}
		if m, err := w.pool.Open(ctx, loc, &w.set); err == nil {
			if _, err := m.Sync(ctx); err == nil {
				t.Errorf("%s is a mailbox", to)
			}
			m.Close()
		}
	}
}

// TestMboxUIDValidity puts another file in the place of the mailbox's.
func TestMboxUIDValidity(t *testing.T) {
	w := newMboxWorld(t)
	m := w.create("A")
	save(t, m, "Subject: 1\n\nx\n", SaveOptions{Flags: Seen})
	was := m.Snapshot().UIDValidity()
	foreignChange(t, m, func(s string) string { return strings.Replace(s, fmt.Sprint("base: ", was), "base: 77", 1) })
	s := synced(t, m)
	if s.UIDValidity() == was || s.Len() != 1 || s.UID(0) != 2 {
		t.Errorf("uid validity %d, was %d; uid %d", s.UIDValidity(), was, s.UID(0))
	}
	m.Close()
	w.restart()
	m = w.open("A")
	if got := synced(t, m).UIDValidity(); got != s.UIDValidity() || !strings.Contains(mboxText(t, m), fmt.Sprintf("X-IMAPbase: %d ", got)) {
		t.Errorf("uid validity %d in %q", got, mboxText(t, m))
	}
}

// TestMboxLocks waits for others.
func TestMboxLocks(t *testing.T) {
	w := newMboxWorld(t)
	w.set.MboxLockTimeout = 50 * time.Millisecond
	m := w.create("A")
	lock := m.Location().File + ".lock"
	if err := os.WriteFile(lock, fmt.Appendf(nil, "%d:x", os.Getpid()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := trySave(m, "Subject: x\n\nx\n"); err == nil || !strings.Contains(err.Error(), ErrLocked.Error()) {
		t.Errorf("with a dotlock: %v", err)
	}
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	save(t, m, "Subject: x\n\nx\n", SaveOptions{})
	if _, err := os.Stat(lock); err == nil {
		t.Error("the dotlock was left")
	}
	// One that nobody touched for long is broken.
	if err := os.WriteFile(lock, fmt.Appendf(nil, "%d:x", os.Getpid()), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	for _, path := range []string{lock, m.Location().File} {
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	save(t, m, "Subject: y\n\nx\n", SaveOptions{})

	for _, bad := range []struct{ read, write string }{{"fcntl", "dotlock"}, {"fcntl flock", "flock fcntl"}, {"", "fcntl fcntl"}, {"x", "x"}} {
		set := w.set
		set.MboxReadLocks, set.MboxWriteLocks = bad.read, bad.write
		w.restart()
		if m, err := w.pool.Open(ctx, w.loc("A"), &set); err == nil {
			t.Errorf("mbox_read_locks = %s, mbox_write_locks = %s is accepted", bad.read, bad.write)
			m.Close()
		}
	}
}

// TestMboxNotify hears of other programs' deliveries, also into a file that took the place of
// the first.
func TestMboxNotify(t *testing.T) {
	w := newMboxWorld(t)
	m := w.create("A")
	synced(t, m)
	changed := make(chan struct{}, 100)
	m.Notify(func() { changed <- struct{}{} })
	wait := func(n int) {
		t.Helper()
		for timeout := time.After(60 * time.Second); m.Snapshot().Len() != n; {
			select {
			case <-changed:
			case <-timeout:
				t.Fatalf("%d messages, want %d", m.Snapshot().Len(), n)
			}
		}
	}
	foreignDelivery(t, m, "Subject: 1\n\nx\n")
	wait(1)
	other := filepath.Join(w.root, "other")
	if err := os.WriteFile(other, []byte(mboxText(t, m)+foreignFrom+"Subject: 2\n\nx\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, m.Location().File); err != nil {
		t.Fatal(err)
	}
	wait(2)
	foreignDelivery(t, m, "Subject: 3\n\nx\n")
	wait(3)
}

// TestMboxTimes leaves alone when the file was last read: programs tell by that whether there
// is new mail.
func TestMboxTimes(t *testing.T) {
	w := newMboxWorld(t)
	m := w.create("A")
	unread := func() bool {
		t.Helper()
		var st unix.Stat_t
		if err := unix.Stat(m.Location().File, &st); err != nil {
			t.Fatal(err)
		}
		return st.Atim.Nano() < st.Mtim.Nano()
	}
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(m.Location().File, past, past); err != nil {
		t.Fatal(err)
	}
	save(t, m, "Subject: 1\n\nx\n", SaveOptions{})
	text(t, m, 1)
	if !unread() {
		t.Error("after a delivery there is no new mail")
	}
	if _, err := m.ClaimRecent(ctx); err != nil {
		t.Fatal(err)
	}
	if unread() {
		t.Error("after a client has opened the mailbox there is new mail")
	}
	setFlags(t, m, []uint32{1}, FlagsAdd, Seen)
	m.Close()
	w.restart()
	if unread() {
		t.Error("after the flags were written there is new mail")
	}
}
