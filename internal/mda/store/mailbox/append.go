package mailbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// A newMessage is a finished mail file that is to become a message.
type newMessage struct {
	temp      string     // temporary name in the mailbox's directory, or
	source    *index.Dir // where a file to link lies, with the name
	name      string
	flags     Flags
	keywords  []string
	vsize     int64 // -1 if unknown
	wantUID   uint32
	minModSeq uint64
	uidl      bool

	uid    uint32 // what it became
	modseq uint64
}

// A batch are messages that become visible together.
type batch struct {
	news        []newMessage
	uidValidity uint32
	err         error
	done        chan struct{}
}

// appendBatch makes messages of the batch. Batches of sessions that come while
// another one is being appended, or the lock is waited for, go into one log
// transaction.
func (b *box) appendBatch(ctx context.Context, ba *batch) error {
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
		return b.appendLocked(all)
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
// returned is one of all.
func (b *box) appendLocked(all []*batch) error {
	st := b.ix.State()
	next := st.Hdr.NextUID()
	first := next
	var placed []*batch
	for _, ba := range all {
		ba.err = nil
		if ba.err = b.place(ba, &next); ba.err == nil {
			ba.uidValidity = st.Hdr.UIDValidity()
			placed = append(placed, ba)
		}
	}
	if len(placed) == 0 {
		return nil
	}
	b.recordAppend(st, placed, first)
	if err := b.commit(); err != nil {
		for _, ba := range placed {
			b.unplace(ba.news)
		}
		return err
	}
	return nil
}

// place gives the files of one batch their names.
func (b *box) place(ba *batch, next *uint32) error {
	uid := *next
	for i := range ba.news {
		n := &ba.news[i]
		n.uid = max(uid, n.wantUID)
		if n.uid == 1<<32-1 {
			b.unplace(ba.news[:i])
			return errors.New("mailbox has no uids left")
		}
		if err := b.placeOne(n); err != nil {
			b.unplace(ba.news[:i])
			return err
		}
		uid = n.uid + 1
	}
	*next = uid
	return nil
}

func (b *box) placeOne(n *newMessage) error {
	name := dbox.FileName(n.uid)
	for try := 0; ; try++ {
		var err error
		if n.source != nil {
			err = unix.Linkat(n.source.FD, n.name, b.dir.FD, name, 0)
		} else {
			err = unix.Renameat2(b.dir.FD, n.temp, b.dir.FD, name, unix.RENAME_NOREPLACE)
		}
		if err == nil {
			return nil
		}
		if n.source != nil && errors.Is(err, unix.ENOENT) {
			return ErrExpunged // the source, by somebody else, a moment ago
		}
		if !errors.Is(err, unix.EEXIST) || try > 0 {
			return fmt.Errorf("rename(%s): %w", b.dir.File(name), err)
		}
		if err := b.moveAside(name); err != nil {
			return err
		}
	}
}

// moveAside handles a mail file with a uid that no message has yet: the writer
// was killed before it appended to the log, so nobody was told that the message
// was saved. As a temporary file it is removed after some time.
func (b *box) moveAside(name string) error {
	temp := dbox.TempName()
	b.pool.log.Warningf("Mailbox %s: %s belongs to no message; renamed to %s", b.loc.Name, b.dir.File(name), temp)
	return b.dir.Rename(name, temp)
}

// unplace undoes place.
func (b *box) unplace(news []newMessage) {
	for i := range news {
		n := &news[i]
		name := dbox.FileName(n.uid)
		if n.source != nil {
			_ = b.dir.Remove(name)
		} else if err := b.dir.Rename(name, n.temp); err != nil {
			b.pool.log.Errorf("Mailbox %s: %v", b.loc.Name, err)
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
			msgs = append(msgs, index.New{UID: n.uid, Flags: byte(n.flags & allFlags)})
			if v := vsizeRecord(n.vsize); v != 0 {
				sizes = append(sizes, index.ExtU32{UID: n.uid, Value: v})
			}
			keywords = keywords || len(n.keywords) > 0
			uidl = uidl || n.uidl
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
		recordUIDL(tx, st, msgs[len(msgs)-1].UID)
	}
	recordModSeqs(tx, all)
}

// recordKeywords adds one record per keyword.
func recordKeywords(tx *index.Tx, all []*batch, modseq uint64) {
	var names []string
	uids := make(map[string][]uint32)
	for _, ba := range all {
		for i := range ba.news {
			for _, name := range ba.news[i].keywords {
				if uids[name] == nil {
					names = append(names, name)
				}
				uids[name] = append(uids[name], ba.news[i].uid)
			}
		}
	}
	for k, name := range names {
		tx.Keyword(index.KeywordAdd, name, index.AppendRanges(nil, uids[name]))
		for _, ba := range all {
			for i := range ba.news {
				for _, has := range ba.news[i].keywords {
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
func recordUIDL(tx *index.Tx, st *index.State, uid uint32) {
	tx.Intro(&extPOP3UIDL)
	tx.ExtHeader(0, []byte{byte(uid), byte(uid >> 8), byte(uid >> 16), byte(uid >> 24)})
	rebuilds, guid, flags, ok := decodeDboxHdr(st.ExtHeader(extDboxHdr.Name))
	if ok && flags&dboxHasPOP3UIDL == 0 {
		tx.Intro(&extDboxHdr)
		tx.ExtHeader(0, encodeDboxHdr(rebuilds, guid, flags|dboxHasPOP3UIDL))
	}
}

// recordModSeqs raises modseqs as replication asks.
func recordModSeqs(tx *index.Tx, all []*batch) {
	for _, ba := range all {
		for i := range ba.news {
			if n := &ba.news[i]; n.minModSeq > n.modseq {
				n.modseq = n.minModSeq
				tx.ModSeq(n.uid, n.minModSeq)
			}
		}
	}
}

// midnight returns the begin of the local day.
func midnight(t time.Time) uint32 {
	y, m, d := t.Date()
	return uint32(time.Date(y, m, d, 0, 0, 0, 0, t.Location()).Unix())
}
