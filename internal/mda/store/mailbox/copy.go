package mailbox

import (
	"context"
	"errors"

	"slices"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
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
	r, err := m.copyTo(ctx, uids, dst)
	return r, wrap("copy from "+m.b.loc.Name+" to "+dst.b.loc.Name, err)
}

func (m *Mailbox) copyTo(ctx context.Context, uids []uint32, dst *Mailbox) (r CopyResult, err error) {
	ba := &batch{done: make(chan struct{})}
	defer func() {
		if err != nil {
			dst.b.removeTemps(ba.news)
		}
	}()
	snap := m.Snapshot()
	for _, uid := range uids {
		i, ok := snap.Find(uid)
		if !ok {
			continue
		}
		n := newMessage{flags: snap.Flags(i), keywords: snap.Keywords(i), vsize: -1}
		if size, ok := snap.VirtualSize(i); ok {
			n.vsize = size
		}
		err := m.b.source(uid, dst.b, &n)
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
	if err = dst.b.appendBatch(ctx, ba); err != nil {
		return CopyResult{}, err
	}
	r.UIDValidity = ba.uidValidity
	for i := range ba.news {
		r.Dst = append(r.Dst, ba.news[i].uid)
	}
	if dst.b.mode.Saves() {
		err = dst.b.durable()
	}
	return r, err
}

// source finds the file of a message, for linking it into dst. Where that is
// impossible it makes a temporary copy there.
func (b *box) source(uid uint32, dst *box, n *newMessage) error {
	n.source, n.name = b.dir, dbox.FileName(uid)
	var from, to unix.Stat_t
	err := b.dir.Stat(n.name, &from)
	if errors.Is(err, unix.ENOENT) && b.alt != nil {
		n.source = b.alt
		err = b.alt.Stat(n.name, &from)
	}
	if errors.Is(err, unix.ENOENT) {
		return ErrExpunged
	}
	if err == nil {
		err = unix.Fstat(dst.dir.FD, &to)
	}
	if err != nil {
		return err
	}
	const maxLinks = 60000 // ext4 allows 65000
	if from.Dev == to.Dev && from.Nlink < maxLinks && from.Uid == uint32(unix.Geteuid()) {
		return nil
	}
	return b.copyFile(dst, n)
}

// copyFile copies the source file as it is, GUID included.
func (b *box) copyFile(dst *box, n *newMessage) error {
	f, err := dbox.Open(n.source, n.name)
	if err != nil {
		return err
	}
	defer f.Close()
	temp, err := f.CopyTo(dst.dir, dst.flushContent)
	if err != nil {
		return err
	}
	n.source, n.name, n.temp = nil, "", temp
	return nil
}

func (b *box) removeTemps(news []newMessage) {
	for i := range news {
		if news[i].temp != "" {
			_ = b.dir.Remove(news[i].temp)
		}
	}
}

// Move copies messages to dst and, when the copies are durable, expunges them.
func (m *Mailbox) Move(ctx context.Context, uids []uint32, dst *Mailbox) (CopyResult, error) {
	r, err := m.Copy(ctx, uids, dst)
	if err != nil {
		return r, err
	}
	return r, m.Expunge(ctx, slices.Clone(r.Src))
}
