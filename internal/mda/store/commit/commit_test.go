package commit

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

// TestGroup checks that everybody gets a flush that began after his call, and
// that flushes are shared.
func TestGroup(t *testing.T) {
	var g Group
	var written, flushed, flushes atomic.Int64
	var busy atomic.Bool
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 1000 {
				mine := written.Add(1)
				err := g.Do(func() error {
					if busy.Swap(true) {
						t.Error("two flushes at once")
					}
					flushes.Add(1)
					flushed.Store(written.Load())
					busy.Store(false)
					return nil
				})
				if err != nil || flushed.Load() < mine {
					t.Errorf("write %d, flushed %d, %v", mine, flushed.Load(), err)
				}
			}
		})
	}
	wg.Wait()
	if flushes.Load() > 16000 {
		t.Errorf("%d flushes for 16000 writes", flushes.Load())
	}
}

func TestGroupError(t *testing.T) {
	var g Group
	want := errors.New("disk failed")
	if err := g.Do(func() error { return want }); err != want {
		t.Error(err)
	}
	if err := g.Do(func() error { return nil }); err != nil {
		t.Error(err)
	}
}
