package mailbox

import (
	"context"
	"errors"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// A Quota bounds what may be added to a mailbox, and is told what comes and goes.
type Quota interface {
	// Virtual reports whether sizes are those with every line end counted as CRLF.
	Virtual() bool
	// Reserve makes room for messages of these sizes, which are about to be added, or returns why there
	// is none. from is the quota of the mailbox that they will be removed from at once; nil if they are not.
	// settle is called once it is known whether they were added.
	Reserve(ctx context.Context, sizes []int64, from Quota) (settle func(added bool), err error)
	// Freeing is called before messages are removed. If it returns a function that is called
	// with what was.
	Freeing(ctx context.Context) (freed func(Freed))
}

// Freed is what messages took that were removed.
type Freed struct {
	Bytes, Messages int64
	Unknown         bool // the size of some is not known
}

// SetQuota has q hear of what is added and removed through this handle. It is called before anything is.
func (m *Mailbox) SetQuota(q Quota) { m.quota = q }

// size returns what a message takes.
func size(q Quota, msg *Message) (int64, error) {
	if q.Virtual() {
		return msg.VirtualSize()
	}
	return msg.PhysicalSize()
}

// reserveSaves makes room for messages that were written.
func (m *Mailbox) reserveSaves(ctx context.Context, saves []*Save) (settle func(added bool), err error) {
	if m == nil || m.quota == nil {
		return func(bool) {}, nil
	}
	sizes := make([]int64, len(saves))
	for i, s := range saves {
		if sizes[i] = s.w.Size(); m.quota.Virtual() {
			sizes[i] = s.w.VirtualSize()
		}
	}
	return m.quota.Reserve(ctx, sizes, nil)
}

// reserveCopies makes room for copies of messages of src, which moves them if from is its quota.
func (m *Mailbox) reserveCopies(ctx context.Context, src *Mailbox, uids []uint32, from Quota) (settle func(added bool), err error) {
	if m.quota == nil {
		return func(bool) {}, nil
	}
	sizes := make([]int64, 0, len(uids))
	for _, uid := range uids {
		msg, err := src.Message(uid)
		var n int64
		if err == nil {
			n, err = size(m.quota, msg)
		}
		if err != nil && !errors.Is(err, ErrExpunged) {
			return nil, err
		}
		sizes = append(sizes, n)
	}
	return m.quota.Reserve(ctx, sizes, from)
}

// A freeing adds up what messages take that are being removed.
type freeing struct {
	freed func(Freed) // nil if nobody wants to know
	sizes map[uint32]int64
	sum   Freed
}

// freeing looks at messages that are about to be removed.
func (m *Mailbox) freeing(ctx context.Context, uids []uint32) (f freeing) {
	if m.quota == nil {
		return f
	}
	if f.freed = m.quota.Freeing(ctx); f.freed == nil {
		return f
	}
	f.sizes = make(map[uint32]int64, len(uids))
	for _, uid := range uids {
		msg, err := m.Message(uid)
		if err != nil {
			continue
		}
		if n, err := size(m.quota, msg); err == nil {
			f.sizes[uid] = n
		}
	}
	return f
}

// chosen is called with the messages that are removed; if that has to be repeated, once more.
func (f *freeing) chosen(gone []index.Expunged) {
	f.sum = Freed{}
	for i := range gone {
		n, ok := f.sizes[gone[i].UID]
		f.sum.Bytes += n
		f.sum.Messages++
		f.sum.Unknown = f.sum.Unknown || !ok
	}
}

// done is called when they are gone.
func (f *freeing) done() {
	if f.freed != nil && f.sum.Messages > 0 {
		f.freed(f.sum)
	}
}

// totals are the sizes of all messages of a mailbox together, as they were in one state.
type totals struct {
	st       *index.State
	messages int
	next     uint32
	bytes    int64
}

// VirtualTotal returns the sizes of all messages together, and their number. It looks only at the messages that
// are new since it was last asked, unless some were removed.
func (m *Mailbox) VirtualTotal(ctx context.Context) (bytes int64, messages int, err error) {
	snap, err := m.Sync(ctx)
	if err != nil {
		return 0, 0, err
	}
	m.b.totalMu.Lock()
	defer m.b.totalMu.Unlock()
	t := m.b.total
	if t.st == snap.st {
		return t.bytes, t.messages, nil
	}
	first, _ := snap.Find(t.next)
	if first != t.messages {
		t, first = totals{}, 0
	}
	for i := first; i < snap.Len(); i++ {
		n, ok := snap.VirtualSize(i)
		if !ok {
			msg, err := m.Message(snap.UID(i))
			if err == nil {
				n, err = msg.VirtualSize()
			}
			if err != nil && !errors.Is(err, ErrExpunged) {
				return 0, 0, err
			}
		}
		t.bytes += n
	}
	t.st, t.messages, t.next = snap.st, snap.Len(), snap.UIDNext()
	m.b.total = t
	return t.bytes, t.messages, nil
}
