package mailbox

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// An mdboxDamage is what happened to a storage whose mailbox A has the messages 1
// to 3, of which 4 was expunged and not purged, and B copies of 1 and 2. Flags of 3
// were changed after dovecot.index was written.
type mdboxDamage struct {
	name string
	do   func(t *testing.T, root string)
	a, b []row
}

var (
	copies  = []row{{1, Seen, ""}, {2, Flagged, "k"}}
	resaved = []row{{1, Seen, ""}, {2, Flagged, "k"}, {3, Answered, "$Late"}, {5, 0, ""}} // what was expunged is back
)

// in has a damage done in a directory below the root.
func in(dir string, do func(*testing.T, string)) func(*testing.T, string) {
	return func(t *testing.T, root string) { do(t, filepath.Join(root, dir)) }
}

func all(do ...func(*testing.T, string)) func(*testing.T, string) {
	return func(t *testing.T, root string) {
		for _, fn := range do {
			fn(t, root)
		}
	}
}

const (
	inStorage = "storage"
	inA       = "mailboxes/A/dbox-Mails"
	mapIndex  = "dovecot.map.index"
	mapLog    = "dovecot.map.index.log"
)

var mdboxDamages = []mdboxDamage{
	{"nothing", func(*testing.T, string) {}, allKept, copies},
	{"map without tail", in(inStorage, appendTo(mapLog, "\x80\x80\x80\x84\x20\x00\x00\x10\x50\x00\x04\x00\x00\x00\x00\x00")), allKept, copies},
	{"map log torn", in(inStorage, appendTo(mapLog, "\x80\x80\x80\x84\x02\x00")), allKept, copies},
	{"map log condemned", in(inStorage, overwrite(mapLog, 4, "\x00\x00\x00\x00")), allKept, copies},
	{"map log gone", in(inStorage, remove(mapLog)), resaved, copies},
	{"map index gone", in(inStorage, remove(mapIndex)), allKept, copies},
	{"map index of another version", in(inStorage, overwrite(mapIndex, 0, "\x06")), allKept, copies},
	{"map marked for rebuild", in(inStorage, overwrite(mapIndex, 20, "\x04")), allKept, copies},
	{"map gone", in(inStorage, all(remove(mapLog), remove(mapIndex), removeIfThere(mapIndex+".backup"))), resaved, copies},
	{"m.1 gone", in(inStorage, remove("m.1")), nil, nil},
	{"m.1 empty", in(inStorage, truncate("m.1", 0)), nil, nil},
	{"m.1 without header", in(inStorage, overwrite("m.1", 0, "x")), allKept, copies},
	{"partial message at the end", in(inStorage, appendTo("m.1", "\x01\x02N          00000000000000FF\nSubject: never finished")), allKept, copies},
	{"header of message 2 damaged", in(inStorage, overwrite("m.1", 16+30+20+44, "xx")), nil, nil}, // filled in by the test
	{"index of A gone", in(inA, remove(index.IndexName)), allKept, copies},
	{"log of A gone", in(inA, remove(index.LogName)), lateLost, copies},
	{"log of A condemned", in(inA, overwrite(index.LogName, 4, "\x00\x00\x00\x00")), allKept, copies},
	{"index of A marked for rebuild", in(inA, overwrite(index.IndexName, 20, "\x04")), allKept, copies},
	{"all of A gone", in(inA, all(remove(index.LogName), remove(index.IndexName), removeIfThere(index.BackupName))), []row{{1, 0, ""}}, copies},
}

func appendTo(name, text string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_APPEND, 0)
		if err == nil {
			_, err = f.WriteString(text)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

func removeIfThere(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, name)) }
}

// TestMdboxDamage opens damaged storages, and lets Dovecot read what became of them.
func TestMdboxDamage(t *testing.T) {
	if asUser(t) {
		return
	}
	for _, d := range mdboxDamages {
		t.Run(d.name, func(t *testing.T) { testMdboxDamage(t, &d) })
	}
}

func testMdboxDamage(t *testing.T, d *mdboxDamage) {
	w := newMdboxWorld(t)
	a, b := w.create("A"), w.create("B")
	for i, flags := range []Flags{Seen, Flagged, 0, 0} {
		opt := SaveOptions{Flags: flags}
		if i == 1 {
			opt.Keywords = []string{"k"}
		}
		save(t, a, "Subject: test\r\n\r\ntext\r\n", opt)
	}
	if _, err := a.Copy(ctx, []uint32{1, 2}, b); err != nil {
		t.Fatal(err)
	}
	if err := a.Expunge(ctx, []uint32{4}); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*Mailbox{a, a, b} {
		if err := m.b.lock(ctx, m.b.ix.Rewrite); err != nil {
			t.Fatal(err)
		}
	}
	setFlags(t, a, []uint32{3}, FlagsAdd, Answered, "$Late")
	before := a.Snapshot()
	a.Close()
	b.Close()
	w.restart()
	wantA, wantB := d.a, d.b
	if strings.HasPrefix(d.name, "header of message 2") {
		damageSecond(t, w.root)
		wantA, wantB = []row{allKept[0], allKept[2]}, copies[:1]
	} else {
		d.do(t, w.root)
	}

	a, b = w.open("A"), w.open("B")
	for _, m := range []*Mailbox{a, b} { // notices damaged files
		snap, err := m.Sync(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for i := range snap.Len() {
			if msg, err := m.Message(snap.UID(i)); err == nil {
				_, _ = msg.GUID()
			}
		}
		if _, err := m.Sync(ctx); err != nil {
			t.Fatal(err)
		}
	}
	r := save(t, a, "Subject: after\r\n\r\ntext\r\n", SaveOptions{})
	wantRows(t, a.Snapshot(), append(slices.Clone(wantA), row{r.UID, 0, ""}))
	wantRows(t, b.Snapshot(), wantB)
	if s := a.Snapshot(); d.name != "all of A gone" && (s.UIDValidity() != before.UIDValidity() || s.GUID() != before.GUID() || r.UID < 5) {
		t.Errorf("uid validity %d, was %d; GUID %x, was %x; next uid %d", s.UIDValidity(), before.UIDValidity(), s.GUID(), before.GUID(), r.UID)
	}
	for _, row := range wantA {
		if got := text(t, a, row.UID); got != "Subject: test\n\ntext\n" {
			t.Errorf("text of message %d is %q", row.UID, got)
		}
	}
	dv := newDoveadm(t, w)
	for name, m := range map[string]*Mailbox{"A": a, "B": b} {
		enableModSeq(t, m)
		if diff := cmp.Diff(dv.table(name), ourTable(t, m)); diff != "" {
			t.Errorf("mailbox %s (-Dovecot +ours)\n%s", name, diff)
		}
	}
	dv.run("Subject: theirs\n\ntext\n", "save", "-m", "A")
	dv.run("", "purge")
	if diff := cmp.Diff(dv.table("A"), ourTable(t, a)); diff != "" {
		t.Errorf("after a save and a purge by Dovecot (-Dovecot +ours)\n%s", diff)
	}
}

// damageSecond makes the header of the second message unreadable.
func damageSecond(t *testing.T, root string) {
	t.Helper()
	path := filepath.Join(root, "storage/m.1")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const magic = "\x01\x02N "
	first := strings.Index(string(data), magic)
	second := first + 1 + strings.Index(string(data[first+1:]), magic)
	copy(data[second:], "xx")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
