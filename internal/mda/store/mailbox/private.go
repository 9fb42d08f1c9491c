package mailbox

import (
	"context"
	"errors"
	"os"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// Flags that each user has for himself in a mailbox that several share. They are in an index
// of its own, dovecot.index.pvt below INDEXPVT of the location, with a message for each of
// the shared index and nothing but these flags. What the shared index has of them
// is not looked at. A change of them raises the modseq of the message in the shared index.

// privateBase is what names of files of a private index begin with.
const privateBase = "dovecot.index.pvt"

// privateMask are the flags that are private where any are.
const privateMask = Seen

// A private is the private index of an open mailbox. It is guarded by the box's mu.
type private struct {
	b      *box
	dir    *index.Dir
	ix     *index.Index // nil until the mailbox is read
	tx     index.Tx
	failed bool // an error was logged
}

// openPrivate prepares the private index, if the mailbox has one.
func (b *box) openPrivate() error {
	if b.loc.PrivateDir == "" {
		return nil
	}
	if err := os.MkdirAll(b.loc.PrivateDir, 0o700); err != nil {
		return err
	}
	dir, err := index.OpenDir(b.loc.PrivateDir)
	if err != nil {
		return err
	}
	b.private = &private{b: b, dir: dir}
	return nil
}

func (b *box) closePrivate() {
	if p := b.private; p != nil {
		p.close()
		p.dir.Close()
		b.private = nil
	}
}

func (p *private) close() {
	if p.ix != nil {
		p.ix.Close()
		p.ix = nil
	}
}

// hidden returns the flags that are not kept where the others are: those of the private index,
// or those that a shared Maildir has in the users' own indexes and not in file names.
func (b *box) hidden() Flags {
	if b.loc.PrivateDir != "" {
		return privateMask
	}
	if s, ok := b.store.(*maildirStore); ok {
		return Flags(s.private)
	}
	return 0
}

// syncPrivate brings the private index up to date with the shared one. Reading goes on
// without it if that fails; then no message has a private flag. mu is held.
func (b *box) syncPrivate() {
	p := b.private
	if p == nil || b.ix.State().Light() {
		return
	}
	err := p.sync(context.Background(), nil)
	if err != nil && !p.failed {
		b.pool.log.Errorf("Mailbox %s: %v", b.loc.Name, err)
	}
	p.failed = err != nil
}

// privateChanged reads what others wrote into the private index. mu is held.
func (b *box) privateChanged() bool {
	if b.private == nil || b.private.ix == nil {
		return false
	}
	changed, err := b.private.ix.Refresh()
	return changed || err != nil
}

// A privateSave is a new message with private flags.
type privateSave struct {
	uid   uint32
	flags byte
}

// sync brings the private index up to date, and gives new messages their flags.
func (p *private) sync(ctx context.Context, saved []privateSave) error {
	err := p.open(ctx)
	if err == nil {
		_, err = p.ix.Refresh()
	}
	if err == nil {
		err = p.ix.Load()
	}
	if errors.Is(err, index.ErrDamaged) {
		err = p.repair(ctx, err)
	}
	if err != nil {
		return err
	}
	if len(saved) == 0 && p.current(p.b.ix.State()) {
		return nil
	}
	return p.locked(ctx, func() error { return p.commit(p.b.ix.State(), saved) })
}

// current reports whether no message has come or gone since the last sync.
func (p *private) current(shared *index.State) bool {
	st := p.ix.State()
	return shared.Hdr.UIDValidity() == 0 || st.Hdr.UIDValidity() == shared.Hdr.UIDValidity() &&
		st.Hdr.NextUID() == shared.Hdr.NextUID() && st.Len() == shared.Len()
}

// locked runs fn under the lock of the private index, which comes after that of the shared
// one, with the newest state of both.
func (p *private) locked(ctx context.Context, fn func() error) error {
	for try := 0; ; try++ {
		_, err := p.ix.Lock(ctx)
		if err == nil {
			err = p.lockedSync(fn)
			p.ix.Unlock()
		}
		p.tx.Reset()
		if try > 0 || !errors.Is(err, index.ErrDamaged) {
			return err
		}
		if err := p.repair(ctx, err); err != nil {
			return err
		}
	}
}

func (p *private) lockedSync(fn func() error) error {
	// Another process may have synced with a newer shared index than ours.
	_, err := p.b.ix.Refresh()
	if err == nil {
		err = p.b.ix.Load()
	}
	if err == nil {
		err = p.ix.Load()
	}
	if err == nil {
		err = fn()
	}
	return err
}

// open opens the index, or makes it.
func (p *private) open(ctx context.Context) error {
	if p.ix != nil {
		return nil
	}
	opt := indexOptions(p.b.pool.log, &p.b.loc, p.b.set)
	opt.Base = privateBase
	x, err := index.Open(p.dir, opt)
	if errors.Is(err, index.ErrNotExist) {
		p.recordAll(p.b.ix.State(), nil, nil)
		x, err = index.Create(p.dir, opt, &p.tx)
		p.tx.Reset()
		if errors.Is(err, index.ErrExists) {
			x, err = index.Open(p.dir, opt)
		}
	}
	p.ix = x
	if errors.Is(err, index.ErrDamaged) {
		err = p.repair(ctx, err)
	}
	if err != nil && p.ix != nil {
		p.close()
	}
	return err
}

// repair makes a new index of what can be read of the old one.
func (p *private) repair(ctx context.Context, why error) error {
	shared := p.b.ix.State()
	reason, err := p.ix.Repair(ctx, index.Rebuild{
		Files: func(old *index.State) ([]uint32, error) {
			if v := old.Hdr.UIDValidity(); v != 0 && v != shared.Hdr.UIDValidity() {
				return nil, nil // of another mailbox
			}
			return uids(shared), nil
		},
		Finish:      func(*index.State, *index.Tx) {},
		UIDValidity: shared.Hdr.UIDValidity,
	})
	if err == nil && reason != nil {
		p.b.pool.log.Errorf("Mailbox %s: private index: %v; rebuilt", p.b.loc.Name, why)
	}
	return err
}

func uids(st *index.State) []uint32 {
	list := make([]uint32, st.Len())
	for i := range list {
		list[i] = st.UID(i)
	}
	return list
}

// commit makes the private index have the messages of the shared one.
func (p *private) commit(shared *index.State, saved []privateSave) error {
	st := p.ix.State()
	switch {
	case shared.Hdr.UIDValidity() == 0:
		return nil // it is being made
	case st.Hdr.UIDValidity() != shared.Hdr.UIDValidity() && (st.Hdr.UIDValidity() != 0 || st.Hdr.NextUID() > 1):
		p.b.pool.log.Infof("Mailbox %s UIDVALIDITY changed (%d -> %d), resetting private index",
			p.b.loc.Name, st.Hdr.UIDValidity(), shared.Hdr.UIDValidity())
		p.recordAll(shared, nil, saved)
		return p.ix.Renew(&p.tx)
	}
	gone, ok := expunged(st, shared)
	if !ok {
		p.b.pool.log.Errorf("Mailbox %s: %s: a message was unexpectedly inserted; flags are kept", p.b.loc.Name, p.dir.File(privateBase))
		p.recordAll(shared, st, saved)
		return p.ix.Renew(&p.tx)
	}
	if st.Hdr.UIDValidity() == 0 {
		p.tx.UIDValidity(shared.Hdr.UIDValidity())
	}
	p.recordNew(shared, nil, saved, st.Hdr.NextUID())
	if len(gone) > 0 {
		p.tx.Expunge(gone)
	}
	return p.ix.Commit(&p.tx)
}

// expunged returns the messages that the shared index does not have any more. It is not ok
// if that has an old message which the private one lacks.
func expunged(st, shared *index.State) (gone []index.Expunged, ok bool) {
	next := st.Hdr.NextUID()
	i, j := 0, 0
	for i < st.Len() {
		uid := st.UID(i)
		switch {
		case j == shared.Len() || shared.UID(j) > uid:
			gone = append(gone, index.Expunged{UID: uid})
			i++
		case shared.UID(j) == uid:
			i, j = i+1, j+1
		default:
			return nil, false
		}
	}
	return gone, j == shared.Len() || shared.UID(j) >= next
}

// recordAll records a new private index. Flags are those that old has, which may be nil.
func (p *private) recordAll(shared, old *index.State, saved []privateSave) {
	p.tx.UIDValidity(shared.Hdr.UIDValidity())
	p.recordNew(shared, old, saved, 1)
}

// recordNew records the messages from a uid on, and the flags of saved ones.
func (p *private) recordNew(shared, old *index.State, saved []privateSave, from uint32) {
	flags := make(map[uint32]byte, len(saved))
	for _, s := range saved {
		flags[s.uid] = s.flags
		if s.uid < from { // another process has synced it already
			p.tx.Flags([]index.Range{{First: s.uid, Last: s.uid}}, s.flags, 0)
		}
	}
	var msgs []index.New
	first, _ := shared.Find(from)
	for i := first; i < shared.Len(); i++ {
		uid := shared.UID(i)
		msgs = append(msgs, index.New{UID: uid, Flags: p.initial(shared, old, i) | flags[uid]})
	}
	next := from
	if len(msgs) > 0 {
		p.tx.Append(msgs...)
		next = msgs[len(msgs)-1].UID + 1
	}
	if shared.Hdr.NextUID() > next {
		p.tx.NextUID(shared.Hdr.NextUID())
	}
}

// initial returns the private flags that a new message has. In public namespaces they are
// those of the shared index: so a script can give messages flags for everybody.
func (p *private) initial(shared, old *index.State, i int) byte {
	if old != nil {
		if k, ok := old.Find(shared.UID(i)); ok {
			return old.Flags(k) & byte(privateMask)
		}
	}
	if p.b.loc.Public {
		return shared.Flags(i) & byte(privateMask)
	}
	return 0
}
