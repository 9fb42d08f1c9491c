package mailbox

import (
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var ctx = context.Background()

// A world is a pool with mailboxes in a temporary directory.
type world struct {
	t      testing.TB
	root   string
	format string // of its mailboxes; "" for sdbox
	keys   string // ":KEY=VALUE..." of mail_location, for Dovecot
	alt    string // ALT
	index  string // INDEX of an mdbox
	set    Settings
	pool   *Pool
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, root: t.TempDir(), pool: NewPool(nil)}
	t.Cleanup(func() { w.pool.Close() })
	return w
}

// driver is how mail_location calls the format.
func (w *world) driver() string {
	if w.format == "" {
		return "sdbox"
	}
	return w.format
}

func (w *world) loc(name string) Location {
	if w.format == "mdbox" {
		loc := mdboxLoc(w.root, name)
		if loc.Storage.AltDir = w.alt; w.index != "" {
			loc.Storage.IndexDir, loc.IndexDir = w.index, filepath.Join(w.index, "mailboxes", name)
		}
		return loc
	}
	if w.format == "mbox" {
		return Location{Format: "mbox", Name: name, File: filepath.Join(w.root, name), Dir: filepath.Join(w.root, ".imap", name), Owner: "tester@example.org"}
	}
	if w.format == "maildir" {
		return Location{Format: "maildir", Name: name, Dir: filepath.Join(w.root, "."+name)}
	}
	loc := Location{Format: "sdbox", Name: name, Dir: filepath.Join(w.root, "mailboxes", name, "dbox-Mails")}
	if w.alt != "" {
		loc.AltDir = filepath.Join(w.alt, "mailboxes", name, "dbox-Mails")
	}
	return loc
}

// restart forgets everything in memory, like a new process.
func (w *world) restart() {
	w.pool.Close()
	w.pool = NewPool(nil)
}

func (w *world) create(name string) *Mailbox {
	w.t.Helper()
	if err := w.pool.Create(ctx, w.loc(name), &w.set, Identity{}); err != nil {
		w.t.Fatal(err)
	}
	return w.open(name)
}

func (w *world) open(name string) *Mailbox {
	w.t.Helper()
	m, err := w.pool.Open(ctx, w.loc(name), &w.set)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { m.Close() })
	return m
}

func save(t testing.TB, m *Mailbox, text string, opt SaveOptions) SaveResult {
	t.Helper()
	s, err := m.Save(ctx, opt)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(s, text); err != nil {
		t.Fatal(err)
	}
	r, err := s.Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A row is what a test expects of a message.
type row struct {
	UID      uint32
	Flags    Flags
	Keywords string
}

func rows(s *Snapshot) (rs []row) {
	for i := range s.Len() {
		rs = append(rs, row{s.UID(i), s.Flags(i), strings.Join(s.Keywords(i), " ")})
	}
	return rs
}

func wantRows(t testing.TB, s *Snapshot, want []row) {
	t.Helper()
	if d := cmp.Diff(want, rows(s)); d != "" {
		t.Fatalf("messages (-want +got):\n%s", d)
	}
}

func text(t testing.TB, m *Mailbox, uid uint32) string {
	t.Helper()
	msg, err := m.Message(uid)
	if err != nil {
		t.Fatal(err)
	}
	b, err := msg.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	data, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestLife(t *testing.T) {
	w := newWorld(t)
	m := w.create("INBOX")
	received := time.Unix(1234567890, 0)
	r := save(t, m, "Subject: a\r\n\r\nbody\r\n", SaveOptions{Received: received})
	if r.UID != 1 || r.UIDValidity == 0 || r.ModSeq < 2 {
		t.Fatalf("first save: %+v", r)
	}
	r = save(t, m, "Subject: b\n\nbody\n", SaveOptions{Flags: Seen | Flagged, Keywords: []string{"$Label1"}, GUID: "some guid"})
	if got := m.Snapshot().ModSeq(1); r.ModSeq != got {
		t.Errorf("save says modseq %d, snapshot %d", r.ModSeq, got)
	}
	wantRows(t, m.Snapshot(), []row{{1, 0, ""}, {2, Seen | Flagged, "$Label1"}})
	check := func(m *Mailbox) {
		t.Helper()
		if got := text(t, m, 1); got != "Subject: a\n\nbody\n" {
			t.Errorf("text %q", got)
		}
		msg, err := m.Message(1)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := msg.VirtualSize(); v != 20 || err != nil {
			t.Errorf("virtual size %d, %v", v, err)
		}
		if v, ok := m.Snapshot().VirtualSize(0); v != 20 || !ok {
			t.Errorf("virtual size in index %d, %v", v, ok)
		}
		if v, err := msg.Received(); !v.Equal(received) || err != nil {
			t.Errorf("received %v, %v", v, err)
		}
		msg, _ = m.Message(2)
		if v, err := msg.GUID(); v != "some guid" || err != nil {
			t.Errorf("GUID %q, %v", v, err)
		}
	}
	check(m)
	m.Close()
	w.restart()
	m = w.open("INBOX")
	check(m)

	if _, err := m.SetFlags(ctx, FlagChange{UIDs: []uint32{1, 2, 9}, Op: FlagsReplace, Flags: Answered, Keywords: []string{"b", "$label1"}, UnchangedSince: Unconditional}); err != nil {
		t.Fatal(err)
	}
	want := []row{{1, Answered, "$Label1 b"}, {2, Answered, "$Label1 b"}}
	wantRows(t, m.Snapshot(), want)
	other := w.create("other")
	c, err := m.Copy(ctx, []uint32{1, 2, 3}, other)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([][]uint32{{1, 2}, {1, 2}}, [][]uint32{c.Src, c.Dst}); d != "" {
		t.Error(d)
	}
	// Keyword numbers differ between mailboxes, their order too.
	wantRows(t, other.Snapshot(), want)
	check2 := text(t, other, 2)
	if check2 != "Subject: b\n\nbody\n" {
		t.Errorf("copy has text %q", check2)
	}
	if err := m.Expunge(ctx, []uint32{1}); err != nil {
		t.Fatal(err)
	}
	wantRows(t, m.Snapshot(), want[1:])
	if _, err := m.Message(1); err != ErrExpunged {
		t.Errorf("expunged message: %v", err)
	}
	if got := text(t, other, 1); got != "Subject: a\n\nbody\n" {
		t.Errorf("copy of expunged message has text %q", got)
	}
}

func TestReadAfterRotation(t *testing.T) {
	w := newWorld(t)
	m := w.create("INBOX")
	other := NewPool(nil)
	defer other.Close()
	m2, err := other.Open(ctx, w.loc("INBOX"), &w.set)
	if err != nil {
		t.Fatal(err)
	}
	defer m2.Close()
	m2.Snapshot()
	for range 3 {
		save(t, m, "a\n", SaveOptions{})
		m.b.mu.Lock()
		if _, err := m.b.ix.Lock(ctx); err != nil {
			t.Fatal(err)
		}
		if err := m.b.ix.Rotate(); err != nil {
			t.Fatal(err)
		}
		m.b.ix.Unlock()
		m.b.publish()
		m.b.mu.Unlock()
		save(t, m, "b\n", SaveOptions{Keywords: []string{"k"}})
		s, err := m2.Sync(ctx)
		if err != nil {
			t.Fatal(err)
		}
		wantRows(t, s, rows(m.Snapshot()))
		if s.HighestModSeq() != m.Snapshot().HighestModSeq() {
			t.Errorf("modseq %d and %d", s.HighestModSeq(), m.Snapshot().HighestModSeq())
		}
	}
}
