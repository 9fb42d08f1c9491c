package mailbox

import (
	"context"
	"errors"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// What formats have whose messages are in a file that others change too (mbox).

// A Preparer is a Format whose mailboxes are not found by their directory.
type Preparer interface {
	// Prepare makes the directories of a mailbox that exists without them. ErrNotExist.
	Prepare(loc *Location) error
}

// An Adopter is a Scanner that can tell by the index's header that another process has
// scanned already.
type Adopter interface {
	// Adopt is called locked with a state that may lack the messages. It returns false if Scan is needed.
	Adopt(st *index.State) bool
}

// A FileTruth is a Store whose files say all that the log says, so that with
// mail_fsync=optimized the log need not be on disk: what is lost of it, the next Scan
// finds.
type FileTruth interface{ FilesSuffice() }

// A Mover is a Scanner whose messages others may move: one that is not where the index says
// is looked for by a Scan of everything.
type Mover interface {
	Scanner
	MovesMessages()
}

// A LateWriter writes flags into its files when nobody uses the mailbox any more.
type LateWriter interface {
	// WriteBack is called locked. It records in tx what it did.
	WriteBack(st *index.State, tx *index.Tx) error
}

// A filter is a Writer that stores another text than it is given. It has what it stores
// passed to fn, too.
type filter interface{ Tee(fn func([]byte)) }

// A FileWatched has a file that is watched for changes by others.
type FileWatched interface {
	WatchedFile() string
	// Rewatch reports whether, since the last call, another file got that name.
	Rewatch() bool
}

// prepare calls a Preparer.
func (p *Pool) prepare(loc *Location) error {
	format, err := p.format(loc)
	if err != nil {
		return err
	}
	if f, ok := format.(Preparer); ok {
		return f.Prepare(loc)
	}
	return nil
}

func (b *box) filesSuffice() bool {
	_, ok := b.store.(FileTruth)
	return ok
}

// watchAgain reports whether another file has to be watched.
func (b *box) watchAgain() bool {
	f, ok := b.store.(FileWatched)
	return ok && f.Rewatch()
}

// findMoved brings the index up to date after a message was not where it should be.
func (b *box) findMoved(ctx context.Context, uid uint32) error {
	if err := b.sync(ctx); err != nil {
		return err
	}
	b.mu.Lock()
	st := b.ix.State()
	b.mu.Unlock()
	i, ok := st.Find(uid)
	if !ok {
		return nil
	}
	f, err := b.store.Open(ctx, st, i)
	if err == nil {
		return f.Close()
	}
	if !errors.Is(err, ErrMissing) {
		return err
	}
	b.store.(Mover).Distrust()
	return b.lock(ctx, b.ix.Load)
}

// writeBackWait is how long closing a mailbox waits for its lock. What is not written then
// is written when the mailbox is closed the next time.
const writeBackWait = 5 * time.Second

// writeBack has a LateWriter finish. mu is held.
func (b *box) writeBack() {
	w, ok := b.store.(LateWriter)
	if !b.ready || !ok || b.ix.State().Deleted() || !b.ix.State().Dirty() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), writeBackWait)
	defer cancel()
	for try := range 2 {
		err := b.tryLocked(ctx, func() error {
			if err := b.ix.Load(); err != nil {
				return err
			}
			if err := w.WriteBack(b.ix.State(), &b.tx); err != nil {
				return err
			}
			return b.commit()
		})
		if err == nil || errors.Is(err, context.DeadlineExceeded) || isGone(err) {
			return
		}
		if try > 0 || !errors.Is(err, errMoved) {
			b.pool.log.Errorf("Mailbox %s: %v", b.loc.Name, err)
			return
		}
	}
}

// errMoved has an operation done again after a scan of everything. To those who do that it
// looks like a damaged index.
var errMoved = index.ErrDamaged

// KeepsHeaderMD5 reports whether the GUID of the message is a hash of its header.
func (msg *Message) KeepsHeaderMD5() bool { return msg.b.loc.Format == "mbox" }
