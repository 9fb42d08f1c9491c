package mailbox

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestMaildirEveryPrefix stops each operation after every step and every byte that it writes, in the
// order of writing: names of mail files, the uidlist, the index's log. Messages that were there
// are there, with their uids, and all works.
func TestMaildirEveryPrefix(t *testing.T) {
	const list, keywords, log = ".A/dovecot-uidlist", ".A/dovecot-keywords", ".A/dovecot.index.log"
	for _, op := range []struct {
		name string
		do   func(a, b *Mailbox) error
	}{
		{"save", func(a, b *Mailbox) error { return errOf(saveText(a, bodyOf("new"))) }},
		{"copy", func(a, b *Mailbox) error { return errOf(b.Copy(ctx, []uint32{1}, a)) }},
		{"flags", func(a, b *Mailbox) error {
			return errOf(a.SetFlags(ctx, FlagChange{UIDs: []uint32{1, 2}, Op: FlagsReplace, Flags: Answered, Keywords: []string{"fresh"}, UnchangedSince: Unconditional}))
		}},
		{"expunge", func(a, b *Mailbox) error { return a.Expunge(ctx, []uint32{1, 3}) }},
	} {
		t.Run(op.name, func(t *testing.T) {
			w := worldAt(t, t.TempDir(), "maildir", &logbook{})
			a, b := w.create("A"), w.create("B")
			save(t, b, bodyOf("B1"), SaveOptions{Flags: Seen})
			for _, name := range []string{"A1", "A2", "A3"} {
				save(t, a, bodyOf(name), SaveOptions{Flags: Flagged, Keywords: []string{"k"}})
			}
			before, tree := look(t, a), readAll(t, w.root)
			must(t, op.do(a, b))
			after := look(t, a)
			a.Close()
			b.Close()
			w.pool.Close()
			last := readAll(t, w.root)
			check := func() {
				t.Helper()
				checkMaildirPrefix(t, tree, before, after)
			}
			for _, name := range []string{keywords} { // replaced
				tree[name] = last[name]
			}
			check()
			for name, data := range last { // files get names, or others
				if strings.HasPrefix(name, ".A/cur/") || strings.HasPrefix(name, ".A/new/") {
					base, _, _ := strings.Cut(filepath.Base(name), ":")
					maps.DeleteFunc(tree, func(old string, _ []byte) bool {
						return old != name && strings.HasPrefix(old, ".A/") && strings.HasPrefix(filepath.Base(old), base)
					})
					tree[name] = data
					check()
				}
			}
			for name := range maps.Clone(tree) { // or are removed
				if last[name] == nil {
					delete(tree, name)
					check()
				}
			}
			for _, name := range []string{list, log} {
				for n := len(tree[name]); n <= len(last[name]); n++ {
					tree[name] = last[name][:n]
					check()
				}
			}
			if got := checkMaildirPrefix(t, tree, before, after); !slices.Equal(got.rows[:len(after.rows)], after.rows) {
				t.Errorf("after all: %v, want %v", got.rows, after.rows)
			}
		})
	}
}

// checkMaildirPrefix opens what is on disk.
func checkMaildirPrefix(t *testing.T, disk map[string][]byte, before, after view) (got view) {
	t.Helper()
	root, err := os.MkdirTemp("", "p")
	must(t, err)
	defer os.RemoveAll(root)
	for _, dir := range []string{"cur", "new", "tmp"} {
		must(t, os.MkdirAll(filepath.Join(root, ".A", dir), 0o700))
	}
	for name, data := range disk {
		path := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, data, 0o600))
	}
	var log logbook
	w := worldAt(t, root, "maildir", &log)
	defer w.pool.Close()
	m := w.open("A")
	defer m.Close()
	uid, err := saveText(m, bodyOf("later"))
	must(t, err)
	got = look(t, m)
	for _, v := range []view{before, after} {
		for i, text := range v.texts {
			other := after
			if slices.Equal(v.texts, after.texts) {
				other = before
			}
			k := slices.Index(got.texts, text)
			if k < 0 && slices.Contains(other.texts, text) {
				t.Errorf("%q is lost", text)
			}
			if k >= 0 && slices.Contains(before.texts, text) && got.rows[k].UID != v.rows[i].UID {
				t.Errorf("%q had uid %d, has %d", text, v.rows[i].UID, got.rows[k].UID)
			}
		}
	}
	if k := slices.Index(got.texts, bodyOf("later")); k < 0 || got.rows[k].UID != uid {
		t.Errorf("what was saved afterwards is lost")
	}
	if lines := log.take(); len(lines) > 2 {
		t.Errorf("logged %q", lines)
	}
	return got
}
