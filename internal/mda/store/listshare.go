package store

import (
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/listindex"
)

// The list indexes in use, by path: sessions and deliveries of one user share one, so that
// its names are read once.
var sharedLists = listRegistry{lists: map[string]*sharedList{}}

// listIdle is how long a list index stays open that nobody uses.
const listIdle = 10 * time.Second

type listRegistry struct {
	mu    sync.Mutex
	lists map[string]*sharedList
}

type sharedList struct {
	*listindex.List
	path  string
	users int
	idle  *time.Timer
}

// take returns the list index of a path.
func (r *listRegistry) take(path string, opt listindex.Options) *sharedList {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lists[path]
	if l == nil {
		l = &sharedList{List: listindex.New(path, opt), path: path}
		r.lists[path] = l
	}
	l.users++
	if l.idle != nil {
		l.idle.Stop()
		l.idle = nil
	}
	return l
}

// release gives it back.
func (r *listRegistry) release(l *sharedList) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.users--; l.users == 0 {
		l.idle = time.AfterFunc(listIdle, func() { r.expire(l) })
	}
}

func (r *listRegistry) expire(l *sharedList) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.users == 0 && r.lists[l.path] == l {
		delete(r.lists, l.path)
		l.Close()
	}
}
