package mbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// A world is a mailbox in a directory.
type world struct {
	t    testing.TB
	path string
	dir  *index.Dir
}

func newWorld(t testing.TB) *world {
	root := t.TempDir()
	w := &world{t: t, path: filepath.Join(root, "box")}
	if err := os.Mkdir(filepath.Join(root, "index"), 0o700); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.dir, err = index.OpenDir(filepath.Join(root, "index")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.dir.Close)
	w.put(w.path, "")
	return w
}

func (w *world) put(path, text string) {
	w.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) get(path string) string {
	w.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

func (w *world) box() *Box {
	b := Open(Options{
		Name: "test", Path: w.path, Dir: w.dir, LockTimeout: 10 * time.Second, DotlockStale: time.Minute,
		ReadLocks: []Method{Fcntl}, WriteLocks: []Method{Dotlock, Fcntl},
	})
	w.t.Cleanup(b.Close)
	return b
}

// locked calls fn with the mailbox locked by somebody new.
func (w *world) locked(fn func(b *Box)) {
	w.t.Helper()
	b := w.box()
	unlock, err := b.Lock(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	fn(b)
	unlock()
	b.Close()
}

// fill appends messages.
func (w *world) fill(b *Box, n int) {
	w.t.Helper()
	for i := range n {
		m := b.NewWriter()
		fmt.Fprintf(m, "Subject: %d\n\nbody %d\n", i+1, i+1)
		if err := m.Finish(); err != nil {
			w.t.Fatal(err)
		}
		if _, err := b.Append([]Placing{{Writer: m, UID: uint32(i + 1), Received: time.Unix(1e9, 0)}}, Base{UIDValidity: 9}); err != nil {
			w.t.Fatal(err)
		}
		m.Close()
	}
}

func (w *world) places(b *Box) (list []Place) {
	w.t.Helper()
	err := b.Each(0, 1, func(m *Message) error {
		list = append(list, Place{UID: m.UID, From: m.From, End: m.End, MD5: m.MD5})
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// changes are one of each kind.
var changes = []struct {
	name string
	make func(list []Place) *Change
}{
	{"first", func(l []Place) *Change {
		return &Change{Remove: l[:1], Rewrite: []Rewrite{{l[1], Meta{UID: 2, Base: &Base{UIDValidity: 9, LastUID: 4}}}}}
	}},
	{"middle", func(l []Place) *Change { return &Change{Remove: l[1:3]} }},
	{"last", func(l []Place) *Change { return &Change{Remove: l[3:]} }},
	{"two", func(l []Place) *Change {
		return &Change{Remove: []Place{l[0], l[2]}, Rewrite: []Rewrite{{l[1], Meta{UID: 2, Base: &Base{UIDValidity: 9, LastUID: 4}}}}}
	}},
	{"grow", func(l []Place) *Change {
		return &Change{Rewrite: []Rewrite{{l[1], Meta{UID: 2, Keywords: []string{strings.Repeat("k", 200)}}}, {l[3], Meta{UID: 4, Flags: FlagSeen}}}}
	}},
	{"grow much", func(l []Place) *Change {
		return &Change{Rewrite: []Rewrite{{l[0], Meta{UID: 1, Base: &Base{UIDValidity: 9, LastUID: 4, Keywords: []string{strings.Repeat("k", 5000)}}}}}}
	}},
	{"both", func(l []Place) *Change {
		return &Change{Remove: l[1:2], Rewrite: []Rewrite{{l[2], Meta{UID: 3, Keywords: []string{strings.Repeat("k", 2000)}}}}}
	}},
	{"in place", func(l []Place) *Change {
		return &Change{Rewrite: []Rewrite{{l[2], Meta{UID: 3, Flags: FlagSeen, Keywords: []string{"k"}}}}}
	}},
}

// TestKilledChanging stops each kind of change after every byte that it writes. Who next
// locks the file finds it as it was, or finishes the change; messages that others have
// appended meanwhile stay.
func TestKilledChanging(t *testing.T) {
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			var before, after, journal string
			var start int64
			w.locked(func(b *Box) {
				w.fill(b, 4)
				before = w.get(w.path)
				p, err := b.plan(c.make(w.places(b)))
				if err != nil {
					t.Fatal(err)
				}
				if p.first < len(p.edits) {
					start = p.edits[p.first].start
					j, err := b.writeJournal(p, p.moved(b.size))
					if err != nil {
						t.Fatal(err)
					}
					j.close()
					journal = w.get(w.dir.File(JournalName))
				}
				if err := b.apply(p); err != nil {
					t.Fatal(err)
				}
				after = w.get(w.path)
				if _, err := parseAll(after); err != nil || before == after {
					t.Fatalf("%v: %q", err, after)
				}
			})
			if journal == "" {
				return
			}
			for n := 0; n < len(journal); n += 1 + len(journal)/200 {
				w.killed(before, journal[:n], before)
			}
			payload := journal[journalHeader:]
			foreign := from + "Subject: foreign\n\nx\n\n"
			base := before
			if len(after) > len(before) {
				w.killed(before, journal, after)
				base = before + strings.Repeat("\x00", len(after)-len(before))
			}
			for n := 0; n <= len(payload); n += 1 + len(payload)/200 {
				half := base[:start] + payload[:n] + base[int(start)+n:]
				w.killed(half, journal, after)
				w.killed(half+foreign, journal, after+foreign)
			}
			w.killed(after, journal, after)
			if len(after) > len(before) {
				w.killed(before+foreign, journal, before+foreign)
			}
			w.killed(before[:len(before)/2], journal, before[:len(before)/2]) // others have removed messages
		})
	}
}

// killed has somebody lock a file and a journal that were left behind.
func (w *world) killed(file, journal, want string) {
	w.t.Helper()
	// The journal names the file, so it has to stay the same one.
	f, err := os.OpenFile(w.path, os.O_WRONLY|os.O_TRUNC, 0)
	if err == nil {
		_, err = f.WriteString(file)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(w.dir.File(JournalName), journal)
	w.locked(func(*Box) {})
	if got := w.get(w.path); got != want {
		w.t.Fatalf("journal of %d bytes\ngot  %q\nwant %q", len(journal), got, want)
	}
	if _, err := os.Stat(w.dir.File(JournalName)); err == nil {
		w.t.Fatal("the journal is still there")
	}
}

// TestShrink removes messages without a journal, as on a full disk.
func TestShrink(t *testing.T) {
	for _, c := range changes[1:4] {
		w := newWorld(t)
		w.locked(func(b *Box) {
			w.fill(b, 4)
			before := w.get(w.path)
			list := w.places(b)
			p, err := b.plan(c.make(list))
			if err != nil {
				t.Fatal(err)
			}
			size := p.moved(b.size)
			if err := b.shrink(p, size); err != nil {
				t.Fatal(err)
			}
			shrunk := w.get(w.path)
			w.put(w.path, before)
			b.size = int64(len(before))
			if err := b.apply(p); err != nil {
				t.Fatal(err)
			}
			if got := w.get(w.path); got != shrunk {
				t.Errorf("%s:\ngot  %q\nwant %q", c.name, shrunk, got)
			}
		})
	}
}

// TestMoved checks where messages are said to be after a change.
func TestMoved(t *testing.T) {
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.locked(func(b *Box) {
				w.fill(b, 4)
				list := w.places(b)
				ch := c.make(list)
				gone := map[uint32]bool{}
				for _, pl := range ch.Remove {
					gone[pl.UID] = true
				}
				moved, err := b.Do(ch)
				if err != nil {
					t.Fatal(err)
				}
				now, first := w.places(b), true
				for _, pl := range list {
					if gone[pl.UID] {
						continue
					}
					to := moved(pl.From)
					if gone[1] && first {
						to = 0
					}
					first = false
					if now[0].UID != pl.UID || now[0].From != to {
						t.Errorf("UID %d is said to be at %d, there is %+v", pl.UID, to, now[0])
					}
					now = now[1:]
				}
			})
		})
	}
}

