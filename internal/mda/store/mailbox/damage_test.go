package mailbox

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// damage is what happened to the files of a mailbox with the messages 1 to 3, of
// which 4 was expunged, two of them flagged after dovecot.index was written.
type damage struct {
	name string
	do   func(t *testing.T, dir string)
	want []row
}

var (
	allKept   = []row{{1, Seen, ""}, {2, Flagged, "k"}, {3, Answered, "$Late"}}
	lateLost  = []row{{1, Seen, ""}, {2, Flagged, "k"}, {3, 0, ""}}
	flagsLost = []row{{1, 0, ""}, {2, 0, ""}, {3, 0, ""}}
)

var damages = []damage{
	{"nothing", func(t *testing.T, dir string) {}, allKept},
	{"torn record", appendLog("\x80\x80\x80\x84\x02\x00"), allKept},
	{"length not written", appendLog("\x00\x00\x00\x00\x02\x00\x00\x10\x05\x00\x00\x00\x00\x00\x00\x00"), allKept},
	{"torn group", appendLog("\x80\x80\x80\x83\x00\x00\x08\x10\x40\x00\x00\x00\x80\x80\x80\x84\x02\x00\x00\x10\x05\x00\x00\x00\x00\x00\x00\x00"), allKept},
	{"unknown record", appendLog("\x80\x80\x80\x83\x00\x00\x00\x0f\x00\x00\x00\x00"), allKept},
	{"append below next uid", appendLog("\x80\x80\x80\x84\x02\x00\x00\x10\x02\x00\x00\x00\x00\x00\x00\x00"), allKept},
	{"log condemned", overwrite(index.LogName, 4, "\x00\x00\x00\x00"), allKept},
	{"log gone", remove(index.LogName), lateLost},
	{"log empty", truncate(index.LogName, 0), lateLost},
	{"index gone", remove(index.IndexName), allKept},
	{"index empty", truncate(index.IndexName, 0), allKept},
	{"index cut in the records", truncate(index.IndexName, -20), allKept},
	{"index of another version", overwrite(index.IndexName, 0, "\x06"), allKept},
	{"index marked for rebuild", overwrite(index.IndexName, 20, "\x04"), allKept},
	{"index and log gone", func(t *testing.T, dir string) {
		remove(index.IndexName)(t, dir)
		remove(index.LogName)(t, dir)
	}, lateLost}, // from the backup
	{"everything gone", func(t *testing.T, dir string) {
		for _, name := range []string{index.IndexName, index.LogName, index.BackupName} {
			remove(name)(t, dir)
		}
	}, flagsLost},
	{"mail file gone", remove("u.2"), []row{allKept[0], allKept[2]}},
	{"mail file empty", truncate("u.2", 0), []row{allKept[0], allKept[2]}},
	{"mail file without magic", overwrite("u.2", 0, "x"), allKept},
	{"mail file with wrong size", overwrite("u.2", 16+13, "00000000000000FF"), allKept},
	{"mail file cut in the text", truncate("u.2", 56), allKept},
	{"mail file cut in the metadata", truncate("u.2", -10), allKept},
	{"unknown mail file above", func(t *testing.T, dir string) {
		data, err := os.ReadFile(filepath.Join(dir, "u.1"))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "u.5"), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}, append(slices.Clone(allKept), row{5, 0, ""})}, // the index may have lost its end
}

func appendLog(text string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		f, err := os.OpenFile(filepath.Join(dir, index.LogName), os.O_WRONLY|os.O_APPEND, 0)
		if err == nil {
			_, err = f.WriteString(text)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

func overwrite(name string, off int64, text string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteAt([]byte(text), off)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

func remove(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// truncate cuts a file to a size, or by -size.
func truncate(name string, size int64) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		path := filepath.Join(dir, name)
		if size < 0 {
			st, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			size += st.Size()
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDamage opens damaged mailboxes, and lets Dovecot read what became of them.
func TestDamage(t *testing.T) {
	if asUser(t) {
		return
	}
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) { testDamage(t, &d) })
	}
}

func testDamage(t *testing.T, d *damage) {
	w := newWorld(t)
	m := w.create("A")
	for i, flags := range []Flags{Seen, Flagged, 0, 0} {
		opt := SaveOptions{Flags: flags}
		if i == 1 {
			opt.Keywords = []string{"k"}
		}
		save(t, m, "Subject: test\r\n\r\ntext\r\n", opt)
	}
	if err := m.Expunge(ctx, []uint32{4}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // twice, for a backup
		if err := m.b.lock(ctx, m.b.ix.Rewrite); err != nil {
			t.Fatal(err)
		}
	}
	setFlags(t, m, []uint32{3}, FlagsAdd, Answered, "$Late")
	before := m.Snapshot()
	m.Close()
	w.restart()
	d.do(t, m.Location().Dir)

	m = w.open("A")
	snap, err := m.Sync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i := range snap.Len() { // notices damaged files
		if msg, err := m.Message(snap.UID(i)); err == nil {
			_, _ = msg.GUID()
		}
	}
	r := save(t, m, "Subject: after\r\n\r\ntext\r\n", SaveOptions{})
	snap = m.Snapshot()
	wantRows(t, snap, append(append([]row(nil), d.want...), row{r.UID, 0, ""}))
	if d.name != "everything gone" {
		if snap.UIDValidity() != before.UIDValidity() || snap.GUID() != before.GUID() || r.UID < 5 {
			t.Errorf("uid validity %d, was %d; GUID %x, was %x; next uid %d", snap.UIDValidity(), before.UIDValidity(), snap.GUID(), before.GUID(), r.UID)
		}
		if snap.HighestModSeq() < before.HighestModSeq() && d.want[len(d.want)-1].Flags != 0 {
			t.Errorf("modseq fell from %d to %d", before.HighestModSeq(), snap.HighestModSeq())
		}
	}
	if got := text(t, m, 1); got != "Subject: test\n\ntext\n" {
		t.Errorf("text of message 1 is %q", got)
	}
	enableModSeq(t, m)
	dv := newDoveadm(t, w)
	if diff := cmp.Diff(dv.table("A"), ourTable(t, m)); diff != "" {
		t.Errorf("(-Dovecot +ours)\n%s", diff)
	}
	l, err := dbox.List(m.b.dir)
	if err != nil || len(l.UIDs) != snap.Len() {
		t.Errorf("files %v for %d messages, %v", l.UIDs, snap.Len(), err)
	}
}
