package mailbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestNotify checks that sessions hear of what others do: in this process, in
// another one, and after the log was replaced.
func TestNotify(t *testing.T) {
	w := newWorld(t)
	m := w.create("A")
	foreign := NewPool(nil) // stands for another process
	defer foreign.Close()
	f, err := foreign.Open(ctx, w.loc("A"), &w.set)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m.Snapshot()
	woken := make(chan struct{}, 1)
	cancel := m.Notify(func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	})
	wait := func(n int) {
		t.Helper()
		deadline := time.After(60 * time.Second)
		for m.Snapshot().Len() != n {
			select {
			case <-woken:
			case <-deadline:
				t.Fatalf("no news of message %d", n)
			}
		}
	}
	save(t, m, "own\n", SaveOptions{})
	wait(1)
	save(t, f, "foreign\n", SaveOptions{})
	wait(2)
	if err := f.b.lock(ctx, f.b.ix.Rotate); err != nil {
		t.Fatal(err)
	}
	save(t, f, "in the new log\n", SaveOptions{})
	wait(3)
	save(t, f, "again\n", SaveOptions{})
	wait(4)
	cancel()
	cancel()
}

func TestSameMailbox(t *testing.T) {
	w := newWorld(t)
	m := w.create("A")
	if err := w.pool.Create(ctx, w.loc("A"), &w.set, Identity{}); !errors.Is(err, ErrExists) {
		t.Errorf("created twice: %v", err)
	}
	other := w.open("A")
	if other.b != m.b {
		t.Error("two states of one mailbox")
	}
	if _, err := w.pool.Open(ctx, w.loc("B"), &w.set); !errors.Is(err, ErrNotExist) {
		t.Errorf("missing mailbox: %v", err)
	}
	snap := m.Snapshot()
	save(t, other, "x\n", SaveOptions{})
	if snap.Len() != 0 || m.Snapshot().Len() != 1 {
		t.Errorf("%d messages in the old snapshot, %d in the new", snap.Len(), m.Snapshot().Len())
	}
}

func TestDelete(t *testing.T) {
	w := newWorld(t)
	m := w.create("A")
	foreign := NewPool(nil)
	defer foreign.Close()
	f, err := foreign.Open(ctx, w.loc("A"), &w.set)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	save(t, m, "x\n", SaveOptions{})
	if s, err := f.Sync(ctx); err != nil || s.Len() != 1 {
		t.Fatal(s, err)
	}
	if err := w.pool.Delete(ctx, w.loc("A"), &w.set); err != nil {
		t.Fatal(err)
	}
	if _, err := w.pool.Open(ctx, w.loc("A"), &w.set); !errors.Is(err, ErrNotExist) {
		t.Errorf("deleted mailbox: %v", err)
	}
	if !m.Snapshot().Deleted() {
		t.Error("a session does not see that the mailbox is gone")
	}
	if err := trySave(m, "y\n"); err == nil {
		t.Error("saved to a deleted mailbox")
	}
	entries, err := os.ReadDir(filepath.Dir(w.loc("A").Dir))
	if err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if s, err := f.Sync(ctx); err == nil && !s.Deleted() {
		t.Error("another process does not see that the mailbox is gone")
	}
	again := w.create("A")
	if again.Snapshot().Len() != 0 {
		t.Error("the new mailbox has old messages")
	}
}

func TestUnchangedSince(t *testing.T) {
	w := newWorld(t)
	m := w.create("A")
	enableModSeq(t, m)
	for range 3 {
		save(t, m, "x\n", SaveOptions{})
	}
	base := m.Snapshot().HighestModSeq()
	setFlags(t, m, []uint32{2}, FlagsAdd, Seen)
	modified, err := m.SetFlags(ctx, FlagChange{UIDs: []uint32{1, 2, 3}, Op: FlagsAdd, Flags: Flagged, UnchangedSince: base})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]uint32{2}, modified); d != "" {
		t.Error(d)
	}
	wantRows(t, m.Snapshot(), []row{{1, Flagged, ""}, {2, Seen, ""}, {3, Flagged, ""}})
	uids, ok, err := m.Vanished(ctx, base)
	if len(uids) != 0 || !ok || err != nil {
		t.Errorf("vanished before any expunge: %v, %v, %v", uids, ok, err)
	}
	if err := m.Expunge(ctx, []uint32{1, 3}); err != nil {
		t.Fatal(err)
	}
	uids, ok, err = m.Vanished(ctx, base)
	if d := cmp.Diff([]uint32{1, 3}, uids); d != "" || !ok || err != nil {
		t.Errorf("vanished: %v, %v, %v", uids, ok, err)
	}
	if uids, _, _ := m.Vanished(ctx, m.Snapshot().HighestModSeq()); len(uids) != 0 {
		t.Errorf("vanished after the last change: %v", uids)
	}
}

func TestClaimRecent(t *testing.T) {
	w := newWorld(t)
	m := w.create("A")
	save(t, m, "x\n", SaveOptions{})
	save(t, m, "x\n", SaveOptions{})
	for _, want := range []uint32{1, 3} {
		if first, err := m.ClaimRecent(ctx); first != want || err != nil {
			t.Errorf("first recent %d, %v, want %d", first, err, want)
		}
	}
	if c := m.Snapshot().Counts(); c.Recent != 0 || c.Unseen != 2 {
		t.Errorf("%+v", c)
	}
}

// TestReadersAndWriters has sessions read snapshots while others change the
// mailbox; run it with -race.
func TestReadersAndWriters(t *testing.T) {
	w := newWorld(t)
	w.set.Fsync = "never"
	w.set.RotateMax, w.set.RewriteMax = 16<<10, 4<<10
	m := w.create("A")
	m.Snapshot()
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for g := range 4 {
		writers.Go(func() {
			for n := range 100 {
				r := save(t, m, "x\r\n", SaveOptions{Keywords: []string{fmt.Sprint("k", g)}})
				setFlags(t, m, []uint32{r.UID}, FlagsAdd, Flagged, fmt.Sprint("n", n%20))
				if n%3 == 0 {
					if err := m.Expunge(ctx, []uint32{r.UID}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				s := m.Snapshot()
				for i := range s.Len() {
					if n, ok := s.Find(s.UID(i)); !ok || n != i {
						t.Errorf("message %d is found as %d, %v", i, n, ok)
					}
					s.Keywords(i)
					s.ModSeq(i)
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	want := rows(m.Snapshot())
	m.Close()
	w.restart()
	wantRows(t, w.open("A").Snapshot(), want)
	if n := len(want); n != 4*66 {
		t.Errorf("%d messages", n)
	}
}
