package mailbox

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// An mboxTree is an mbox with its index files.
type mboxTree struct {
	text  string
	files map[string][]byte
}

func readMbox(t *testing.T, w *world) mboxTree {
	t.Helper()
	text, err := os.ReadFile(w.loc("A").File)
	if err != nil {
		t.Fatal(err)
	}
	return mboxTree{string(text), readTree(t, w.loc("A").Dir)}
}

// withLog returns the tree with this much of another one's log.
func (tr mboxTree) withLog(other mboxTree, n int) mboxTree {
	files := map[string][]byte{}
	for name, data := range tr.files {
		files[name] = data
	}
	files[index.LogName] = other.files[index.LogName][:n]
	return mboxTree{tr.text, files}
}

func (tr mboxTree) withText(text string) mboxTree { return mboxTree{text, tr.files} }

func (tr mboxTree) write(t *testing.T, w *world) {
	t.Helper()
	loc := w.loc("A")
	err := errors.Join(os.RemoveAll(loc.Dir), os.MkdirAll(loc.Dir, 0o700))
	for name, data := range tr.files {
		err = errors.Join(err, os.WriteFile(filepath.Join(loc.Dir, name), data, 0o600))
	}
	// As a process leaves it that was killed: the time is not the one in the index.
	err = errors.Join(err, os.WriteFile(loc.File, []byte(tr.text), 0o600))
	err = errors.Join(err, os.Chtimes(loc.File, time.Time{}, time.Now().Add(time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
}

// An mboxState is what a killed process left, and what is in it.
type mboxState struct {
	tree mboxTree
	want []row
}

// mboxStates returns the states of a mailbox while each operation writes. What happens while
// a file is rewritten, package mbox tests.
func mboxStates(t *testing.T, w *world) (states []mboxState) {
	one, two := row{1, 0, ""}, row{2, Flagged, "k"}
	for _, op := range []struct {
		name  string
		do    func(m *Mailbox)
		after []row
	}{
		{"save", func(m *Mailbox) {
			save(t, m, "Subject: 3\nMessage-ID: <3>\n\nnew\n", SaveOptions{Flags: Seen, Keywords: []string{"k", "n"}})
		}, []row{one, two, {3, Seen, "k n"}}},
		{"flags", func(m *Mailbox) { setFlags(t, m, []uint32{1, 2}, FlagsReplace, Seen, "n") }, []row{{1, Seen, "n"}, {2, Seen, "n"}}},
		{"expunge", func(m *Mailbox) {
			if err := m.Expunge(ctx, []uint32{1}); err != nil {
				t.Fatal(err)
			}
		}, []row{two}},
	} {
		m := w.create("A")
		save(t, m, "Subject: 1\nMessage-ID: <1>\n\none\n", SaveOptions{})
		save(t, m, "Subject: 2\nMessage-ID: <2>\n\ntwo\n", SaveOptions{Flags: Flagged, Keywords: []string{"k"}})
		before := rows(m.Snapshot())
		old := readMbox(t, w)
		op.do(m)
		done := readMbox(t, w)
		m.Close()
		w.restart()
		written := readMbox(t, w)
		n := len(old.text)
		for end := n + 1; op.name == "save" && end <= len(done.text); end += 1 + len(done.text)/100 {
			torn := old.text + strings.Repeat("\x00", min(5, end-n))
			if end > len(torn) {
				torn += done.text[len(torn):end]
			}
			states = append(states, mboxState{old.withText(torn), before})
		}
		from, to := len(old.files[index.LogName]), len(done.files[index.LogName])
		for end := from; end <= to; end += 4 {
			want := op.after
			if op.name == "flags" && end < to {
				want = before
			}
			states = append(states, mboxState{old.withLog(done, end).withText(done.text), want})
		}
		states = append(states, mboxState{done.withText(written.text), op.after})
		if err := errors.Join(os.Remove(w.loc("A").File), os.RemoveAll(w.loc("A").Dir)); err != nil {
			t.Fatal(err)
		}
	}
	return states
}

// TestMboxEveryPrefix stops operations after what they write. The mailbox then is as before
// or as after, and works.
func TestMboxEveryPrefix(t *testing.T) {
	w := newMboxWorld(t)
	for n, s := range mboxStates(t, w) {
		s.tree.write(t, w)
		m := w.open("A")
		if got := synced(t, m); fmt.Sprint(rows(got)) != fmt.Sprint(s.want) {
			t.Fatalf("state %d: %v, want %v\n%q", n, rows(got), s.want, s.tree.text)
		}
		r := save(t, m, "Subject: later\n\nx\n", SaveOptions{})
		wantRows(t, synced(t, m), append(append([]row(nil), s.want...), row{r.UID, 0, ""}))
		for i := range m.Snapshot().Len() {
			text(t, m, m.Snapshot().UID(i))
		}
		m.Close()
		w.restart()
	}
}

// TestMboxPrefixDovecot has Dovecot open what is left. It may find what was not finished, but
// nothing that was there may be missing.
func TestMboxPrefixDovecot(t *testing.T) {
	if asUser(t) {
		return
	}
	w := newMboxWorld(t)
	d := newDoveadm(t, w)
	states := mboxStates(t, w)
	for n := 0; n < len(states); n += 1 + len(states)/25 {
		states[n].tree.write(t, w)
		fetch := []string{"-f", "tab", "fetch", "uid", "mailbox", "A", "all"}
		out, errs, err := d.try("", fetch...)
		if err != nil {
			// It refuses a log with an unfinished record once.
			out, errs, err = d.try("", fetch...)
		}
		if err != nil {
			t.Fatalf("state %d: %v: %s", n, err, errs)
		}
		for _, r := range states[n].want {
			if !strings.Contains(out, fmt.Sprintf("\n%d\n", r.UID)) {
				t.Errorf("state %d: UID %d is missing in %q", n, r.UID, out)
			}
		}
	}
}

// TestMboxFullDisk saves until the disk is full. What fails leaves no trace, and messages can
// be removed.
func TestMboxFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may mount a small file system")
	}
	w := newMboxWorld(t)
	if err := unix.Mount("tmpfs", w.root, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatalf("mount: %v", err)
	}
	defer unix.Unmount(w.root, unix.MNT_DETACH)
	m := w.create("A")
	ballast := filepath.Join(w.root, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 2*os.Getpagesize()), 0o600); err != nil {
		t.Fatal(err)
	}
	body := "Subject: x\n\n" + strings.Repeat("some text\n", 500)
	full := 0
	for n := 0; full < 20 && n < 500; n++ {
		before := mboxText(t, m)
		err := trySave(m, body)
		if err == nil {
			continue
		}
		if !errors.Is(err, ErrNoSpace) {
			t.Fatal(err)
		}
		full++
		if got := mboxText(t, m); got != before {
			t.Fatalf("%d bytes after a save that failed, %d before", len(got), len(before))
		}
		body = body[:len(body)/2+8]
	}
	if full == 0 {
		t.Fatal("the disk did not fill up")
	}
	n := synced(t, m).Len()
	// Room for the index's log, which may be at the end of a page, but not for a journal.
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := m.Expunge(ctx, []uint32{m.Snapshot().UID(n - 1)}); err != nil {
		t.Fatalf("expunge on a full disk: %v", err)
	}
	if err := m.Expunge(ctx, []uint32{1}); err != nil {
		t.Fatalf("expunge on a full disk: %v", err)
	}
	s := synced(t, m)
	if s.Len() != n-2 {
		t.Errorf("%d messages, want %d", s.Len(), n-2)
	}
	for i := range s.Len() {
		if got := text(t, m, s.UID(i)); !strings.HasPrefix(got, "Subject: x\n\n") {
			t.Errorf("text %q", got)
		}
	}
	save(t, m, "Subject: fits again\n\nx\n", SaveOptions{})
}

