package fts

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// testOpen opens the index of an imagined mailbox.
func testOpen(t *testing.T, dir string) *Index {
	t.Helper()
	ix, err := Open(t.Context(), dir, 7, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ix.Close)
	return ix
}

// reader gathers the words of texts.
func reader(texts map[uint32]string, f Field) func(uint32, *Message) error {
	return func(uid uint32, m *Message) error {
		s := Splitter{Word: func(w []byte) { m.Word(f, w) }}
		text := []byte(texts[uid])
		for len(text) > 0 { // in pieces, as they come from a file
			n := min(len(text), 100)
			for n < len(text) && text[n]&0xc0 == 0x80 {
				n++
			}
			s.Write(text[:n])
			text = text[n:]
		}
		s.End()
		return nil
	}
}

func add(t *testing.T, ix *Index, texts map[uint32]string) {
	t.Helper()
	uids := make([]uint32, 0, len(texts))
	for uid := range texts {
		uids = append(uids, uid)
	}
	slices.Sort(uids)
	if err := ix.Add(t.Context(), uids, reader(texts, Body)); err != nil {
		t.Fatal(err)
	}
}

// What is in a text must be found, and what is said to be in it must be there.
func TestFindsWhatReadingFinds(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	const letters = "ABCÄ語 .-\n0"
	random := func(n int) string {
		var b strings.Builder
		for range n {
			r := []rune(letters)
			b.WriteRune(r[rnd.IntN(len(r))])
		}
		return b.String()
	}
	texts := make(map[uint32]string)
	for uid := uint32(1); uid <= 200; uid++ {
		texts[uid] = random(rnd.IntN(60))
	}
	texts[201] = strings.Repeat("ABCDEFGHIJ語", 50) // one long run
	ix := testOpen(t, t.TempDir())
	add(t, ix, texts)
	wanted := []string{"A", "語", "ABC", "A.B", "-", "CCC", "ABCDEFGHIJ語ABCDE", strings.Repeat("ABCDEFGHIJ語", 20), "not there"}
	for range 300 {
		wanted = append(wanted, random(1+rnd.IntN(5)))
	}
	for _, want := range wanted {
		r, err := ix.Find([]byte(want), Body, AnyHeader)
		if err != nil {
			t.Fatal(err)
		}
		for uid, text := range texts {
			_, is := slices.BinarySearch(r.Matches, uid)
			_, maybe := slices.BinarySearch(r.Maybe, uid)
			switch has := strings.Contains(text, want); {
			case is && !has:
				t.Errorf("%q is said to be in %q", want, text)
			case has && !is && !maybe && !r.All:
				t.Errorf("%q is not found in %q", want, text)
			}
		}
	}
	if r, err := ix.Find([]byte("ABC"), Subject); err != nil || len(r.Matches) > 0 {
		t.Errorf("in the subjects there is %v, %v", r, err)
	}
}

func TestUnreadMessagesMayMatch(t *testing.T) {
	ix := testOpen(t, t.TempDir())
	err := ix.Add(t.Context(), []uint32{1, 2}, func(uid uint32, m *Message) error {
		m.Unread = uid == 2
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := ix.Find([]byte("WORD"), Body); err != nil || !slices.Equal(r.Maybe, []uint32{2}) || len(r.Matches) > 0 {
		t.Errorf("found %+v, %v", r, err)
	}
}

// A file that is damaged, or of another mailbox, is made anew.
func TestUselessFileIsReplaced(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(file string) error
	}{
		{"no database", func(file string) error { return os.WriteFile(file, bytes.Repeat([]byte("garbage "), 1000), 0o600) }},
		{"empty", func(file string) error { return os.Truncate(file, 0) }},
		{"cut off", func(file string) error { return os.Truncate(file, 5000) }},
		{"zeros", func(file string) error {
			content, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			clear(content[4096:])
			return os.WriteFile(file, content, 0o600)
		}},
		{"removed", os.Remove},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			ix := testOpen(t, dir)
			add(t, ix, map[uint32]string{1: "ONE", 2: "TWO"})
			ix.Close()
			if err := c.damage(filepath.Join(dir, Name)); err != nil {
				t.Fatal(err)
			}
			ix = testOpen(t, dir)
			if ix.Last() != 0 {
				t.Errorf("a new index says to have UID %d", ix.Last())
			}
			add(t, ix, map[uint32]string{1: "ONE", 2: "TWO"})
			if r, err := ix.Find([]byte("TWO"), Body); err != nil || !slices.Equal(r.Matches, []uint32{2}) {
				t.Errorf("found %+v, %v", r, err)
			}
		})
	}
	dir := t.TempDir()
	add(t, testOpen(t, dir), map[uint32]string{5: "ONE"})
	for _, c := range []struct{ validity, next uint32 }{{7, 6}, {8, 6}, {8, 2}} {
		ix, err := Open(t.Context(), dir, c.validity, c.next)
		if err != nil {
			t.Fatal(err)
		}
		if had, same := ix.Last() == 5, c.validity == 7; had != same {
			t.Errorf("with UIDVALIDITY %d the last UID is %d", c.validity, ix.Last())
		}
		ix.Close()
	}
}

