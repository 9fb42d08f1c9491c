package mailbox

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mdbox"
)

// A batch are messages that become visible together.
type batch struct {
	news        []New
	uidValidity uint32
	durable     bool // without the log being flushed
	err         error
	done        chan struct{}
}

// appendBatch makes messages of the batch. Batches of sessions that come while
// another one is being appended, or the lock is waited for, go into one log
// transaction.
func (b *box) appendBatch(ctx context.Context, ba *batch) error {
	b.hidePrivate(ba.news)
	err := b.appendGathered(ctx, ba)
	if err == nil {
		b.keepPrivate(ctx, ba.news)
	}
	return err
}

func (b *box) appendGathered(ctx context.Context, ba *batch) error {
	if g, ok := b.store.(gatherer); ok {
		return g.gather(ctx, b, ba)
	}
	b.queueMu.Lock()
	b.queue = append(b.queue, ba)
	if b.leading {
		b.queueMu.Unlock()
		<-ba.done
		return ba.err
	}
	b.leading = true
	b.queueMu.Unlock()

	// The work is not only this caller's.
	ctx = context.WithoutCancel(ctx)
	var all []*batch
	err := b.lock(ctx, func() error {
		if all == nil {
			all = b.takeQueue()
		}
		return b.appendLocked(all, nil)
	})
	if all == nil {
		all = b.takeQueue()
	}
	for _, ba := range all {
		if ba.err == nil {
			ba.err = err
		}
		close(ba.done)
	}
	return ba.err
}

func (b *box) takeQueue() []*batch {
	b.queueMu.Lock()
	defer b.queueMu.Unlock()
	all := b.queue
	b.queue, b.leading = nil, false
	return all
}

// appendLocked gives the mail files their names and appends them to the log. A
// batch that fails has its error set and leaves nothing behind; the error
// returned is one of all. What ready is, if it is not nil, says [mdbox.Mailbox].
func (b *box) appendLocked(all []*batch, ready mdbox.Ready) error {
	st := b.ix.State()
	next := st.Hdr.NextUID()
	first := next
	var placed []*batch
	for _, ba := range all {
		ba.err = nil
		ba.err = b.place(ba, &next)
		if errors.Is(ba.err, errUnknownFile) {
			b.unplace(placed)
			return ba.err // all begin again when the file has become a message
		}
		if ba.err == nil {
			ba.uidValidity = st.Hdr.UIDValidity()
			placed = append(placed, ba)
		}
	}
	if len(placed) == 0 {
		return nil
	}
	b.recordAppend(st, placed, first)
	durable, err := b.commitReady(ready)
	if err != nil {
		b.unplace(placed)
		return err
	}
	for _, ba := range placed {
		ba.durable = durable
	}
	return nil
}

func (b *box) unplace(placed []*batch) {
	for _, ba := range placed {
		b.store.Unplace(ba.news)
	}
}

// place gives the messages of one batch uids, and their files their names.
func (b *box) place(ba *batch, next *uint32) error {
	uid := *next
	for i := range ba.news {
		n := &ba.news[i]
		n.UID = max(uid, n.wantUID)
		if n.UID == 1<<32-1 {
			return errors.New("mailbox has no uids left")
		}
		uid = n.UID + 1
	}
	if err := b.store.Place(ba.news); err != nil {
		return err
	}
	*next = uid
	return nil
}

// eachNew returns the messages of batches.
func eachNew(all []*batch) iter.Seq[*New] {
	return func(yield func(*New) bool) {
		for _, ba := range all {
			for i := range ba.news {
				if !yield(&ba.news[i]) {
					return
				}
			}
		}
	}
}

// recordAppend writes the transaction for the messages of the batches, the first
// of which gets the uid first.
func (b *box) recordAppend(st *index.State, all []*batch, first uint32) {
	tx := &b.tx
	if st.ExtNumber(extHdrVsize.Name) < 0 {
		tx.Intro(&extHdrVsize)
	}
	msgs := make([]index.New, 0, 8)
	sizes := make([]index.ExtU32, 0, 8)
	modseq := st.HighestModSeq() + 1
	keywords, uidl := false, false
	for _, ba := range all {
		for i := range ba.news {
			n := &ba.news[i]
			n.modseq = modseq
			msgs = append(msgs, index.New{UID: n.UID, Flags: byte(n.Flags & allFlags)})
			if v := vsizeRecord(n.vsize); v != 0 {
				sizes = append(sizes, index.ExtU32{UID: n.UID, Value: v})
			}
			keywords = keywords || len(n.Keywords) > 0
			uidl = uidl || n.UIDL
		}
	}
	tx.Day(&st.Hdr, midnight(time.Now()), first)
	tx.Append(msgs...)
	if len(sizes) > 0 {
		tx.Intro(&extVsize)
		tx.ExtRecords32(sizes)
	}
	if keywords {
		recordKeywords(tx, all, modseq)
	}
	if uidl {
		recordUIDL(tx, msgs[len(msgs)-1].UID)
	}
	b.store.Record(tx, st, eachNew(all))
	b.cacheNew(st, all)
	recordModSeqs(tx, all)
}

// recordKeywords adds one record per keyword.
func recordKeywords(tx *index.Tx, all []*batch, modseq uint64) {
	var names []string
	uids := make(map[string][]uint32)
	for _, ba := range all {
		for i := range ba.news {
			for _, name := range ba.news[i].Keywords {
				if uids[name] == nil {
					names = append(names, name)
				}
				uids[name] = append(uids[name], ba.news[i].UID)
			}
		}
	}
	for k, name := range names {
		tx.Keyword(index.KeywordAdd, name, index.AppendRanges(nil, uids[name]))
		for _, ba := range all {
			for i := range ba.news {
				for _, has := range ba.news[i].Keywords {
					if has == name {
						ba.news[i].modseq = modseq + 1 + uint64(k)
					}
				}
			}
		}
	}
}

// recordUIDL notes that messages up to uid may have a stored POP3 UIDL; readers
// do not look for one above.
func recordUIDL(tx *index.Tx, uid uint32) {
	tx.Intro(&extPOP3UIDL)
	tx.ExtHeader(0, []byte{byte(uid), byte(uid >> 8), byte(uid >> 16), byte(uid >> 24)})
}

// recordModSeqs raises modseqs as replication asks.
func recordModSeqs(tx *index.Tx, all []*batch) {
	for _, ba := range all {
		for i := range ba.news {
			if n := &ba.news[i]; n.minModSeq > n.modseq {
				n.modseq = n.minModSeq
				tx.ModSeq(n.UID, n.minModSeq)
			}
		}
	}
}

// midnight returns the begin of the local day.
func midnight(t time.Time) uint32 {
	y, m, d := t.Date()
	return uint32(time.Date(y, m, d, 0, 0, 0, 0, t.Location()).Unix())
}
