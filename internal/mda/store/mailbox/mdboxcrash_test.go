package mailbox

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// readAll reads all files below a directory.
func readAll(t *testing.T, root string) map[string][]byte {
	t.Helper()
	tree := map[string][]byte{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(root, path)
		tree[name], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// TestMdboxEveryPrefix stops each operation after every byte that it writes, file
// by file in the order of writing. The mailbox then is as before or as after the
// operation, nothing in between, works, and loses nothing when all is compared.
func TestMdboxEveryPrefix(t *testing.T) {
	const (
		m1, mapFile, logA, logB = "storage/m.1", "storage/dovecot.map.index.log", "mailboxes/A/dbox-Mails/dovecot.index.log", "mailboxes/B/dbox-Mails/dovecot.index.log"
	)
	// The tail of the map's log is moved last.
	const butTail, tail = "-", 44
	both := []row{{1, 0, ""}, {2, Flagged, "k"}}
	for _, op := range []struct {
		name   string
		do     func(t *testing.T, a, b *Mailbox)
		order  []string // files, as they are written
		after  []row
		afterB []row
	}{
		{"save", func(t *testing.T, a, b *Mailbox) {
			save(t, a, "new\n", SaveOptions{Flags: Seen, Keywords: []string{"k", "n"}})
		}, []string{m1, mapFile, logA}, []row{{1, 0, ""}, {2, Flagged, "k"}, {3, Seen, "k n"}}, both[:1]},
		{"copy", func(t *testing.T, a, b *Mailbox) {
			if _, err := a.Copy(ctx, []uint32{2}, b); err != nil {
				t.Fatal(err)
			}
		}, []string{mapFile, logB}, both, both},
		{"expunge", func(t *testing.T, a, b *Mailbox) {
			if err := a.Expunge(ctx, []uint32{1}); err != nil {
				t.Fatal(err)
			}
		}, []string{mapFile + butTail, logA, mapFile}, both[1:], both[:1]},
		{"purge", func(t *testing.T, a, b *Mailbox) {
			if err := storageOf(a).Purge(ctx); err != nil {
				t.Fatal(err)
			}
		}, []string{"storage/m.2", mapFile, m1}, both, both[:1]},
	} {
		t.Run(op.name, func(t *testing.T) {
			w := newMdboxWorld(t)
			a, b := w.create("A"), w.create("B")
			save(t, a, "one\n", SaveOptions{})
			save(t, a, "two\n", SaveOptions{Flags: Flagged, Keywords: []string{"k"}})
			if _, err := a.Copy(ctx, []uint32{1}, b); err != nil {
				t.Fatal(err)
			}
			if op.name == "purge" {
				r := save(t, a, "dead\n", SaveOptions{})
				if err := a.Expunge(ctx, []uint32{r.UID}); err != nil {
					t.Fatal(err)
				}
			}
			before, beforeB := rows(a.Snapshot()), rows(b.Snapshot())
			tree := readAll(t, w.root)
			op.do(t, a, b)
			a.Close()
			b.Close()
			w.restart()
			after := readAll(t, w.root)
			for k, name := range op.order {
				name, ok := strings.CutSuffix(name, butTail)
				end := len(after[name])
				if ok {
					end -= tail
				}
				n := len(tree[name])
				if n == 0 {
					n = end // it gets its name when it is complete
				}
				for ; n <= end; n++ {
					disk := maps.Clone(tree)
					disk[name] = after[name][:n]
					done := k == len(op.order)-1 && n == end || op.name == "expunge" && (k == 2 || k == 1 && n == end)
					want, wantB := before, beforeB
					if done {
						want, wantB = op.after, op.afterB
					}
					checkMdboxPrefix(t, disk, want, wantB, op.after)
				}
				if data, ok := after[name]; ok {
					tree[name] = data[:end]
				} else { // removed
					delete(tree, name)
					checkMdboxPrefix(t, tree, op.after, op.afterB, op.after)
				}
			}
		})
	}
}

// finished leaves out a message without flags that was not finished, and came back when its mailbox
// was found to be so. The message with uid was saved since.
func finished(got, want []row, uid uint32) []row {
	for i := len(want); i < len(got) && len(got) == len(want)+2; i++ {
		if r := got[i]; r.UID != uid && r.Flags == 0 && r.Keywords == "" {
			return slices.Delete(slices.Clone(got), i, i+1)
		}
	}
	return got
}

// checkMdboxPrefix opens what is on disk.
func checkMdboxPrefix(t *testing.T, disk map[string][]byte, wantA, wantB, after []row) {
	t.Helper()
	w := newMdboxWorld(t)
	for name, data := range disk {
		path := filepath.Join(w.root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a, b := w.open("A"), w.open("B")
	defer a.Close()
	defer b.Close()
	wantRows(t, a.Snapshot(), wantA)
	wantRows(t, b.Snapshot(), wantB)
	r := save(t, a, "later\n", SaveOptions{})
	if got := rows(a.Snapshot()); !slices.Equal(finished(got, wantA, r.UID), append(slices.Clone(wantA), row{r.UID, 0, ""})) {
		t.Fatalf("messages %v after a save, before %v", got, wantA)
	}
	checkTexts := func() {
		t.Helper()
		texts := []string{"", "one\n", "two\n", "new\n"}
		for _, row := range wantA {
			if got := text(t, a, row.UID); got != texts[row.UID] {
				t.Errorf("A: text of %d is %q", row.UID, got)
			}
		}
		for _, row := range wantB {
			if got := text(t, b, row.UID); got != texts[row.UID] {
				t.Errorf("B: text of %d is %q", row.UID, got)
			}
		}
		if got := text(t, a, r.UID); got != "later\n" {
			t.Errorf("text %q", got)
		}
	}
	checkTexts()
	if err := storageOf(a).Purge(ctx); err != nil {
		t.Fatal(err)
	}
	checkTexts()
	if err := storageOf(a).Resync(ctx); err != nil {
		t.Fatal(err)
	}
	snap, err := a.Sync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// What was not finished may come back, as a message of its own.
	if n := snap.Len() - len(wantA) - 1; n < 0 || n > 1 {
		t.Errorf("%d messages after a resync, %d before", snap.Len(), len(wantA)+1)
	}
	checkTexts()
	w.pool.Close()
	for name, data := range readAll(t, w.root) {
		if strings.HasSuffix(name, ".broken") || bytes.Contains(data, []byte("\x00\x00\x00\x00Subject")) {
			t.Errorf("%s is there", name)
		}
	}
	os.RemoveAll(w.root)
}
