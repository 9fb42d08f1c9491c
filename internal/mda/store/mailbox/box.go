package mailbox

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/commit"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// A box is the state of a mailbox that all its handles share.
type box struct {
	pool *Pool
	loc  Location
	set  *Settings
	mode commit.Mode

	// Guarded by the pool's lock.
	users     int
	idle      *list.Element
	idleSince time.Time

	// mu guards the index: one writer at a time. It is not held while files are
	// flushed.
	mu       sync.Mutex
	ready    bool
	dir      *index.Dir     // of the mail files
	indexDir *index.Dir     // may be the same
	volume   *commit.Volume // nil unless all is on one
	files    Files
	store    Store
	ix       *index.Index
	tx       index.Tx
	distrust bool // a flush failed: what it covered may be lost from the log
	values   boxCache
	private  *private // nil without private flags

	moved  atomic.Bool // the directories have another name now
	full   atomic.Bool // changes by others could not be taken over, since the disk is full
	todo   atomic.Bool // something is to be done when nothing is locked:
	resync error       // have a Resyncer mend the mailbox; carry out requests in the log

	snap atomic.Pointer[Snapshot]

	logMu  sync.Mutex
	log    index.Log // what flush flushes
	logEnd int64     // of what is in it
	flush  commit.Group

	journaled journaled

	queueMu sync.Mutex
	queue   []*batch
	leading bool

	totalMu sync.Mutex
	total   totals

	subMu  sync.Mutex
	subs   map[*func()]struct{}
	waking atomic.Bool // a goroutine looks at a foreign change
	again  atomic.Bool // it will be looked at once more
}

func newBox(p *Pool, loc Location, set *Settings) *box {
	return &box{pool: p, loc: loc, set: set, mode: fsyncMode(set)}
}

// open opens the files, or looks whether they are still those of this path.
func (b *box) open(ctx context.Context) error {
	if err := b.openLocked(ctx); err != nil {
		return err
	}
	return b.afterwards(ctx)
}

func (b *box) openLocked(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.pool.prepare(&b.loc); err != nil {
		return err
	}
	if b.ready {
		return b.check()
	}
	defer b.pool.Alone(creating(&b.loc))()
	if err := b.openDirs(ctx); err != nil {
		b.closeFiles()
		return err
	}
	if err := b.openPrivate(); err != nil {
		b.closeFiles()
		return err
	}
	x, err := index.Open(b.indexDir, indexOptions(b.pool.log, &b.loc, b.set))
	b.ix = x
	if err == nil && !b.sound(x.State()) {
		err = index.ErrDamaged
	}
	if errors.Is(err, index.ErrDamaged) || errors.Is(err, index.ErrNotExist) {
		err = b.repair(ctx, err)
	}
	if err != nil {
		b.closeFiles()
		return err
	}
	b.openCache()
	b.ready = true
	b.publish()
	b.scanTemps()
	return nil
}

// sound tells whether the index is one of a finished mailbox that Dovecot did
// not mark for a rebuild. One without uid validity may be being made by a Dovecot right now; a
// Scanner gives it one under the lock that both respect.
func (b *box) sound(st *index.State) bool {
	_, ok := b.store.Identity(st)
	_, scans := b.store.(Scanner)
	return ok && !st.Hdr.Fsckd() && (st.Hdr.UIDValidity() != 0 || scans && st.Hdr.NextUID() <= 1)
}

func (b *box) openDirs(ctx context.Context) (err error) {
	if b.dir, err = index.OpenDir(b.loc.Dir); err != nil {
		return err
	}
	b.indexDir = b.dir
	if b.loc.indexDir() != b.loc.Dir {
		if b.indexDir, err = index.OpenDir(b.loc.indexDir()); err != nil {
			return err
		}
	}
	// Maildir takes the longer way of flushing: see package commit.
	if b.mode == commit.Optimized && b.loc.Format != "maildir" && b.loc.Format != "mbox" {
		b.volume = commit.VolumeOf(b.dir.FD, b.indexDir.FD)
	}
	b.files = Files{
		Location: &b.loc, Settings: b.set, Fsync: b.mode,
		Dir: b.dir, IndexDir: b.indexDir, Volume: b.volume, Log: b.pool.log,
	}
	if b.files.Journal, err = b.pool.journal(b.loc.journalRoot(), b.mode); err != nil {
		return err
	}
	if j := b.files.Journal; j != nil && (b.volume == nil || !j.Covers(b.dir.Path) || !j.Covers(b.indexDir.Path)) {
		b.files.Journal = nil
	}
	format, err := b.pool.format(&b.loc)
	if err == nil {
		b.store, err = format.Open(ctx, &b.files)
	}
	return err
}

// check finds out whether the path still leads to the open directory.
func (b *box) check() error {
	var st unix.Stat_t
	if err := unix.Stat(b.loc.Dir, &st); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return ErrNotExist
		}
		return err
	}
	if !b.dir.Is(&st) || b.ix.State().Deleted() {
		return errReplaced
	}
	// Nobody has seen yet that the Maildir is shared now, or no longer.
	if s, ok := b.store.(*maildirStore); ok && s.private != maildirPrivate(s.Files) && b.pool.soleUser(b) {
		return errReplaced
	}
	return nil
}

// close closes the files. It leaves dovecot.index new if the next to open the
// mailbox would have to read much log.
func (b *box) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writeBack()
	if b.ready && !b.ix.State().Light() && b.ix.WorthRewriting() && !b.ix.State().Deleted() {
		if _, err := b.ix.Lock(context.Background()); err == nil {
			if err := b.ix.Rewrite(); err != nil {
				b.pool.log.Errorf("Mailbox %s: %v", b.loc.Name, err)
			}
			b.ix.Unlock()
		}
	}
	b.closeFiles()
}

