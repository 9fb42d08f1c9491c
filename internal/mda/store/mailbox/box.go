package mailbox

import (
	"container/list"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/commit"
	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
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
	alt      *index.Dir     // nil for none
	volume   *commit.Volume // nil unless all but alt is on one
	ix       *index.Index
	tx       index.Tx
	distrust bool // a flush failed: what it covered may be lost from the log

	snap atomic.Pointer[Snapshot]

	logMu sync.Mutex
	log   index.Log // what flush flushes
	flush commit.Group

	queueMu sync.Mutex
	queue   []*batch
	leading bool

	subMu  sync.Mutex
	subs   map[*func()]struct{}
	waking atomic.Bool // a goroutine looks at a foreign change
}

func newBox(p *Pool, loc Location, set *Settings) *box {
	return &box{pool: p, loc: loc, set: set, mode: fsyncMode(set)}
}

// open opens the files, or looks whether they are still those of this path.
func (b *box) open(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ready {
		return b.check()
	}
	if err := b.openDirs(); err != nil {
		b.closeFiles()
		return err
	}
	x, err := index.Open(b.indexDir, indexOptions(b.pool.log, &b.loc, b.set))
	b.ix = x
	if err == nil && !sound(x.State()) {
		err = index.ErrDamaged
	}
	if errors.Is(err, index.ErrDamaged) || errors.Is(err, index.ErrNotExist) {
		err = b.repair(ctx, err)
	}
	if err != nil {
		b.closeFiles()
		return err
	}
	b.ready = true
	b.publish()
	b.scanTemps()
	return nil
}

// sound tells whether the index is one of a finished mailbox that Dovecot did
// not mark for a rebuild.
func sound(st *index.State) bool {
	_, _, _, ok := decodeDboxHdr(st.ExtHeader(extDboxHdr.Name))
	return ok && !st.Hdr.Fsckd() && st.Hdr.UIDValidity() != 0
}

func (b *box) openDirs() (err error) {
	if b.dir, err = index.OpenDir(b.loc.Dir); err != nil {
		return err
	}
	b.indexDir = b.dir
	if b.loc.indexDir() != b.loc.Dir {
		if b.indexDir, err = index.OpenDir(b.loc.indexDir()); err != nil {
			return err
		}
	}
	if b.mode == commit.Optimized {
		b.volume = commit.VolumeOf(b.dir.FD, b.indexDir.FD)
	}
	if b.loc.AltDir == "" {
		return nil
	}
	b.alt, err = index.OpenDir(b.loc.AltDir)
	if errors.Is(err, index.ErrNotExist) {
		return nil // nothing was ever moved there
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
	return nil
}

// close closes the files. It leaves dovecot.index new if the next to open the
// mailbox would have to read much log.
func (b *box) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
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
	if b.ix != nil {
		b.ix.Close()
		b.ix = nil
	}
	b.logMu.Lock()
	b.log.Close()
	b.log = index.Log{}
	b.logMu.Unlock()
	if b.alt != nil {
		b.alt.Close()
	}
	if b.indexDir != nil && b.indexDir != b.dir {
		b.indexDir.Close()
	}
	if b.dir != nil {
		b.dir.Close()
	}
	b.dir, b.indexDir, b.alt, b.ready = nil, nil, nil, false
}

