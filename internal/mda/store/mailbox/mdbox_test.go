package mailbox

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func mdboxLoc(root, name string) Location {
	return Location{
		Format: "mdbox", Name: name, DiskName: name, Dir: filepath.Join(root, "mailboxes", name, "dbox-Mails"),
		Storage: &Storage{Root: root, Boxes: "mailboxes", DirName: "dbox-Mails"},
	}
}

func newMdboxWorld(t testing.TB) *world {
	w := newWorld(t)
	w.format = "mdbox"
	return w
}

// storageOf is the storage of an open mailbox.
func storageOf(m *Mailbox) *mdboxStorage { return m.b.store.(*mdboxStore).storage }

// storageFiles lists the files of the storage but those of the map.
func (w *world) storageFiles() (names []string) {
	w.t.Helper()
	entries, err := os.ReadDir(filepath.Join(w.root, "storage"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "dovecot.map.") {
			names = append(names, e.Name())
		}
	}
	return names
}

// TestMdboxSamples compares with what doveadm fetch said of the same mailboxes.
func TestMdboxSamples(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"INBOX", "1\t$Forwarded \\Seen\t8\tb8bf29091cae026b5c7d000083ecc375\t164\t2024-01-01 10:00:01\n" +
			"2\t\\Seen\t9\t884e52091cae026b5c7d000083ecc375\t164\t2024-01-01 10:00:02\n" +
			"3\tCustom \\Flagged\t12\t808a64091cae026b5c7d000083ecc375\t164\t2024-01-01 10:00:03\n" +
			"5\t\\Recent\t16\t30d9dd091cae026b577d000083ecc375\t384\t2026-11-22 08:55:56\n" +
			"messages=4 recent=1 uidnext=6 uidvalidity=1795337758 unseen=2 highestmodseq=16 guid=309518091cae026b5c7d000083ecc375\n"},
		{"Work/Projects", "1\t$Forwarded \\Recent \\Seen\t3\tb8bf29091cae026b5c7d000083ecc375\t164\t2024-01-01 10:00:01\n" +
			"2\tCustom \\Flagged \\Recent\t4\t808a64091cae026b5c7d000083ecc375\t164\t2024-01-01 10:00:03\n" +
			"messages=2 recent=2 uidnext=3 uidvalidity=1795337756 unseen=1 highestmodseq=4 guid=68f2d5081cae026b5c7d000083ecc375\n"},
		{"Entw&APw-rfe", "1\t\\Draft \\Recent \\Seen\t2\t1bd5ea0a1cae026b5e7d000083ecc375\t180\t2024-02-02 12:00:00\n" +
			"messages=1 recent=1 uidnext=2 uidvalidity=1795337757 unseen=0 highestmodseq=2 guid=90e7de081cae026b5c7d000083ecc375\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("TZ", "UTC")
			w := newMdboxWorld(t)
			unpack(t, "testdata/mdbox-2.3.19.tar.gz", w.root)
			w.root = filepath.Join(w.root, "mdbox/mail")
			m := w.open(c.name)
			if d := cmp.Diff(c.want, ourTable(t, m)); d != "" {
				t.Errorf("(-Dovecot +ours)\n%s", d)
			}
			if c.name == "INBOX" && !strings.HasSuffix(text(t, m, 3), "Body of message 3\n") {
				t.Errorf("text of message 3 is %q", text(t, m, 3))
			}
		})
	}
}

// TestMdboxTurns is TestTurns for mdbox, with purges and rebuilds in between.
func TestMdboxTurns(t *testing.T) {
	if asUser(t) {
		return
	}
	old := steps
	t.Cleanup(func() { steps = old })
	steps = append(slices.Clone(steps),
		step{"purge", func(t *testing.T, a, b *Mailbox, _ []uint32) {
			if err := storageOf(a).Purge(ctx); err != nil {
				t.Fatal(err)
			}
		}, func(d *doveadm, _ string) { d.run("", "purge") }},
		step{"rotate map", func(t *testing.T, a, b *Mailbox, _ []uint32) {
			if err := storageOf(a).Rotate(ctx); err != nil {
				t.Fatal(err)
			}
		}, func(d *doveadm, _ string) { d.run("", "purge") }},
	)
	for _, creator := range []string{"ours", "theirs"} {
		t.Run(creator, func(t *testing.T) { turns(t, newMdboxWorld(t), creator) })
	}
}

