package mailbox

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// TestFillCache computes what a mailbox wants to have cached of messages saved before it
// did, into a directory of its own (INDEXCACHE).
func TestFillCache(t *testing.T) {
	w := newWorld(t)
	w.set.NeverCacheFields = "*"
	m := w.create("A")
	texts := testMessages(t)[:40]
	for _, text := range texts {
		save(t, m, text, SaveOptions{})
	}
	var want []string
	for i := range texts {
		want = append(want, allTexts(t, m, uint32(i+1)))
	}
	m.Close()
	w.restart()

	w.set.NeverCacheFields = ""
	w.set.CacheFields = "flags date.sent date.received date.save size.physical imap.envelope imap.bodystructure mime.parts " +
		"hdr.received hdr.subject hdr.to hdr.x-none hdr.content-type hdr.from hdr.x-other"
	loc := w.loc("A")
	loc.CacheDir = filepath.Join(t.TempDir(), "cache", "A")
	open := func() {
		t.Helper()
		var err error
		if m, err = w.pool.Open(ctx, loc, &w.set); err != nil {
			t.Fatal(err)
		}
	}
	open()
	if err := m.FillCache(ctx); err != nil {
		t.Fatal(err)
	}
	m.Close()
	w.restart()
	if _, err := os.Stat(filepath.Join(loc.CacheDir, index.CacheName)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(loc.Dir, index.CacheName)); err == nil {
		t.Error("there is a cache beside the index, too")
	}
	hideFiles(t, loc, true)
	open()
	defer m.Close()
	for i := range texts {
		if headerEnd([]byte(texts[i]), 0) == 0 {
			continue
		}
		if got := allTexts(t, m, uint32(i+1)); got != want[i] {
			t.Errorf("message %q:\ngot  %s\nwant %s", texts[i], got, want[i])
		}
	}
}
