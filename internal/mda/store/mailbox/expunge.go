package mailbox

import (
	"context"
	"encoding/binary"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// Expunge removes the messages for good. Uids that do not exist are ignored.
func (m *Mailbox) Expunge(ctx context.Context, uids []uint32) error {
	b := m.b
	guids := b.guids(uids) // reads files: not under the lock
	var gone []index.Expunged
	err := b.locked(ctx, func() error {
		gone = gone[:0]
		for i, uid := range uids {
			if _, ok := b.ix.State().Find(uid); ok {
				gone = append(gone, index.Expunged{UID: uid, GUID: guids[i]})
			}
		}
		if len(gone) == 0 {
			return nil
		}
		b.tx.Expunge(gone)
		return b.commit()
	})
	if err == nil && len(gone) > 0 {
		err = b.removeFiles(gone)
	}
	return wrap("expunge in "+b.loc.Name, err)
}

// guids returns the binary GUIDs of messages, zero where it cannot be read:
// replication then asks for more, nothing else depends on it.
func (b *box) guids(uids []uint32) [][16]byte {
	guids := make([][16]byte, len(uids))
	for i, uid := range uids {
		msg := Message{b: b, uid: uid}
		if guid, err := msg.guid(); err == nil {
			guids[i] = dbox.GUID128(guid)
		}
	}
	return guids
}

// removeFiles removes the mail files of expunged messages, after the log on
// disk says so: a message whose file is gone would look damaged.
func (b *box) removeFiles(gone []index.Expunged) error {
	if b.mode.Saves() {
		if err := b.durable(); err != nil {
			return err
		}
	}
	for i := range gone {
		b.removeFile(gone[i].UID)
	}
	return nil
}

func (b *box) removeFile(uid uint32) {
	b.pool.cache.drop(b, uid)
	name := dbox.FileName(uid)
	err := b.dir.Remove(name)
	if err == nil && b.alt != nil {
		err = b.alt.Remove(name)
	}
	if err != nil {
		// It is only a waste of space.
		b.pool.log.Errorf("Mailbox %s: %v", b.loc.Name, err)
	}
}

// expungeRequested carries out expunges that another process asked for in the
// log without doing them, and moves the log's tail over the requests. The log's
// lock is held.
func (b *box) expungeRequested() error {
	uids := b.ix.State().ExpungeRequests()
	if len(uids) == 0 {
		return nil
	}
	if err := b.ix.Load(); err != nil {
		return err
	}
	guids := b.guids(uids)
	var gone []index.Expunged
	for i, uid := range uids {
		if _, ok := b.ix.State().Find(uid); ok {
			gone = append(gone, index.Expunged{UID: uid, GUID: guids[i]})
		}
	}
	if len(gone) > 0 {
		b.tx.Expunge(gone)
		if err := b.commit(); err != nil {
			return err
		}
	}
	if err := b.ix.AdvanceTail(); err != nil {
		return err
	}
	if b.mode.Saves() {
		log := b.ix.Log()
		err := log.Flush()
		log.Close()
		if err != nil {
			b.distrust = true
			return err
		}
	}
	for i := range gone {
		b.removeFile(gone[i].UID)
	}
	return nil
}

// Delete expunges all messages, tells other sessions through the log that the
// mailbox is gone, and removes its files and the message directory. Directories
// above it are the caller's.
func (p *Pool) Delete(ctx context.Context, loc Location, set *Settings) error {
	m, err := p.Open(ctx, loc, set)
	if err != nil {
		return err
	}
	defer m.Close()
	b := m.b
	err = b.locked(ctx, func() error {
		st := b.ix.State()
		gone := make([]index.Expunged, st.Len())
		for i := range gone {
			gone[i].UID = st.UID(i)
		}
		if len(gone) > 0 {
			b.tx.Expunge(gone)
		}
		b.tx.Deleted()
		return b.commit()
	})
	if err == nil {
		err = b.removeAll()
	}
	p.mu.Lock()
	p.forget(b)
	p.mu.Unlock()
	return wrap("delete mailbox "+loc.Name, err)
}

func binaryU32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.LittleEndian.Uint32(b)
}
