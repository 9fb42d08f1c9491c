package search

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store/fts"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// testFullText fails the test with what is logged.
func testFullText(t *testing.T) *FullText {
	return &FullText{Log: maillog.NewFunc(func(_ maillog.Level, text string) { t.Errorf("logged: %s", text) })}
}

// With the index, the same is found as without it.
func TestFullTextFindsTheSame(t *testing.T) {
	m := testMailbox(t, t.TempDir())
	for _, c := range []struct {
		name string
		set  FullText
	}{{"all", FullText{Strict: true, Headers: true}}, {"large ones are read", FullText{MaxSize: 100}}, {"headers are read", FullText{}}} {
		t.Run(c.name, func(t *testing.T) {
			c.set.Log = testFullText(t).Log
			if err := c.set.Rescan(m); err != nil {
				t.Fatal(err)
			}
			env := &Env{Now: time.Now(), Location: time.UTC, FullText: &c.set}
			for range 2 { // the index is made, and used
				for _, s := range searches {
					got, err := Run(t.Context(), m, m.Snapshot(), s.key, env)
					if err != nil || !slices.Equal(got, s.want) {
						t.Errorf("%s: %v, want %v, %v", s.imap, got, s.want, err)
					}
				}
			}
		})
	}
}

// Only what may match is read: messages whose files are gone show which those are.
func TestFullTextSparesReading(t *testing.T) {
	m := testMailbox(t, t.TempDir())
	ft := testFullText(t)
	if err := ft.Update(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(m.Location().Dir, "u.*"))
	if err != nil || len(files) != len(testMessages)-1 {
		t.Fatalf("message files %v, %v", files, err)
	}
	for _, f := range files {
		if err := os.Truncate(f, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		key  *Key
		want []uint32
	}{
		{text(Body, "filler"), []uint32{4}},
		{text(TextOp, "ubjec"), []uint32{1, 2, 3, 4, 5}},
		{text(TextOp, "nowhere"), nil},
		{header("SUBJECT", "multi"), []uint32{3}},
		{not(text(Body, "filler")), []uint32{1, 2, 3, 5}},
		{&Key{Op: Body, Text: "text plain", Fuzzy: true}, []uint32{1}},
	} {
		scores := make(map[uint32]float64)
		got, err := Run(t.Context(), m, m.Snapshot(), c.key, &Env{FullText: ft, Scores: scores})
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, want %v, %v", *c.key, got, c.want, err)
		}
		for _, uid := range got {
			if !(scores[uid] > 0) && c.key.Op != And {
				t.Errorf("%+v: message %d has the score %v", *c.key, uid, scores[uid])
			}
		}
	}
}

// A damaged index is made anew within the search; where none can be made messages are read,
// unless that must not be.
func TestFullTextHeals(t *testing.T) {
	m := testMailbox(t, t.TempDir())
	warned := 0
	ft := &FullText{Log: maillog.NewFunc(func(maillog.Level, string) { warned++ })}
	find := func() ([]uint32, error) {
		return Run(t.Context(), m, m.Snapshot(), text(Body, "filler"), &Env{FullText: ft})
	}
	file := filepath.Join(m.IndexDir(), fts.Name)
	for _, content := range []string{"garbage", ""} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := find(); err != nil || !slices.Equal(got, []uint32{4}) {
			t.Errorf("with %q as index: %v, %v", content, got, err)
		}
	}
	if err := ft.Rescan(m); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(file, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := find(); err != nil || !slices.Equal(got, []uint32{4}) || warned == 0 {
		t.Errorf("without index: %v, %v, %d lines logged", got, err, warned)
	}
	ft.Strict = true
	if got, err := find(); err == nil {
		t.Errorf("with fts_enforced %v is found", got)
	}
}

// What came since is found, what is expunged is not.
func TestFullTextFollowsTheMailbox(t *testing.T) {
	m := testMailbox(t, t.TempDir())
	ft := testFullText(t)
	find := func(want ...uint32) {
		t.Helper()
		got, err := Run(t.Context(), m, m.Snapshot(), text(TextOp, "plain"), &Env{FullText: ft})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("found %v, %v, want %v", got, err, want)
		}
	}
	find(1, 2, 5)
	save, err := m.Save(t.Context(), mailbox.SaveOptions{Received: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := save.Write([]byte("Subject: plain as well\n\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := save.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	find(1, 2, 5, 6)
	if err := m.Expunge(t.Context(), []uint32{1, 6}); err != nil {
		t.Fatal(err)
	}
	find(2, 5)
	if err := ft.Optimize(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	find(2, 5)
}
