package mdbox

import "sync"

// maxEnds bounds the storages whose Ends are remembered.
const maxEnds = 8192

// Ends remembers of storages that were closed where the last message appended to the newest file
// ends, so that the next to append need not walk through the file. Files only grow, and
// their numbers are not used again: what was the end of a message stays that. The zero value is
// ready; several goroutines may use it.
type Ends struct {
	mu   sync.Mutex
	last map[string]fileEnd // by directory
}

type fileEnd struct {
	id  uint32
	ino uint64
	end int64
}

func (e *Ends) put(dir string, f *appendFile) {
	if e == nil || f.fd < 0 || f.id == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.last == nil || len(e.last) >= maxEnds {
		e.last = make(map[string]fileEnd)
	}
	e.last[dir] = fileEnd{f.id, f.ino, f.end}
}

// get returns the end known of a file, 0 for none.
func (e *Ends) get(dir string, id uint32, ino uint64) int64 {
	if e == nil {
		return 0
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if l := e.last[dir]; l.id == id && l.ino == ino {
		return l.end
	}
	return 0
}
