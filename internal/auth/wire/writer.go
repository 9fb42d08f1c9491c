package wire

import (
	"io"
	"sync"
)

// A Writer gathers lines of many goroutines. Whoever finds nobody writing
// writes all that has gathered, so lines of busy moments share a system call.
type Writer struct {
	mu      sync.Mutex
	room    sync.Cond
	dst     io.Writer
	pending []byte
	spare   []byte
	busy    bool // somebody is writing
	held    bool
	err     error
}

// NewWriter returns a writer to dst.
func NewWriter(dst io.Writer) *Writer {
	w := &Writer{dst: dst}
	w.room.L = &w.mu
	return w
}

const (
	maxPending = 1 << 20   // what may wait for a slow peer before its callers must
	maxHeld    = 32 << 10  // what is held back at most
	maxSpare   = 128 << 10 // the largest buffer kept for the next lines
)

// Append lets fn append whole lines, and writes them soon. It returns the
// error of an earlier write, after which the connection is of no use.
func (w *Writer) Append(fn func(b []byte) []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.busy && len(w.pending) > maxPending {
		w.room.Wait()
	}
	if w.err != nil {
		return w.err
	}
	w.pending = fn(w.pending)
	if w.busy || (w.held && len(w.pending) < maxHeld) {
		return nil
	}
	return w.flush()
}

// Hold keeps lines back until [Writer.Release], for the reader of a connection
// that has more requests at hand, whose answers can share a write.
func (w *Writer) Hold() {
	w.mu.Lock()
	w.held = true
	w.mu.Unlock()
}

// Release undoes Hold and writes what has gathered.
func (w *Writer) Release() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = false
	if w.busy || w.err != nil {
		return w.err
	}
	return w.flush()
}

// flush writes until nothing is left. It is called with the lock held, and
// lets go of it while it writes.
func (w *Writer) flush() error {
	for len(w.pending) > 0 && w.err == nil {
		out := w.pending
		w.pending = w.spare[:0]
		w.busy = true
		w.mu.Unlock()
		_, err := w.dst.Write(out)
		w.mu.Lock()
		w.busy = false
		if w.spare = out; cap(out) > maxSpare {
			w.spare = nil
		}
		w.err = err
		w.room.Broadcast()
	}
	return w.err
}
