package imap

import (
	"encoding/binary"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// An asleepBox is what a session that hibernates remembers of its mailbox: what the client knows of it, which is
// everything in IDLE, and how to find out what has changed since.
type asleepBox struct {
	name                 string
	readOnly, noRecent   bool
	guid                 [16]byte
	uidValidity, uidNext uint32
	modseq               uint64 // above which changes are unknown to the client
	uids                 []byte // what sequence numbers refer to, packed
	recent, saved        []imapwire.Range
	toldRecent, keywords int
	complete             uint64
}

// hibernateBox has a remember the selected mailbox and hear of its changes. It reports whether it can, and nothing
// has changed meanwhile.
func (s *session) hibernateBox(a *Asleep) bool {
	b := s.box
	loc := b.mbox.Location()
	if len(b.updates) > 0 || loc.PrivateDir != "" || b.view != b.told {
		return false
	}
	a.watches = s.srv.conf.Pool.WatchMailbox(&loc, a.tell)
	for _, w := range a.watches {
		if !w.Renew() {
			return false
		}
	}
	// From here on changes are heard of. What has changed before is told by a session that is awake.
	snap, err := b.mbox.Sync(s.ctx)
	if err != nil || snap != b.view || b.mbox.Moved() {
		return false
	}
	a.box = &asleepBox{
		name: b.name, readOnly: b.readOnly, noRecent: b.noRecent, guid: snap.GUID(), uidValidity: snap.UIDValidity(), uidNext: snap.UIDNext(),
		modseq: snap.HighestModSeq(), uids: packUIDs(snap), recent: b.recent, saved: b.saved,
		toldRecent: b.toldRecent, keywords: b.keywords, complete: b.complete,
	}
	return true
}

// selectAgain opens the mailbox of a session that has hibernated and tells what has changed meanwhile.
func (s *session) selectAgain() {
	a := s.returning
	s.returning = nil
	mbox, err := s.user.Mailbox(s.ctx, a.name)
	if err != nil {
		s.cannotReturn(a, err)
		return
	}
	s.box = &selected{
		mbox: mbox, name: a.name, readOnly: a.readOnly, noRecent: a.noRecent, recent: a.recent, saved: a.saved,
		toldRecent: a.toldRecent, keywords: a.keywords, complete: a.complete,
	}
	if s.enabled&enabledCondstore != 0 {
		err = mbox.EnableModSeq(s.ctx)
	}
	var snap *mailbox.Snapshot
	if err == nil {
		snap, err = mbox.Sync(s.ctx)
	}
	if err != nil {
		s.cannotReturn(a, err)
		return
	}
	old := a.unpackUIDs()
	kept, same := a.compare(old, snap)
	if !same {
		s.byebye(byeBroken, byeBroken)
		return
	}
	s.box.view, s.box.told, s.box.toldNext = snap, snap, snap.UIDNext()
	if err := s.tellMissed(a, old, snap, kept); err != nil {
		s.disconnected(err)
		return
	}
	s.idling.cancel = mbox.Notify(s.wake)
}

// cannotReturn ends a session whose mailbox cannot be opened again.
func (s *session) cannotReturn(a *asleepBox, err error) {
	switch {
	case s.ctx.Err() != nil:
		s.byebye(byeShutdown, byeShutdown)
	case isDeleted(err):
		s.byebye(byeDeleted, byeDeleted)
	default:
		s.log.Errorf("Mailbox %s: %v", a.name, err)
		s.byebye(byeBroken, byeBroken)
	}
}

// compare returns how many of the messages that the client knows are still there, and whether snap can be a later
// state of the same mailbox.
func (a *asleepBox) compare(old uidList, snap *mailbox.Snapshot) (kept int, same bool) {
	if snap.GUID() != a.guid || snap.UIDValidity() != a.uidValidity || snap.UIDNext() < a.uidNext || snap.HighestModSeq() < a.modseq {
		return 0, false
	}
	kept, _ = snap.Find(a.uidNext)
	at := 0
	for i := range kept {
		for at < len(old) && old[at] < snap.UID(i) {
			at++
		}
		if at == len(old) || old[at] != snap.UID(i) {
			return 0, false
		}
	}
	return kept, true
}

// tellMissed tells what has changed while the session hibernated. kept of the client's messages are still there.
func (s *session) tellMissed(a *asleepBox, old uidList, snap *mailbox.Snapshot, kept int) error {
	if err := s.claimRecent(snap, a.uidNext); err != nil {
		return s.syncFailed(err)
	}
	if err := s.tellKeywords(snap); err != nil {
		return err
	}
	if err := s.tellExpunges(old, snap, kept); err != nil {
		return err
	}
	if err := s.tellExists(snap, kept); err != nil {
		return err
	}
	changed, err := s.changedSince(snap, a.modseq)
	if err != nil {
		return s.syncFailed(err)
	}
	withUID := s.enabled&enabledQResync != 0 && !s.isUIDOnly()
	for i := range kept {
		if !changed(i) {
			continue
		}
		if err := s.writeChange(i, snap, i, flagsDiffer|modSeqDiffer, withUID); err != nil {
			return err
		}
	}
	return nil
}

// changedSince returns which messages of snap, asked for in ascending order, have been changed with a modseq above
// since. If nobody knows, all may have been.
func (s *session) changedSince(snap *mailbox.Snapshot, since uint64) (changed func(i int) bool, err error) {
	if snap.HighestModSeq() == since {
		return func(int) bool { return false }, nil
	}
	if snap.KeepsModSeq() {
		return func(i int) bool { return snap.ModSeq(i) > since }, nil
	}
	var set []imapwire.Range
	ok, err := s.box.mbox.Changed(since, func(first, last uint32) { set = append(set, imapwire.Range{Min: first, Max: last}) })
	if err != nil {
		return nil, err
	}
	set = mergeRanges(set)
	return func(i int) bool {
		for len(set) > 0 && set[0].Max < snap.UID(i) {
			set = set[1:]
		}
		return !ok || len(set) > 0 && set[0].Min <= snap.UID(i)
	}, nil
}

// A uidList is the uids of a mailbox, ascending.
type uidList []uint32

// Len implements [numbered].
func (l uidList) Len() int { return len(l) }

// UID implements [numbered].
func (l uidList) UID(i int) uint32 { return l[i] }

// packUIDs returns the uids of a mailbox in few bytes: for each run of them how far it is from the one before,
// and how long.
func packUIDs(view numbered) (p []byte) {
	next := uint32(0)
	for i := 0; i < view.Len(); {
		first := view.UID(i)
		last := first
		for i++; i < view.Len() && view.UID(i) == last+1; i++ {
			last++
		}
		p = binary.AppendUvarint(p, uint64(first-next))
		p = binary.AppendUvarint(p, uint64(last-first))
		next = last + 1
	}
	return p
}

func (a *asleepBox) unpackUIDs() (list uidList) {
	next := uint64(0)
	for p := a.uids; len(p) > 0; {
		gap, n := binary.Uvarint(p)
		p = p[n:]
		more, n := binary.Uvarint(p)
		p = p[n:]
		for uid := next + gap; uid <= next+gap+more; uid++ {
			list = append(list, uint32(uid))
		}
		next += gap + more + 1
	}
	return list
}
