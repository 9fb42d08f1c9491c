package mailbox

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// requestExpunge does what another process does that is killed before it carries out its own
// request: an internal record EXPUNGE_GUID with a zero GUID, and nothing else.
func requestExpunge(t *testing.T, m *Mailbox, uid uint32) {
	t.Helper()
	record := append([]byte{0x80, 0x80, 0x80, 0x87, 0x90, 0xed, 0, 0}, make([]byte, 20)...)
	binary.LittleEndian.PutUint32(record[8:], uid)
	f, err := os.OpenFile(filepath.Join(m.b.indexDir.Path, index.LogName), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(record); err != nil {
		t.Fatal(err)
	}
}

// TestExpungeRequests carries out what another process asked for: files go, references are given
// back, and nobody does it twice.
func TestExpungeRequests(t *testing.T) {
	for _, format := range []string{"sdbox", "mdbox", "maildir"} {
		for _, how := range []string{"sync", "open", "save"} {
			t.Run(format+"/"+how, func(t *testing.T) {
				w := newWorld(t)
				w.format = format
				a, b := w.create("A"), w.create("B")
				for _, body := range []string{"one\n", "two\n", "three\n"} {
					save(t, a, body, SaveOptions{})
				}
				if _, err := a.Copy(ctx, []uint32{2}, b); err != nil {
					t.Fatal(err)
				}
				requestExpunge(t, a, 1)
				requestExpunge(t, a, 2)
				switch how {
				case "open":
					a.Close()
					w.restart()
					a, b = w.open("A"), w.open("B")
				case "save":
					save(t, a, "four\n", SaveOptions{})
				}
				want := []row{{3, 0, ""}}
				if how == "save" {
					want = append(want, row{4, 0, ""})
				}
				wantRows(t, synced(t, a), want)
				if n := len(synced(t, a).st.ExpungeRequests()); n != 0 {
					t.Errorf("%d requests are left", n)
				}
				if text(t, a, 3) != "three\n" || text(t, b, synced(t, b).UID(0)) != "two\n" {
					t.Error("other texts")
				}
				if format == "mdbox" {
					wantStored(t, a, false, true, true)
					if err := b.Expunge(ctx, []uint32{1}); err != nil {
						t.Fatal(err)
					}
					wantStored(t, a, false, false, true)
				}
				a.Close()
				b.Close()
				w.restart()
				wantRows(t, synced(t, w.open("A")), want)
			})
		}
	}
}

// wantStored purges the storage and compares which messages it still has.
func wantStored(t *testing.T, m *Mailbox, want ...bool) {
	t.Helper()
	s := storageOf(m)
	if err := s.Purge(ctx); err != nil {
		t.Fatal(err)
	}
	for i, there := range want {
		f, err := s.Open(ctx, uint32(i+1))
		if err == nil {
			f.Close()
		}
		if (err == nil) != there {
			t.Errorf("map uid %d: %v, want it there: %v", i+1, err, there)
		}
	}
}
