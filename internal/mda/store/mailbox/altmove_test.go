package mailbox

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// altWorld has mailboxes with a second storage.
func altWorld(t *testing.T, format string) *world {
	w := newWorld(t)
	w.format = format
	w.alt = filepath.Join(t.TempDir(), "alt")
	w.keys = ":ALT=" + w.alt
	return w
}

// altFiles lists the mail files in the second storage.
func (w *world) altFiles() (names []string) {
	w.t.Helper()
	err := filepath.WalkDir(w.alt, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, filepath.Base(p))
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.t.Fatal(err)
	}
	return names
}

func altMove(t *testing.T, m *Mailbox, back bool, uids ...uint32) {
	t.Helper()
	if err := m.AltMove(ctx, uids, back); err != nil {
		t.Fatal(err)
	}
}

// wantInAlt compares the messages that the index has in the second storage. That of an mdbox
// has none.
func wantInAlt(t *testing.T, m *Mailbox, want ...uint32) {
	t.Helper()
	var got []uint32
	st := synced(t, m).st
	for i := range st.Len() {
		if st.Flags(i)&inAlt != 0 {
			got = append(got, st.UID(i))
		}
	}
	if m.Location().Format == "mdbox" {
		want = nil
	}
	if !slices.Equal(got, want) {
		t.Errorf("in the second storage: %v, want %v", got, want)
	}
}

// TestAltMove moves messages to the second storage and back; each side reads what
// the other moved.
func TestAltMove(t *testing.T) {
	if asUser(t) {
		return
	}
	for _, format := range []string{"sdbox", "mdbox"} {
		t.Run(format, func(t *testing.T) { testAltMove(t, altWorld(t, format)) })
	}
}

func testAltMove(t *testing.T, w *world) {
	d := newDoveadm(t, w)
	a := w.create("A")
	var want []string
	for i := range 6 {
		body := fmt.Sprintf("Subject: %d\n\ntext\n", i)
		save(t, a, body, SaveOptions{})
		want = append(want, body)
	}
	altMove(t, a, false, 2, 3, 99)
	altMove(t, a, false, 3)
	wantInAlt(t, a, 2, 3)
	if n := len(w.altFiles()); n != 2 && w.format == "sdbox" || n != 1 && w.format == "mdbox" {
		t.Errorf("files there: %v", w.altFiles())
	}
	checkTexts(t, d, a, want)
	d.run("", "altmove", "mailbox", "A", "uid", "5")
	checkTexts(t, d, a, want)
	wantInAlt(t, a, 2, 3, 5)
	altMove(t, a, true, 2, 5)
	wantInAlt(t, a, 3)
	checkTexts(t, d, a, want)
	if w.format == "sdbox" { // Dovecot's mdbox leaves messages where they are
		d.run("", "altmove", "-r", "mailbox", "A", "uid", "3")
		if len(w.altFiles()) != 0 {
			t.Errorf("left there: %v", w.altFiles())
		}
	}
	altMove(t, a, false, 1, 2, 3, 4, 5, 6)
	checkTexts(t, d, a, want)
	// Copies of what is there, and expunges.
	b := w.create("B")
	if _, err := a.Copy(ctx, []uint32{1, 2}, b); err != nil {
		t.Fatal(err)
	}
	d.run("", "copy", "B", "mailbox", "A", "uid", "3")
	if err := a.Expunge(ctx, []uint32{1, 4}); err != nil {
		t.Fatal(err)
	}
	d.run("", "expunge", "mailbox", "A", "uid", "5")
	if w.format == "mdbox" {
		if err := storageOf(a).Purge(ctx); err != nil {
			t.Fatal(err)
		}
	} else if got := w.altFiles(); len(got) != 4 && len(got) != 3 {
		t.Errorf("files there: %v", got)
	}
	checkTexts(t, d, a, []string{want[1], want[2], want[5]})
	for i, uid := range []uint32{1, 2, 3} {
		synced(t, b)
		if text(t, b, uid) != want[i] || d.theirText("B", uid) != want[i] {
			t.Errorf("copy %d has another text", uid)
		}
	}
	if _, log, err := d.try("", "force-resync", "A"); err != nil || strings.Contains(log, "Error") {
		t.Errorf("force-resync: %v\n%s", err, log)
	}
	d.run("", "purge")
	checkTexts(t, d, a, []string{want[1], want[2], want[5]})
}

// An mdbox message that two mailboxes have is moved when both want it.
func TestAltMoveShared(t *testing.T) {
	w := altWorld(t, "mdbox")
	a, b := w.create("A"), w.create("B")
	save(t, a, "one\n", SaveOptions{})
	save(t, a, "two\n", SaveOptions{})
	if _, err := a.Copy(ctx, []uint32{1}, b); err != nil {
		t.Fatal(err)
	}
	altMove(t, a, false, 1)
	if got := w.altFiles(); len(got) != 0 {
		t.Errorf("moved for one of two: %v", got)
	}
	altMove(t, b, false, 1)
	if got := w.altFiles(); len(got) != 1 {
		t.Errorf("not moved for both: %v", got)
	}
	altMove(t, b, true, 1)
	if got := w.altFiles(); len(got) != 0 {
		t.Errorf("not back: %v", got)
	}
	for uid, want := range map[uint32]string{1: "one\n", 2: "two\n"} {
		if got := text(t, a, uid); got != want {
			t.Errorf("UID=%d: %q", uid, got)
		}
	}
}

