package index

import (
	"slices"
	"testing"
)

// Who begins to keep modseqs may have read less of the log than there is before its record in it.
// Messages that changed in between have the modseqs of these changes, all others the one it wrote.
func TestKeepModSeq(t *testing.T) {
	ctx := t.Context()
	dir, err := OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	var first Tx
	first.UIDValidity(1)
	x, err := Create(dir, Options{}, &first)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	follower, err := Open(dir, Options{}) // who only reads
	if err == nil {
		err = follower.Load()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer follower.Close()
	commit := func(do func(tx *Tx)) {
		t.Helper()
		var tx Tx
		do(&tx)
		if _, err := x.Lock(ctx); err != nil {
			t.Fatal(err)
		}
		defer x.Unlock()
		if err := x.Commit(&tx); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want ...uint64) {
		t.Helper()
		fresh, err := Open(dir, Options{})
		if err == nil {
			err = fresh.Load()
		}
		if err != nil {
			t.Fatal(err)
		}
		defer fresh.Close()
		if _, err := follower.Refresh(); err != nil {
			t.Fatal(err)
		}
		for name, s := range map[string]*State{"writer": x.State(), "follower": follower.State(), "fresh reader": fresh.State()} {
			var got []uint64
			for i := range s.Len() {
				got = append(got, s.ModSeq(i))
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s sees modseqs %d, want %d", name, got, want)
			}
		}
	}
	commit(func(tx *Tx) { tx.Append(New{UID: 1}, New{UID: 2}) })    // modseq 2
	commit(func(tx *Tx) { tx.Append(New{UID: 3}) })                 // 3
	commit(func(tx *Tx) { tx.Flags([]Range{{1, 1}}, flagSeen, 0) }) // 4
	commit(func(tx *Tx) { tx.Append(New{UID: 4}) })                 // 5
	commit(func(tx *Tx) { tx.KeepModSeq(3) })                       // by one who has seen 3
	check(4, 3, 3, 5)
	commit(func(tx *Tx) { tx.Flags([]Range{{2, 2}}, flagSeen, 0) })
	check(4, 6, 3, 5)
}