// TestMdboxTogether has both save and flag at the same time.
func TestMdboxTogether(t *testing.T) {
	if asUser(t) {
		return
	}
	w := newMdboxWorld(t)
	m := together(t, w)
	d := newDoveadm(t, w)
	if out, errs, err := d.try("", "force-resync", "A"); err != nil || strings.Contains(errs, "Error") {
		t.Fatalf("doveadm force-resync: %v\n%s%s", err, out, errs)
	}
	if diff := cmp.Diff(d.table("A"), ourTable(t, m)); diff != "" {
		t.Errorf("after force-resync (-Dovecot +ours)\n%s", diff)
	}
}

// TestMdboxPurge checks that nothing but expunged messages is given up.
func TestMdboxPurge(t *testing.T) {
	w := newMdboxWorld(t)
	w.set.MdboxRotateSize = 10 << 10
	a, b := w.create("A"), w.create("B")
	for i := range 30 {
		save(t, a, fmt.Sprintf("Subject: %d\n\n%s\n", i+1, strings.Repeat("x", 1000+i)), SaveOptions{})
	}
	if _, err := a.Copy(ctx, []uint32{1, 2, 3}, b); err != nil {
		t.Fatal(err)
	}
	var odd []uint32
	for uid := uint32(1); uid <= 30; uid += 2 {
		odd = append(odd, uid)
	}
	if err := a.Expunge(ctx, odd); err != nil {
		t.Fatal(err)
	}
	before := w.storageFiles()
	if err := storageOf(a).Purge(ctx); err != nil {
		t.Fatal(err)
	}
	after := w.storageFiles()
	if len(before) < 3 || slices.Contains(after, before[0]) {
		t.Errorf("files %v, after the purge %v", before, after)
	}
	check := func() {
		t.Helper()
		for uid := uint32(2); uid <= 30; uid += 2 {
			if got := text(t, a, uid); !strings.HasPrefix(got, fmt.Sprintf("Subject: %d\n", uid)) {
				t.Errorf("A: text of %d is %.20q", uid, got)
			}
		}
		for uid := uint32(1); uid <= 3; uid++ {
			if got := text(t, b, uid); !strings.HasPrefix(got, fmt.Sprintf("Subject: %d\n", uid)) {
				t.Errorf("B: text of %d is %.20q", uid, got)
			}
		}
	}
	check()
	if err := storageOf(a).Purge(ctx); err != nil {
		t.Fatal(err)
	}
	if again := w.storageFiles(); !slices.Equal(after, again) {
		t.Errorf("a second purge made %v of %v", again, after)
	}
	if err := storageOf(a).Resync(ctx); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*Mailbox{a, b} {
		if _, err := m.Sync(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if n, m := a.Snapshot().Len(), b.Snapshot().Len(); n != 15 || m != 3 {
		t.Errorf("%d and %d messages after a rebuild, want 15 and 3", n, m)
	}
	check()
}

// TestMdboxAlt reads messages that Dovecot has moved into the second storage, and
// purges there.
func TestMdboxAlt(t *testing.T) {
	if asUser(t) {
		return
	}
	w := newMdboxWorld(t)
	w.alt = filepath.Join(t.TempDir(), "alt")
	w.keys = ":ALT=" + w.alt
	a := w.create("A")
	d := newDoveadm(t, w)
	for i := range 4 {
		save(t, a, fmt.Sprintf("Subject: %d\n\ntext\n", i+1), SaveOptions{})
	}
	d.run("", "altmove", "mailbox", "A", "uid", "1:3")
	if _, err := a.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if moved, err := filepath.Glob(filepath.Join(w.alt, "storage/m.*")); err != nil || len(moved) != 1 {
		t.Fatalf("in the second storage: %v, %v", moved, err)
	}
	check := func(uids ...uint32) {
		t.Helper()
		for _, uid := range uids {
			if got, want := text(t, a, uid), fmt.Sprintf("Subject: %d\n\ntext\n", uid); got != want {
				t.Errorf("text of %d is %q", uid, got)
			}
		}
	}
	check(1, 2, 3, 4)
	if err := a.Expunge(ctx, []uint32{2}); err != nil {
		t.Fatal(err)
	}
	if err := storageOf(a).Purge(ctx); err != nil {
		t.Fatal(err)
	}
	check(1, 3, 4)
	if err := storageOf(a).Resync(ctx); err != nil {
		t.Fatal(err)
	}
	check(1, 3, 4)
	save(t, a, "Subject: 5\n\ntext\n", SaveOptions{})
	check(5)
	enableModSeq(t, a)
	if diff := cmp.Diff(d.table("A"), ourTable(t, a)); diff != "" {
		t.Errorf("(-Dovecot +ours)\n%s", diff)
	}
	d.run("", "altmove", "-r", "mailbox", "A", "all")
	check(1, 3, 4, 5)
	d.run("", "purge")
	check(1, 3, 4, 5)
}

// TestMdboxIndexElsewhere has the map and the indexes in another directory.
func TestMdboxIndexElsewhere(t *testing.T) {
	if asUser(t) {
		return
	}
	w := newMdboxWorld(t)
	w.index = filepath.Join(t.TempDir(), "index")
	w.keys = ":INDEX=" + w.index
	a := w.create("A")
	save(t, a, "Subject: ours\n\ntext\n", SaveOptions{})
	d := newDoveadm(t, w)
	d.run("Subject: theirs\n\ntext\n", "save", "-m", "A")
	enableModSeq(t, a)
	if diff := cmp.Diff(d.table("A"), ourTable(t, a)); diff != "" {
		t.Errorf("(-Dovecot +ours)\n%s", diff)
	}
	if err := storageOf(a).Resync(ctx); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d.table("A"), ourTable(t, a)); diff != "" {
		t.Errorf("after a rebuild (-Dovecot +ours)\n%s", diff)
	}
	if files := w.storageFiles(); !slices.Equal(files, []string{"m.1"}) {
		t.Errorf("files %v", files)
	}
}

// TestMdboxRotate begins new files as mdbox_rotate_size and mdbox_rotate_interval
// say, and stores a large message.
func TestMdboxRotate(t *testing.T) {
	w := newMdboxWorld(t)
	w.set.MdboxRotateSize, w.set.MdboxPreallocate = 100<<10, true
	m := w.create("A")
	large := strings.Repeat("0123456789012345678901234567890123456789\n", 10000)
	for _, text := range []string{"small\n", large, "small\n", large[:60000], large[:60000]} {
		save(t, m, text, SaveOptions{})
	}
	if files := w.storageFiles(); !slices.Equal(files, []string{"m.1", "m.2", "m.3"}) {
		t.Errorf("files %v", files)
	}
	if got := text(t, m, 2); got != large {
		t.Errorf("%d bytes of the large message", len(got))
	}
	if got := text(t, m, 5); got != large[:60000] {
		t.Errorf("%d bytes of the last message", len(got))
	}
}

// TestMdboxCopyElsewhere copies into the mailbox of another user and of another
// format.
func TestMdboxCopyElsewhere(t *testing.T) {
	w, other, sdbox := newMdboxWorld(t), newMdboxWorld(t), newWorld(t)
	other.pool, sdbox.pool = w.pool, w.pool
	from := w.create("A")
	save(t, from, "Subject: x\n\ntext\n", SaveOptions{Flags: Seen, Keywords: []string{"k"}, POP3UIDL: "uidl"})
	for _, to := range []*Mailbox{other.create("B"), sdbox.create("C")} {
		if _, err := from.Copy(ctx, []uint32{1}, to); err != nil {
			t.Fatal(err)
		}
		wantRows(t, to.Snapshot(), []row{{1, Seen, "k"}})
		a, b := messageOf(t, from, 1), messageOf(t, to, 1)
		if got, want := describe(t, b), describe(t, a); got != want || text(t, to, 1) != "Subject: x\n\ntext\n" {
			t.Errorf("the copy has %s, the original %s", got, want)
		}
		if _, err := to.Copy(ctx, []uint32{1}, from); err != nil {
			t.Fatal(err)
		}
	}
	wantRows(t, from.Snapshot(), []row{{1, Seen, "k"}, {2, Seen, "k"}, {3, Seen, "k"}})
}

func messageOf(t *testing.T, m *Mailbox, uid uint32) *Message {
	t.Helper()
	msg, err := m.Message(uid)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// describe returns what copies have in common.
func describe(t *testing.T, msg *Message) string {
	t.Helper()
	guid, err := msg.GUID()
	if err != nil {
		t.Fatal(err)
	}
	received, _ := msg.Received()
	size, _ := msg.VirtualSize()
	uidl, _ := msg.POP3UIDL()
	return fmt.Sprint(guid, received.Unix(), size, uidl)
}