// publish makes the index's state the one that readers get. mu is held.
func (b *box) publish() {
	b.logMu.Lock()
	replaced := !b.log.Same(b.ix)
	if replaced {
		b.log.Close()
		b.log = b.ix.Log()
	}
	b.logMu.Unlock()
	if replaced {
		b.rewatch()
	}
	st := b.ix.State()
	if old := b.snap.Load(); !st.Light() && (old == nil || old.st != st) {
		b.snap.Store(newSnapshot(st))
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
	b.mu.Lock()
	defer b.mu.Unlock()
	for try := 0; ; try++ {
		err := b.tryLocked(ctx, fn)
		if !errors.Is(err, index.ErrDamaged) || try > 0 {
			b.publish()
			return err
		}
		if err := b.repair(ctx, err); err != nil {
			return err
		}
	}
}

func (b *box) tryLocked(ctx context.Context, fn func() error) error {
	if _, err := b.ix.Lock(ctx); err != nil {
		return err
	}
	defer b.ix.Unlock()
	if b.ix.State().Deleted() {
		return ErrDeleted
	}
	if b.distrust {
		if err := b.ix.Rotate(); err != nil {
			return err
		}
		b.distrust = false
	}
	if err := fn(); err != nil {
		b.tx.Reset()
		return err
	}
	return b.expungeRequested()
}

// commit appends what was put into tx. The log's lock is held.
func (b *box) commit() error {
	defer b.tx.Reset()
	return b.ix.Commit(&b.tx)
}

// durable returns when everything appended to the log before the call is on
// disk, with the entries of the directories.
func (b *box) durable() error {
	return b.flush.Do(func() error {
		b.logMu.Lock()
		log := b.log.Clone()
		b.logMu.Unlock()
		defer log.Close()
		err := log.Flush()
		if err == nil && !b.volume.Ordered() {
			err = b.flushDirs()
		}
		if err != nil {
			// Flushing again would report success for what was lost.
			b.mu.Lock()
			b.distrust = true
			b.mu.Unlock()
		}
		return err
	})
}

// flushContent has the content of a new mail file on disk before the log knows of
// it.
func (b *box) flushContent(fd int) error {
	switch {
	case !b.mode.Saves():
		return nil
	case b.volume.Ordered():
		return commit.Content(fd)
	}
	return commit.Data(fd)
}

func (b *box) flushDirs() error {
	err := commit.Data(b.dir.FD)
	if err == nil && b.indexDir != b.dir {
		err = commit.Data(b.indexDir.FD)
	}
	if err == nil {
		b.volume.Flushed()
	}
	return err
}

// load makes sure that the state has the messages.
func (b *box) load(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.ix.Load()
	if errors.Is(err, index.ErrDamaged) {
		err = b.repair(ctx, err)
	}
	if err == nil {
		b.publish()
	}
	return err
}

// sync reads what other processes did.
func (b *box) sync(ctx context.Context) error {
	b.mu.Lock()
	changed, err := b.ix.Refresh()
	if err == nil {
		err = b.ix.Load()
	}
	if errors.Is(err, index.ErrDamaged) {
		err, changed = b.repair(ctx, err), true
	}
	if err == nil && (changed || b.snap.Load() == nil) {
		b.publish()
	}
	st := b.ix.State()
	b.mu.Unlock()
	if err != nil {
		return err
	}
	if !sound(st) && !st.Deleted() {
		return b.forceRepair(ctx)
	}
	if len(st.ExpungeRequests()) > 0 {
		return b.lock(ctx, func() error { return nil })
	}
	return nil
}

// repair makes a new index from what is left of the old one and the mail files.
// mu is held.
func (b *box) repair(ctx context.Context, why error) error {
	reason, err := b.ix.Repair(ctx, b.rebuilding())
	if err != nil {
		return err
	}
	if reason != nil {
		b.pool.log.Errorf("Mailbox %s: %v; rebuilt from %d mail files", b.loc.Name, why, b.ix.State().Len())
	}
	return nil
}

// forceRepair rebuilds the index of a mailbox that is marked for it.
func (b *box) forceRepair(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if sound(b.ix.State()) {
		return nil
	}
	err := b.ix.Force(ctx, b.rebuilding())
	if err == nil {
		b.pool.log.Warningf("Mailbox %s: index was marked for a rebuild; rebuilt from %d mail files", b.loc.Name, b.ix.State().Len())
		b.publish()
	}
	return err
}

func (b *box) rebuilding() index.Rebuild {
	return index.Rebuild{
		Files:       b.listFiles,
		UIDValidity: func() uint32 { return uint32(time.Now().Unix()) },
		Finish: func(old *index.State, tx *index.Tx) {
			rebuilds, guid, flags, ok := decodeDboxHdr(old.ExtHeader(extDboxHdr.Name))
			if !ok {
				guid = dbox.NewGUID()
			}
			tx.Intro(&extDboxHdr)
			tx.ExtHeader(0, encodeDboxHdr(rebuilds+1, guid, flags))
			tx.Intro(&extHdrVsize)
			tx.Intro(&extVsize)
		},
	}
}

// listFiles returns the uids of all mail files.
func (b *box) listFiles() ([]uint32, error) {
	l, err := dbox.List(b.dir)
	if err != nil {
		return nil, err
	}
	if b.alt == nil {
		return l.UIDs, nil
	}
	more, err := dbox.List(b.alt)
	if err != nil {
		return nil, err
	}
	uids := append(l.UIDs, more.UIDs...)
	slices.Sort(uids)
	return slices.Compact(uids), nil
}

// scanTemps removes what killed saves left, now and then. mu is held.
func (b *box) scanTemps() {
	interval := b.set.TempScanInterval
	now := b.pool.now()
	if interval <= 0 || now.Unix()-int64(b.ix.State().Hdr.TempScan()) < int64(interval/time.Second) {
		return
	}
	// One list of the directory; whatever fails will be tried next time.
	if l, err := dbox.List(b.dir); err != nil || l.RemoveStale(b.dir, now) != nil {
		return
	}
	if _, err := b.ix.Lock(context.Background()); err != nil {
		return
	}
	b.tx.TempScan(uint32(now.Unix()))
	if err := b.commit(); err != nil {
		b.pool.log.Warningf("Mailbox %s: %v", b.loc.Name, err)
	}
	b.ix.Unlock()
	b.publish()
}
