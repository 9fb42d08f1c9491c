package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/mda/store/listindex"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// A Status is what STATUS (RFC 3501 6.3.10) tells of a mailbox.
type Status struct {
	Messages, Recent, Unseen uint32
	UIDNext, UIDValidity     uint32
	HighestModSeq            uint64
	Size                     uint64 // of all messages, if it was asked for (RFC 8438)
	GUID                     [16]byte
}

// Status returns the status of a mailbox, without opening it if dovecot.list.index has it
// and nothing changed since. The sum of sizes is only looked for if size is true.
func (u *User) Status(ctx context.Context, name string, size bool) (Status, error) {
	p, err := u.resolve(name)
	if err != nil {
		return Status{}, err
	}
	if err := u.access.mayOpen(p, toRead); err != nil {
		return Status{}, err
	}
	return u.status(ctx, p, size, func() (*mailbox.Mailbox, error) { return u.Mailbox(ctx, name) })
}

// status is Status where rights do not count, unless open asks for them.
func (u *User) status(ctx context.Context, p place, size bool, open func() (*mailbox.Mailbox, error)) (Status, error) {
	cached := u.statusCached(p)
	if cached {
		if s, ok := u.listStatus(ctx, p, size); ok {
			return s, nil
		}
	}
	m, err := open()
	if err != nil {
		return Status{}, err
	}
	defer m.Close()
	// What it takes to open a mailbox changes its files, too; they are looked at before the
	// state is read that they stand for.
	var files stamps
	if _, err := m.Sync(ctx); err != nil {
		return Status{}, internal(err)
	}
	if cached {
		files = p.stamps()
	}
	s, err := statusOf(ctx, m, size)
	if err != nil {
		return s, internal(err)
	}
	if cached {
		if err := u.keepStatus(ctx, p, &s, size, files); err != nil {
			u.log.Errorf("%s: %v", p.ns.st.listIndexPath(), err) // it only saves time
		}
	}
	return s, nil
}

// statusCached reports whether the list index has the status of a mailbox.
func (u *User) statusCached(p place) bool {
	if p.ns.Inbox && p.name == inbox && !p.ns.conf.ListIndexInbox || p.ns.isOtherInbox(p.name) {
		return false
	}
	if p.ns.st.indexPrivate != "" {
		return false // who has read what differs
	}
	return p.ns.conf.ListIndex && p.ns.st.listIndexPath() != "" && p.disk != ""
}

// statusOf reads the status of an open mailbox.
func statusOf(ctx context.Context, m *mailbox.Mailbox, size bool) (Status, error) {
	snap, err := m.Sync(ctx)
	if err != nil {
		return Status{}, err
	}
	counts := snap.Counts()
	s := Status{
		Messages: uint32(counts.Messages), Recent: uint32(counts.Recent), Unseen: uint32(counts.Unseen),
		UIDNext: snap.UIDNext(), UIDValidity: snap.UIDValidity(), HighestModSeq: snap.HighestModSeq(), GUID: m.GUID(),
	}
	if size {
		s.Size, err = sizeOf(m, snap)
	}
	return s, err
}

// sizeOf returns the sizes of all messages together.
func sizeOf(m *mailbox.Mailbox, snap *mailbox.Snapshot) (sum uint64, err error) {
	for i := range snap.Len() {
		size, ok := snap.VirtualSize(i)
		if !ok {
			msg, err := m.Message(snap.UID(i))
			if err == nil {
				size, err = msg.VirtualSize()
			}
			if errors.Is(err, mailbox.ErrExpunged) {
				continue
			}
			if err != nil {
				return 0, err
			}
		}
		sum += uint64(size)
	}
	return sum, nil
}

// stamps are the states of the files of a mailbox that its status depends on.
type stamps struct{ log, files listindex.Stamp }

// stamps looks at the files. A stamp is zero if they changed so recently that they may
// change again without its being seen, or are not there.
func (p place) stamps() (s stamps) {
	loc := p.location()
	s.log = stampOf(filepath.Join(cmpOr(loc.IndexDir, loc.Dir), index.LogName), false)
	switch p.ns.st.format {
	case "maildir":
		// Names come and go within a second.
		fresh := uint32(time.Now().Unix() - 1)
		added, cur := stampOf(filepath.Join(loc.Dir, "new"), true), stampOf(filepath.Join(loc.Dir, "cur"), true)
		if added[0] < fresh && cur[0] < fresh {
			s.files = listindex.Stamp{added[0], cur[0]}
		}
	case "mbox":
		s.files = stampOf(loc.File, true)
	}
	return s
}