func (b *box) closeFiles() {
	b.pool.cache.dropBox(b)
	b.closeCache()
	b.closePrivate()
	if b.ix != nil {
		b.ix.Close()
		b.ix = nil
	}
	b.logMu.Lock()
	b.log.Close()
	b.log = index.Log{}
	b.journaled.forget()
	b.logMu.Unlock()
	if b.store != nil {
		b.store.Close()
	}
	if b.indexDir != nil && b.indexDir != b.dir {
		b.indexDir.Close()
	}
	if b.dir != nil {
		b.dir.Close()
	}
	b.dir, b.indexDir, b.store, b.ready = nil, nil, nil, false
}

// publish makes the index's state the one that readers get. mu is held.
func (b *box) publish() {
	b.syncPrivate()
	b.logMu.Lock()
	replaced := !b.log.Same(b.ix) || b.watchAgain()
	if replaced {
		b.log.Close()
		b.log = b.ix.Log()
	}
	b.logEnd = b.ix.State().LogEnd()
	b.logMu.Unlock()
	if replaced {
		b.rewatch()
	}
	st := b.ix.State()
	if old := b.snap.Load(); replaced || old != nil && !continues(old.st, st) {
		b.pool.cache.dropBox(b) // from a backup, perhaps
	}
	b.values.follow(st)
	if old := b.snap.Load(); !st.Light() && (old == nil || old.st != st || !old.private.same(b.privateView())) {
		b.snap.Store(b.newSnapshot(st))
		b.wake()
		return
	}
	if st.Light() {
		b.wake()
	}
}

// wake calls those who want to hear of changes.
func (b *box) wake() {
	b.subMu.Lock()
	defer b.subMu.Unlock()
	for fn := range b.subs {
		(*fn)()
	}
	b.pool.files.touched(&b.loc)
}

// locked runs fn under the log's lock and with the newest state, of which it may
// read the messages. A damaged index is repaired first.
func (b *box) locked(ctx context.Context, fn func() error) error {
	return b.lock(ctx, func() error {
		if err := b.ix.Load(); err != nil {
			return err
		}
		return fn()
	})
}

// lock is like locked for an fn that does not look at messages.
func (b *box) lock(ctx context.Context, fn func() error) error {
	err := b.lockOnly(ctx, fn)
	if err2 := b.afterwards(ctx); err == nil {
		err = err2
	}
	return err
}

// lockOnly is lock for callers who hold other locks; they see to afterwards.
func (b *box) lockOnly(ctx context.Context, fn func() error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for try := 0; ; try++ {
		err := b.tryLocked(ctx, fn)
		unknown := errors.Is(err, errUnknownFile)
		switch {
		case try > 0 || !unknown && !errors.Is(err, index.ErrDamaged):
			b.publish()
			return err
		case unknown:
			err = b.rebuild(ctx, err)
		default:
			err = b.repair(ctx, err)
		}
		if err != nil {
			return err
		}
	}
}

func (b *box) tryLocked(ctx context.Context, fn func() error) error {
	if l, ok := b.store.(Locker); ok {
		unlock, err := l.Lock(ctx)
		if err != nil {
			return err
		}
		defer unlock()
	}
	if _, err := b.ix.Lock(ctx); err != nil {
		return err
	}
	defer b.ix.Unlock()
	if b.ix.State().Deleted() {
		return ErrDeleted
	}
	if b.ix.WasCut() {
		b.resyncLater(errCut) // what it was about may be in the storage
	}
	if b.distrust {
		if err := b.ix.Rotate(); err != nil {
			return err
		}
		b.distrust = false
	}
	if err := b.scan(ctx); err != nil {
		return err
	}
	if err := fn(); err != nil {
		b.tx.Reset()
		return err
	}
	b.expungeRequested()
	return nil
}

// scan brings the index up to date with files that others changed. The log's lock
// is held.
func (b *box) scan(ctx context.Context) error {
	s, ok := b.store.(Scanner)
	unsynced := len(b.ix.State().Unsynced()) > 0
	if !ok || !s.Stale() && !unsynced {
		return nil
	}
	if a, ok := s.(Adopter); ok && !unsynced && a.Adopt(b.ix.State()) {
		return nil
	}
	err := b.ix.Load()
	if err == nil {
		err = s.Scan(ctx, b.ix.State(), &b.tx)
	}
	if err == nil {
		err = b.commit()
	}
	b.tx.Reset()
	if err == nil && unsynced && len(b.ix.State().ExpungeRequests()) == 0 {
		err = b.ix.AdvanceTail()
	}
	return err
}

// afterwards does what has to wait until nothing is locked.
func (b *box) afterwards(ctx context.Context) error {
	if !b.todo.Swap(false) {
		return nil
	}
	b.mu.Lock()
	why, ready := b.resync, b.ready
	b.resync = nil
	b.mu.Unlock()
	if !ready {
		return nil // closed meanwhile; the next to open it sees the same
	}
	err := b.removeRequested(ctx)
	if why != nil {
		err = errors.Join(err, b.resyncFor(ctx, why))
	}
	return err
}

// resyncLater has a Resyncer called when nothing is locked. mu is held.
func (b *box) resyncLater(why error) {
	b.resync = why
	b.todo.Store(true)
}

// resyncFor has a Resyncer mend the mailbox, and reads what it did.
func (b *box) resyncFor(ctx context.Context, why error) error {
	r, ok := b.store.(Resyncer)
	if !ok {
		return nil
	}
	if err := r.Resync(ctx, why); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ready {
		return nil
	}
	_, err := b.ix.Refresh()
	if err == nil {
		b.publish()
	}
	return err
}