// TestDamagedFromLine has the From_ line of a message damaged that the index knows. Nothing is cut.
func TestDamagedFromLine(t *testing.T) {
	w := newWorld(t)
	w.locked(func(b *Box) { w.fill(b, 4) })
	text := w.get(w.path)
	at := strings.Index(text, "X-UID: 3")
	at = strings.LastIndex(text[:at], "\nFrom ") + 1
	damaged := text[:at] + strings.Repeat("\x00", 20) + text[at+20:]
	w.put(w.path, damaged)
	w.locked(func(b *Box) {
		n := 0
		if err := b.Each(0, 5, func(*Message) error { n++; return nil }); err != nil || n != 3 {
			t.Errorf("%d messages, %v", n, err)
		}
		if err := b.CutUnfinished(Place{}); err != nil {
			t.Error(err)
		}
	})
	if got := w.get(w.path); got != damaged {
		t.Errorf("the file was changed: %q", got)
	}
}

// TestAppendKilled stops an append of two messages after every byte. The first, which is not complete, is cut out,
// by who knows how long the file was, and by the Content-Length of the message before. What others have appended
// meanwhile stays.
func TestAppendKilled(t *testing.T) {
	w := newWorld(t)
	var before, after string
	var known Place
	w.locked(func(b *Box) {
		w.fill(b, 2)
		known = w.places(b)[1]
		before = w.get(w.path)
		var list []Placing
		for i := range 2 {
			m := b.NewWriter()
			fmt.Fprintf(m, "Subject: new %d\n\nbody\n", i)
			if err := m.Finish(); err != nil {
				t.Fatal(err)
			}
			list = append(list, Placing{Writer: m, UID: uint32(i + 3), Received: time.Unix(1e9, 0)})
		}
		if _, err := b.Append(list, Base{UIDValidity: 9}); err != nil {
			t.Fatal(err)
		}
		after = w.get(w.path)
	})
	old := strings.Replace(after, "0000000004", "0000000002", 1)
	for n := len(before) + 1; n <= len(after); n++ {
		torn := before + strings.Repeat("\x00", 5)[:min(5, n-len(before))]
		if n > len(torn) {
			torn += old[len(torn):n]
		}
		// The second message is there as far as it was written.
		second := old[strings.LastIndex(old, "\nFrom ")+1:]
		good := func(got, foreign string) bool {
			got, ok := strings.CutPrefix(got, before)
			got, ok2 := strings.CutSuffix(got, foreign)
			return ok && ok2 && strings.HasPrefix(second, strings.TrimRight(got, "\n"))
		}
		for _, foreign := range []string{"", "From x@example.org  Sun Nov 22 10:00:00 2026\nSubject: foreign\n\nx\n\n"} {
			text := torn
			if foreign != "" {
				text = torn + "\n\n" + foreign
			}
			w.put(w.path, text)
			w.locked(func(b *Box) {
				if err := b.CutUnfinished(known); err != nil {
					t.Fatal(err)
				}
			})
			if got := w.get(w.path); !good(got, foreign) {
				t.Fatalf("after %d bytes: %q", n-len(before), got)
			}
			w.put(w.path, text)
			w.locked(func(b *Box) {
				if err := b.Each(0, 1, func(*Message) error { return nil }); !errors.Is(err, ErrCut) {
					t.Fatalf("after %d bytes: %v", n-len(before), err)
				}
				if err := b.Each(0, 1, func(*Message) error { return nil }); err != nil {
					t.Fatal(err)
				}
			})
			if got := w.get(w.path); !good(got, foreign) {
				t.Fatalf("after %d bytes: %q", n-len(before), got)
			}
		}
	}
	// Zeros elsewhere, or behind something that the index does not know, are mail.
	w.put(w.path, after)
	w.locked(func(b *Box) {
		list := w.places(b)
		for _, pl := range []Place{{}, {UID: 1, From: list[0].From, End: list[0].End, MD5: list[0].MD5}, {UID: 7, From: list[3].From, End: list[3].End + 1}} {
			if err := b.CutUnfinished(pl); err != nil {
				t.Fatal(err)
			}
		}
	})
	if got := w.get(w.path); got != after {
		t.Errorf("mail was cut off: %q", got)
	}
}
