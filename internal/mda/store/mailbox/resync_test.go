package mailbox

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// TestResync has a mailbox compared with its files: nothing is changed that was right, and what nobody
// would have noticed is mended.
func TestResync(t *testing.T) {
	for _, format := range []string{"sdbox", "mdbox", "maildir"} {
		t.Run(format, func(t *testing.T) {
			var log logbook
			w := worldAt(t, t.TempDir(), format, &log)
			a, b := w.create("A"), w.create("B")
			for n := range 4 {
				save(t, a, bodyOf(fmt.Sprint("A", n+1)), SaveOptions{Flags: Seen, Keywords: []string{"k"}})
			}
			must(t, errOf(a.Copy(ctx, []uint32{2}, b)))
			must(t, a.Expunge(ctx, []uint32{1}))
			before, beforeB := look(t, a), look(t, b)
			for range 2 {
				must(t, a.Resync(ctx))
			}
			if c := differ(before, look(t, a)); !c.none() {
				t.Errorf("a sound mailbox was changed: %v", c)
			}
			if c := differ(beforeB, look(t, b)); !c.none() {
				t.Errorf("another mailbox was changed: %v", c)
			}
			log.take()

			// The index forgets message 3, as after an old one was put back.
			must(t, a.b.lock(ctx, func() error {
				a.b.tx.Expunge([]index.Expunged{{UID: 3}})
				return a.b.commit()
			}))
			must(t, a.Resync(ctx))
			c := differ(before, look(t, a))
			if len(c.Lost) > 0 || len(c.Extra) > 0 {
				t.Errorf("after the index lost a message: %v", c)
			}
			a.Close()
			b.Close()
			w.restartWith(&log)
			log.take()
			a = w.open("A")
			look(t, a)
			if lines := log.take(); len(lines) > 0 {
				t.Errorf("opening it again logs %q", lines)
			}
		})
	}
}

// TestResyncFiles finds damaged mail files that nobody has read.
func TestResyncFiles(t *testing.T) {
	w := newWorld(t)
	m := w.create("A")
	save(t, m, bodyOf("A1"), SaveOptions{})
	save(t, m, bodyOf("A2"), SaveOptions{Flags: Flagged})
	path := filepath.Join(m.Location().Dir, dbox.FileName(2))
	data, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, data[:len(data)-10], 0o600))
	must(t, os.Mkdir(filepath.Join(m.Location().Dir, dbox.FileName(7)), 0o700))
	must(t, m.Resync(ctx))
	wantRows(t, m.Snapshot(), []row{{1, 0, ""}, {2, Flagged, ""}})
	if got := text(t, m, 2); got != bodyOf("A2") {
		t.Errorf("text %q", got)
	}
	if _, err := os.Stat(path + dbox.BrokenSuffix); err != nil {
		t.Error(err)
	}
}
