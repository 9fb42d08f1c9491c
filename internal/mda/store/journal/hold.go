package journal

import "sync"

// A Hold is for who records what he has yet to write into the files. The journal keeps what it has until that
// has happened: it would be flushed with the files otherwise, and given up, when it is not in them yet.
type Hold struct {
	j       *Journal
	holds   *sync.WaitGroup
	flushed uint64
}

// Hold begins one. It must be released soon: the journal grows meanwhile.
func (j *Journal) Hold() Hold {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.holds.Add(1)
	return Hold{j, j.holds, j.flushed}
}

// Kept reports whether all that was recorded since is in the journal once it is synced. If not, what was in
// the files is durable nevertheless; what was written later is not.
func (h *Hold) Kept() bool {
	h.j.mu.Lock()
	defer h.j.mu.Unlock()
	return h.j.flushed == h.flushed && !h.j.Broken()
}

// Release ends the hold.
func (h *Hold) Release() { h.holds.Done() }