// stampOf returns size and time of a file, or time and size.
func stampOf(path string, timeFirst bool) listindex.Stamp {
	st, err := os.Stat(path)
	if err != nil {
		return listindex.Stamp{}
	}
	size, mtime := uint32(st.Size()), uint32(st.ModTime().Unix())
	if timeFirst {
		return listindex.Stamp{mtime, size}
	}
	return listindex.Stamp{size, mtime}
}

// valid reports whether a status is still right.
func (s *stamps) valid(have *listindex.Status, p place) bool {
	if have.Log[0] == 0 || have.Log[1] == 0 {
		return false
	}
	if p.ns.conf.ListIndexDirty {
		return true
	}
	if have.Log != s.log {
		return false
	}
	switch p.ns.st.format {
	case "maildir":
		return p.ns.set.MaildirVeryDirtySyncs || have.Files[0] != 0 && have.Files[1] != 0 && have.Files == s.files
	case "mbox":
		return have.Files[0] != 0 && have.Files == s.files
	}
	return true
}

// listStatus returns the status that the list index has.
func (u *User) listStatus(ctx context.Context, p place, size bool) (s Status, ok bool) {
	parts, err := p.ns.listed(p.name)
	if err != nil {
		return s, false
	}
	var now stamps
	if !p.ns.conf.ListIndexDirty {
		now = p.stamps()
	}
	err = p.ns.listIndex().View(ctx, func(t *listindex.Tree) error {
		n := t.Lookup(parts)
		if n == nil || t.Refresh || !n.Selectable() || n.UIDValidity == 0 || n.GUID == [16]byte{} {
			return nil
		}
		have, found := t.Status(n, p.ns.st.format)
		if !found || !now.valid(&have, p) || have.HighestModSeq == 0 {
			return nil
		}
		if size && have.Messages > 0 && (have.SizeUID+1 != have.UIDNext || have.SizeCount != have.Messages) {
			return nil
		}
		s = Status{
			Messages: have.Messages, Recent: have.Recent, Unseen: have.Unseen, UIDNext: have.UIDNext,
			UIDValidity: n.UIDValidity, HighestModSeq: have.HighestModSeq, GUID: n.GUID,
		}
		if have.Messages > 0 {
			s.Size = have.Size
		}
		ok = true
		return nil
	})
	return s, ok && err == nil
}

// keepStatus writes a status into the list index. files is their state before it was read.
func (u *User) keepStatus(ctx context.Context, p place, s *Status, size bool, files stamps) error {
	parts, err := p.ns.listed(p.name)
	if err != nil {
		return err
	}
	l := p.ns.listIndex()
	known := false
	err = l.View(ctx, func(t *listindex.Tree) error {
		known = !t.Refresh && t.Lookup(parts) != nil
		return nil
	})
	if err != nil && !errors.Is(err, listindex.ErrNotExist) {
		return err
	}
	if !known && p.ns.st.layout != layoutIndex {
		if err := p.ns.syncList(ctx); err != nil {
			return err
		}
	}
	keep := listindex.Status{
		Messages: s.Messages, Unseen: s.Unseen, Recent: s.Recent, UIDNext: s.UIDNext, HighestModSeq: max(s.HighestModSeq, 1),
		Log: files.log, Files: files.files,
	}
	if size {
		keep.Size, keep.SizeUID, keep.SizeCount = s.Size, s.UIDNext-1, s.Messages
	}
	return l.Change(ctx, func(c *listindex.Change) error {
		n := c.Lookup(parts)
		if n == nil || !n.Selectable() {
			return nil // deleted meanwhile
		}
		if p.ns.st.layout != layoutIndex {
			c.SetMailbox(n, s.GUID, s.UIDValidity)
		} else if n.GUID != s.GUID {
			return nil // another mailbox has the name now
		} else {
			c.SetMailbox(n, n.GUID, s.UIDValidity)
		}
		c.SetStatus(n, &keep, p.ns.st.format)
		return nil
	})
}
