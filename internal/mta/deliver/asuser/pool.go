package asuser

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/master"
)

// linger is how long a helper without work is kept.
const linger = 5 * time.Second

// maxIdle bounds the helpers that are kept without work.
const maxIdle = 50

// rights are those of a helper.
type rights struct{ uid, gid uint32 }

// A pool has the helpers of a server.
type pool struct {
	spec   func(rights) master.Spec
	log    *maillog.Logger
	single bool // without root there is one user

	mu     sync.Mutex
	idle   map[rights][]*helper
	count  int // of idle
	closed bool
}

// A helper is a process that works as one user, on one job at a time.
type helper struct {
	rights
	child *master.Child
	done  chan finished
	timer *time.Timer
}

type finished struct {
	result
	file *os.File
}

// errHelperDied is for a job whose helper ended while it worked.
var errHelperDied = errors.New("the process that worked as the user ended")

// do has a job done with somebody's rights. The file that it opens, if it does,
// is the caller's.
func (p *pool) do(r rights, j *job, content *os.File) (*finished, error) {
	if p.single {
		r = rights{}
	}
	h, err := p.take(r)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	if content != nil {
		files = append(files, content)
	}
	if err := h.child.Send(kindJob, j, files...); err != nil {
		h.child.Stop()
		return nil, errHelperDied
	}
	select {
	case f := <-h.done:
		p.put(h)
		return &f, nil
	case <-h.child.Done():
	}
	select {
	case f := <-h.done: // its last words
		return &f, nil
	default:
		return nil, errHelperDied
	}
}

func (p *pool) take(r rights) (*helper, error) {
	p.mu.Lock()
	for list := p.idle[r]; len(list) > 0; list = p.idle[r] {
		h := list[len(list)-1]
		p.remove(h)
		h.timer.Stop()
		select {
		case <-h.child.Done():
			continue
		default:
		}
		p.mu.Unlock()
		return h, nil
	}
	p.mu.Unlock()
	return p.start(r)
}

// remove takes a helper out of the idle ones, if it is there. The caller holds the lock.
func (p *pool) remove(h *helper) bool {
	list := p.idle[h.rights]
	for i := range list {
		if list[i] == h {
			list = append(list[:i], list[i+1:]...)
			if p.idle[h.rights] = list; len(list) == 0 {
				delete(p.idle, h.rights)
			}
			p.count--
			return true
		}
	}
	return false
}

func (p *pool) start(r rights) (*helper, error) {
	h := &helper{rights: r, done: make(chan finished, 1)}
	handle := func(_ *master.Child, msg *master.Message) {
		var f finished
		if msg.Kind != kindDone || msg.Decode(&f.result) != nil {
			msg.CloseFiles()
			return
		}
		if len(msg.Files) > 0 {
			f.file = msg.Files[0]
		}
		h.done <- f
	}
	var err error
	h.child, err = master.Start(p.spec(r), p.log, handle, nil, master.OnDemand)
	return h, err
}

// put keeps a helper for the next job.
func (p *pool) put(h *helper) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.count >= maxIdle {
		h.child.Stop()
		return
	}
	p.idle[h.rights] = append(p.idle[h.rights], h)
	p.count++
	h.timer = time.AfterFunc(linger, func() {
		p.mu.Lock()
		was := p.remove(h)
		p.mu.Unlock()
		if was {
			h.child.Stop()
		}
	})
}

// close ends the helpers without work; the others end with their jobs.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, list := range p.idle {
		for _, h := range list {
			h.timer.Stop()
			h.child.Stop()
		}
	}
	clear(p.idle)
}
