package mailbox

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// privateUsers opens a mailbox for two users with private flags.
func privateUsers(t *testing.T, w *world) (ann, bob *Mailbox) {
	t.Helper()
	if err := w.pool.Create(ctx, w.loc("shared"), &w.set, Identity{}); err != nil {
		t.Fatal(err)
	}
	open := func(name string) *Mailbox {
		loc := w.loc("shared")
		loc.PrivateDir = filepath.Join(w.root, name)
		m, err := w.pool.Open(ctx, loc, &w.set)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		return m
	}
	return open("ann"), open("bob")
}

func hasFlags(t *testing.T, m *Mailbox, want ...Flags) {
	t.Helper()
	snap, err := m.Sync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if snap.Len() != len(want) {
		t.Fatalf("%d messages, want %d", snap.Len(), len(want))
	}
	seen := 0
	for i, flags := range want {
		if got := snap.Flags(i); got != flags {
			t.Errorf("message %d has the flags %#x, want %#x", i, got, flags)
		}
		if flags&Seen != 0 {
			seen++
		}
	}
	if got := snap.Counts(); got.Seen != seen || got.Unseen != len(want)-seen {
		t.Errorf("counted %+v, want %d seen", got, seen)
	}
}

// Two users of one process share all but \Seen, and hear of each other's changes.
func TestPrivateFlags(t *testing.T) {
	for _, format := range []string{"", "mdbox", "maildir", "mbox"} {
		t.Run(format, func(t *testing.T) {
			w := newWorld(t)
			w.format = format
			ann, bob := privateUsers(t, w)
			heard := make(chan struct{}, 100)
			bob.Notify(func() {
				select {
				case heard <- struct{}{}:
				default:
				}
			})
			for _, flags := range []Flags{0, Seen, Seen | Flagged} {
				save(t, ann, "Subject: x\n\nx\n", SaveOptions{Flags: flags})
			}
			hasFlags(t, ann, 0, Seen, Seen|Flagged)
			hasFlags(t, bob, 0, 0, Flagged)
			before := bob.Snapshot().ModSeq(0)
			change := FlagChange{UIDs: []uint32{1}, Op: FlagsAdd, Flags: Seen | Answered, UnchangedSince: Unconditional}
			if _, err := ann.SetFlags(ctx, change); err != nil {
				t.Fatal(err)
			}
			deadline := time.After(time.Minute)
			for bob.Snapshot().Flags(0)&Answered == 0 {
				select {
				case <-heard:
				case <-deadline:
					t.Fatal("the other user did not hear of a change")
				}
			}
			hasFlags(t, ann, Seen|Answered, Seen, Seen|Flagged)
			hasFlags(t, bob, Answered, 0, Flagged)
			if bob.Snapshot().ModSeq(0) <= before {
				t.Error("the modseq did not rise")
			}
			if err := bob.Expunge(ctx, []uint32{2}); err != nil {
				t.Fatal(err)
			}
			hasFlags(t, ann, Seen|Answered, Seen|Flagged)
			hasFlags(t, bob, Answered, Flagged)
		})
	}
}

// A private index that is lost or damaged costs private flags at most.
func TestDamagedPrivateIndex(t *testing.T) {
	damage := map[string]func(t *testing.T, path string){
		"removed":   func(t *testing.T, path string) { removeFiles(t, path+".log", path) },
		"no log":    func(t *testing.T, path string) { removeFiles(t, path+".log") },
		"no index":  func(t *testing.T, path string) { removeFiles(t, path) },
		"truncated": func(t *testing.T, path string) { truncateFile(t, path+".log", 50) },
		"empty":     func(t *testing.T, path string) { truncateFile(t, path+".log", 0); truncateFile(t, path, 0) },
	}
	for name, fn := range damage {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ann, bob := privateUsers(t, w)
			for range 3 {
				save(t, ann, "Subject: x\n\nx\n", SaveOptions{Flags: Flagged | Seen})
			}
			hasFlags(t, bob, Flagged, Flagged, Flagged)
			ann.Close()
			bob.Close()
			w.pool.Close()
			fn(t, filepath.Join(w.root, "ann", privateBase))
			w.pool = NewPool(nil)
			loc := w.loc("shared")
			loc.PrivateDir = filepath.Join(w.root, "ann")
			m, err := w.pool.Open(ctx, loc, &w.set)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			snap, err := m.Sync(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if snap.Len() != 3 || snap.Flags(0)&Flagged == 0 {
				t.Fatalf("%d messages, flags %#x", snap.Len(), snap.Flags(0))
			}
			all := FlagChange{UIDs: []uint32{1, 2, 3}, Op: FlagsReplace, Flags: Seen, UnchangedSince: Unconditional}
			if _, err := m.SetFlags(ctx, all); err != nil {
				t.Fatal(err)
			}
			hasFlags(t, m, Seen, Seen, Seen)
		})
	}
}

func removeFiles(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func truncateFile(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}
