package mailbox

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/acl"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mdbox"
)

// A CopyResult is what COPYUID reports: Dst[i] is the copy of Src[i].
type CopyResult struct {
	UIDValidity uint32
	Src, Dst    []uint32
}

// Copy copies messages with their flags and keywords to dst, all or none. Uids
// that do not exist are left out. Copies share the file where the file system
// can link.
func (m *Mailbox) Copy(ctx context.Context, uids []uint32, dst *Mailbox) (CopyResult, error) {
	return m.transfer(ctx, uids, dst, nil)
}

// transfer copies messages. from is the quota of this mailbox if they are to be removed from it afterwards.
func (m *Mailbox) transfer(ctx context.Context, uids []uint32, dst *Mailbox, from Quota) (CopyResult, error) {
	if err := dst.needSave(); err != nil {
		return CopyResult{}, err
	}
	r, err := m.copyTo(ctx, uids, dst, from)
	if errors.Is(err, mdbox.ErrExpunged) && m.b.sync(ctx) == nil {
		r, err = m.copyTo(ctx, uids, dst, from) // a rebuild by another process gave messages other map uids
	}
	if err == nil && len(r.Dst) > 0 {
		dst.tellAdded()
		if dst.notifier != nil {
			dst.notifier.Copied(m, dst, r.Dst)
		}
	}
	return r, wrap("copy from "+m.b.loc.Name+" to "+dst.b.loc.Name, err)
}

func (m *Mailbox) copyTo(ctx context.Context, uids []uint32, dst *Mailbox, from Quota) (r CopyResult, err error) {
	ba := &batch{done: make(chan struct{})}
	defer func() {
		if err != nil {
			dst.b.discard(ba.news)
		}
	}()
	snap := m.Snapshot()
	for _, uid := range uids {
		i, ok := snap.Find(uid)
		if !ok {
			continue
		}
		n := New{Flags: snap.Flags(i) &^ dst.without, Keywords: snap.Keywords(i), vsize: -1}
		if size, ok := snap.VirtualSize(i); ok {
			n.vsize = size
		}
		err := m.b.source(ctx, snap, i, dst.b, &n)
		if errors.Is(err, ErrExpunged) {
			continue
		}
		if err != nil {
			return r, err
		}
		ba.news = append(ba.news, n)
		r.Src = append(r.Src, uid)
	}
	if len(ba.news) == 0 {
		return r, nil
	}
	if err = dst.guardCopies(ba.news); err != nil {
		return CopyResult{}, err
	}
	settle, err := dst.reserveCopies(ctx, m, r.Src, from)
	if err == nil {
		err = dst.b.appendBatch(ctx, ba)
		settle(err == nil)
	}
	if err != nil {
		return CopyResult{}, err
	}
	r.UIDValidity = ba.uidValidity
	for i := range ba.news {
		r.Dst = append(r.Dst, ba.news[i].UID)
		if d := ba.news[i].Writer; d != nil {
			d.Close()
		}
	}
	if dst.b.mode.Saves() && !ba.durable {
		err = dst.b.durable()
	}
	return r, err
}

// source has dst share message i with this mailbox, or saves it anew there.
func (b *box) source(ctx context.Context, snap *Snapshot, i int, dst *box, n *New) error {
	ok, err := dst.store.Share(ctx, b.store, snap.st, i, n)
	if ok || err != nil {
		return err
	}
	msg := Message{b: b, uid: snap.UID(i), st: snap.st, i: i}
	d, err := msg.details()
	if err != nil {
		return err
	}
	f, err := msg.open()
	if err != nil {
		return err
	}
	defer f.Close()
	draft := dst.store.NewWriter(time.Now())
	_, err = io.Copy(draft, io.NewSectionReader(f, 0, f.Size()))
	if err == nil {
		err = draft.Finish(&SaveOptions{Received: d.Received, GUID: d.GUID, POP3UIDL: d.UIDL, Sender: d.Sender})
	}
	if err != nil {
		draft.Abort()
		return err
	}
	n.Writer, n.vsize, n.UIDL = draft, draft.VirtualSize(), d.UIDL != ""
	return nil
}

// discard gives up messages that did not get into the mailbox.
func (b *box) discard(news []New) {
	for i := range news {
		if n := &news[i]; n.Writer != nil {
			n.Writer.Abort()
		} else {
			b.store.Discard(n)
		}
	}
}

// Move copies messages to dst and, when the copies are durable, expunges them.
func (m *Mailbox) Move(ctx context.Context, uids []uint32, dst *Mailbox) (CopyResult, error) {
	if err := m.need(acl.Expunge); err != nil {
		return CopyResult{}, err
	}
	r, err := m.transfer(ctx, uids, dst, m.quota)
	if err != nil {
		return r, err
	}
	if m.keeper != nil && !m.keeper.KeepsMoved() {
		return r, m.remove(ctx, slices.Clone(r.Src), whatever)
	}
	return r, m.Expunge(ctx, slices.Clone(r.Src))
}
