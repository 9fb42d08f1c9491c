package store

import (
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

const (
	// watchDelay is how long a [Watch] waits for more changes, as Dovecot's NOTIFY_DELAY_MSECS.
	watchDelay = 500 * time.Millisecond
	// watchPoll is how often a Watch has everything looked at when it cannot see changes, as
	// Dovecot's default of mailbox_idle_check_interval.
	watchPoll = 30 * time.Second
)

// A Watch notices which mailboxes of a user have changed, and whether mailboxes or subscriptions came
// or went, whoever did it and without having the mailboxes open.
type Watch struct {
	u       *User
	changed func()
	lists   []*mailbox.FileWatch // of directories

	mu      sync.Mutex
	boxes   map[string][]*mailbox.FileWatch
	dirty   map[string]struct{}
	names   bool        // mailboxes or subscriptions came or went
	pending *time.Timer // changed will be called
	poll    *time.Timer // nil while all changes are seen
	closed  bool
}

// Watch begins watching. changed is called by another goroutine after changes; [Watch.Take] then tells
// what to look at. It must not block.
func (u *User) Watch(changed func()) *Watch {
	w := &Watch{u: u, changed: changed, boxes: make(map[string][]*mailbox.FileWatch), dirty: make(map[string]struct{})}
	for _, ns := range u.allNamespaces() {
		if ns.shared != nil || ns.unusable || ns.aliasFor != nil {
			continue // it has no mailboxes of its own
		}
		subscriptions := ns.subscriptionPath()
		w.directory(ns.st.listRoot(), "mailboxes.lock", "dovecot.mailbox.log", filepath.Base(subscriptions))
		if dir := filepath.Dir(subscriptions); dir != ns.st.listRoot() {
			w.directory(dir, filepath.Base(subscriptions))
		}
	}
	return w
}

// directory watches some files of a directory, with which names come and go: mailboxes.lock does
// whenever somebody makes, renames or deletes a mailbox.
func (w *Watch) directory(path string, names ...string) {
	fw := w.u.pool.WatchFile(path, func(name string) {
		if name == "" || slices.Contains(names, name) {
			w.mark(func() { w.names = true })
		}
	})
	w.lists = append(w.lists, fw)
	w.renew(fw)
}

// Add watches a mailbox, too.
func (w *Watch) Add(name string) error {
	p, err := w.u.resolve(name)
	if err != nil {
		return err
	}
	loc := p.location()
	watches := w.u.pool.WatchMailbox(&loc, func(string) {
		w.mark(func() { w.dirty[name] = struct{}{} })
	})
	w.mu.Lock()
	old := w.boxes[name]
	w.boxes[name] = watches
	w.mu.Unlock()
	closeWatches(old)
	for _, fw := range watches {
		w.renew(fw)
	}
	return nil
}

// Remove watches a mailbox no more.
func (w *Watch) Remove(name string) {
	w.mu.Lock()
	old := w.boxes[name]
	delete(w.boxes, name)
	delete(w.dirty, name)
	w.mu.Unlock()
	closeWatches(old)
}

func closeWatches(list []*mailbox.FileWatch) {
	for _, fw := range list {
		fw.Close()
	}
}

// mark notes a change and has it told soon.
func (w *Watch) mark(note func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	note()
	if w.pending == nil {
		w.pending = time.AfterFunc(watchDelay, w.changed)
	}
}

// renew watches what has the name now. Where it cannot, everything will be looked at from time to time.
func (w *Watch) renew(fw *mailbox.FileWatch) {
	if fw.Renew() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.poll == nil && !w.closed {
		w.poll = time.AfterFunc(watchPoll, w.lookAtAll)
	}
}

func (w *Watch) lookAtAll() {
	w.mark(func() {
		w.poll = nil
		w.names = true
		for name := range w.boxes {
			w.dirty[name] = struct{}{}
		}
	})
}

// CatchUp has the changes seen that were made before.
func (w *Watch) CatchUp() { w.u.pool.CatchUp() }

// Take returns the mailboxes that have changed since it was last called, sorted, and whether mailboxes
// or subscriptions may have come or gone.
func (w *Watch) Take() (boxes []string, names bool) {
	w.mu.Lock()
	if w.pending != nil {
		w.pending.Stop()
		w.pending = nil
	}
	var renew []*mailbox.FileWatch
	for name := range w.dirty {
		boxes = append(boxes, name)
		renew = append(renew, w.boxes[name]...)
	}
	clear(w.dirty)
	names, w.names = w.names, false
	w.mu.Unlock()
	if names {
		renew = append(renew, w.lists...)
	}
	for _, fw := range renew {
		w.renew(fw)
	}
	slices.Sort(boxes)
	return boxes, names
}

// Close ends the watch. changed may be called once more.
func (w *Watch) Close() {
	w.mu.Lock()
	w.closed = true
	for _, t := range []*time.Timer{w.pending, w.poll} {
		if t != nil {
			t.Stop()
		}
	}
	boxes := w.boxes
	w.boxes = nil
	w.mu.Unlock()
	closeWatches(w.lists)
	for _, list := range boxes {
		closeWatches(list)
	}
}