// Many add the same messages at once: each is there once.
func TestManyAdd(t *testing.T) {
	dir := t.TempDir()
	texts := make(map[uint32]string)
	var uids []uint32
	for uid := uint32(1); uid <= 300; uid++ {
		texts[uid] = fmt.Sprintf("WORD%d ALL", uid)
		uids = append(uids, uid)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			ix, err := Open(context.WithoutCancel(t.Context()), dir, 7, 1000)
			if err != nil {
				t.Error(err)
				return
			}
			defer ix.Close()
			if err := ix.Add(t.Context(), uids, reader(texts, Body)); err != nil {
				t.Error(err)
			}
			if r, err := ix.Find([]byte("ALL"), Body); err != nil || !slices.Equal(r.Matches, uids) {
				t.Errorf("%d messages found, %v", len(r.Matches), err)
			}
		})
	}
	wg.Wait()
}

func TestOptimizeForgetsExpunged(t *testing.T) {
	ix := testOpen(t, t.TempDir())
	add(t, ix, map[uint32]string{1: "ONE WORD", 2: "TWO WORD", 3: "THREE WORD"})
	if err := ix.Optimize([]uint32{2}, 4); err != nil {
		t.Fatal(err)
	}
	if r, err := ix.Find([]byte("WORD"), Body); err != nil || !slices.Equal(r.Matches, []uint32{2}) || ix.Last() != 3 {
		t.Errorf("found %+v, %v; last %d", r, err, ix.Last())
	}
}

// Messages that another process indexes while one is about to optimize stay in the index, whose last uid says that they are.
func TestOptimizeKeepsNew(t *testing.T) {
	dir := t.TempDir()
	ix := testOpen(t, dir)
	add(t, ix, map[uint32]string{1: "ONE WORD", 2: "TWO WORD"})
	add(t, testOpen(t, dir), map[uint32]string{3: "THREE WORD"})
	if err := ix.Optimize([]uint32{2}, 3); err != nil {
		t.Fatal(err)
	}
	if r, err := testOpen(t, dir).Find([]byte("WORD"), Body); err != nil || !slices.Equal(r.Matches, []uint32{2, 3}) {
		t.Errorf("found %+v, %v", r, err)
	}
}

func TestScores(t *testing.T) {
	ix := testOpen(t, t.TempDir())
	add(t, ix, map[uint32]string{1: "PRESSURED", 2: "SURE SURELY", 3: "SURELY"})
	r, err := ix.Find([]byte("SURE"), Body)
	if err != nil {
		t.Fatal(err)
	}
	if s := r.Scores; s[2] != 1 || s[3] >= s[2] || s[1] >= s[3] || s[1] == 0 {
		t.Errorf("scores %v", s)
	}
}

// FuzzSplitter compares the pieces of words with the text: each part of a word must be in one.
func FuzzSplitter(f *testing.F) {
	f.Add([]byte("one two-three"), 3)
	f.Add([]byte(strings.Repeat("語a", 100)), 50)
	f.Fuzz(func(t *testing.T, text []byte, at int) {
		text = bytes.ToValidUTF8(text, nil)
		var words [][]byte
		s := Splitter{Word: func(w []byte) { words = append(words, bytes.Clone(w)) }}
		s.Write(text)
		s.End()
		wanted, _ := needles(text[min(max(at, 0), len(text)):])
		for _, want := range wanted {
			if !slices.ContainsFunc(words, func(w []byte) bool { return bytes.Contains(w, want) }) {
				t.Errorf("%q is in no word of %q", want, text)
			}
		}
		for _, w := range words {
			if len(w) > maxWord || len(w) == 0 || !bytes.Contains(text, w) {
				t.Errorf("%q is no word of %q", w, text)
			}
		}
	})
}