// bytesRead returns how much this process has read from files.
func bytesRead(t testing.TB) int64 {
	t.Helper()
	f, err := os.Open("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "rchar: "); ok {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no rchar in /proc/self/io")
	return 0
}

// TestMboxLarge has 100,000 messages in one file. What is new is read, not what is there.
func TestMboxLarge(t *testing.T) {
	const n = 100_000
	w := newMboxWorld(t)
	w.set.Fsync = "never"
	m := w.create("A")
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%sSubject: %d\nMessage-ID: <%d>\n\nbody of message %d\n\n", foreignFrom, i, i, i)
	}
	if err := os.WriteFile(m.Location().File, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := synced(t, m).Len(); got != n {
		t.Fatal(got)
	}
	m.Close()
	w.restart() // writes 100,000 headers
	size := int64(len(mboxText(t, m)))
	cost := func(what string, limit int64, fn func()) {
		t.Helper()
		before := bytesRead(t)
		fn()
		if got := bytesRead(t) - before; got > limit {
			t.Errorf("%s reads %d bytes of %d", what, got, size)
		}
	}
	indexSize, err := os.Stat(filepath.Join(m.Location().Dir, index.IndexName))
	if err != nil {
		t.Fatal(err)
	}
	cost("the first delivery", 256<<10, func() {
		m = w.open("A")
		save(t, m, "Subject: x\n\nx\n", SaveOptions{})
	})
	cost("the next delivery", 32<<10, func() { save(t, m, "Subject: x\n\nx\n", SaveOptions{}) })
	cost("opening", indexSize.Size()*2, func() { synced(t, m) })
	foreignDelivery(t, m, "Subject: foreign\n\nx\n")
	cost("a foreign delivery", 128<<10, func() { synced(t, m) })
	if got := m.Snapshot().Len(); got != n+3 {
		t.Errorf("%d messages", got)
	}
	cost("expunging one of the last", 256<<10, func() {
		if err := m.Expunge(ctx, []uint32{n}); err != nil {
			t.Fatal(err)
		}
	})
	if got := text(t, m, n+3); got != "Subject: foreign\n\nx\n" {
		t.Errorf("text %q", got)
	}
}