// An index that is made anew has what is in the second storage.
func TestAltDamage(t *testing.T) {
	for _, format := range []string{"sdbox", "mdbox"} {
		t.Run(format, func(t *testing.T) {
			w := altWorld(t, format)
			a := w.create("A")
			for _, body := range []string{"one\n", "two\n", "three\n"} {
				save(t, a, body, SaveOptions{Flags: Seen})
			}
			altMove(t, a, false, 1, 2)
			dir := a.Location().Dir
			a.Close()
			w.restart()
			for _, name := range []string{index.LogName, index.IndexName, index.BackupName, index.Log2Name} {
				if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
			}
			a = w.open("A")
			s := synced(t, a)
			var got []string
			for i := range s.Len() {
				got = append(got, text(t, a, s.UID(i)))
			}
			slices.Sort(got)
			if !slices.Equal(got, []string{"one\n", "three\n", "two\n"}) {
				t.Errorf("after the index was lost: %q", got)
			}
		})
	}
}

// TestAltMoveEveryPrefix stops moving after every step; messages are as before, and nothing is
// lost when all is compared.
func TestAltMoveEveryPrefix(t *testing.T) {
	for _, format := range []string{"sdbox", "mdbox"} {
		for _, back := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/back=%v", format, back), func(t *testing.T) { altMovePrefixes(t, format, back) })
		}
	}
}

func altMovePrefixes(t *testing.T, format string, back bool) {
	w := altWorld(t, format)
	w.alt = filepath.Join(w.root, "alt") // so that all is below one directory
	a := w.create("A")
	for _, body := range []string{"one\n", "two\n", "three\n"} {
		save(t, a, body, SaveOptions{Flags: Flagged})
	}
	if back {
		altMove(t, a, false, 1, 2, 3)
	}
	before := readAll(t, w.root)
	altMove(t, a, back, 1, 3)
	a.Close()
	w.restart()
	after := readAll(t, w.root)
	// New files come first, then the logs grow, then files are removed.
	disk := maps.Clone(before)
	check := func(what string) {
		t.Helper()
		checkAlt(t, format, disk, what)
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if _, ok := before[name]; !ok && !strings.Contains(name, "dovecot.") {
			disk[name] = after[name]
			check("with " + name)
		}
	}
	for _, name := range []string{"mailboxes/A/dbox-Mails/dovecot.index.log", "storage/dovecot.map.index.log"} {
		for n := len(before[name]); n <= len(after[name]); n++ {
			disk[name] = after[name][:n]
			check(fmt.Sprintf("%s at %d", name, n))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, ok := after[name]; !ok {
			delete(disk, name)
			check("without " + name)
		}
	}
}

// checkAlt opens what is on disk.
func checkAlt(t *testing.T, format string, disk map[string][]byte, what string) {
	t.Helper()
	w := altWorld(t, format)
	w.alt = filepath.Join(w.root, "alt")
	for name, data := range disk {
		path := filepath.Join(w.root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"one\n", "two\n", "three\n"}
	look := func(when string) {
		t.Helper()
		m := w.open("A")
		s := synced(t, m)
		if s.Len() != len(want) {
			t.Fatalf("%s%s: %d messages", what, when, s.Len())
		}
		for i := range s.Len() {
			if got := text(t, m, s.UID(i)); got != want[i] || s.Flags(i) != Flagged {
				t.Fatalf("%s%s: UID=%d is %q, flags %x", what, when, s.UID(i), got, s.Flags(i))
			}
		}
	}
	look("")
	m := w.open("A")
	altMove(t, m, false, 1, 2, 3)
	altMove(t, m, true, 1, 2, 3)
	look(", moved again")
	if err := m.Resync(ctx); err != nil {
		t.Fatal(err)
	}
	look(", resynced")
}

// While the second storage is not there, as when it is not mounted, its messages cannot be
// read; they are not given up, whatever is mended meanwhile.
func TestAltMissing(t *testing.T) {
	for _, format := range []string{"sdbox", "mdbox"} {
		t.Run(format, func(t *testing.T) {
			w := altWorld(t, format)
			a := w.create("A")
			for _, body := range []string{"one\n", "two\n", "three\n"} {
				save(t, a, body, SaveOptions{Flags: Flagged})
			}
			altMove(t, a, false, 1, 2)
			a.Close()
			w.restart()
			if err := os.Rename(w.alt, w.alt+".away"); err != nil {
				t.Fatal(err)
			}
			a = w.open("A")
			for range 2 {
				if n := synced(t, a).Len(); n != 3 {
					t.Fatalf("%d messages", n)
				}
				msg, err := a.Message(1)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := msg.Open(); err == nil || !strings.Contains(err.Error(), "second storage") {
					t.Errorf("opened: %v", err)
				}
				if got := text(t, a, 3); got != "three\n" {
					t.Errorf("UID=3: %q", got)
				}
				if err := a.Resync(ctx); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Rename(w.alt+".away", w.alt); err != nil {
				t.Fatal(err)
			}
			s := synced(t, a)
			for i, want := range []string{"one\n", "two\n", "three\n"} {
				if s.UID(i) != uint32(i+1) || text(t, a, s.UID(i)) != want || s.Flags(i) != Flagged {
					t.Errorf("message %d is UID=%d %q, flags %x", i, s.UID(i), text(t, a, s.UID(i)), s.Flags(i))
				}
			}
		})
	}
}
