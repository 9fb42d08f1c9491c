package imap

import (
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// flagsExpected is a change of flags whose result the client knows, because it
// asked for it silently or has been told: it is not told again.
type flagsExpected struct {
	uid      bool     // replies have the uid: UID STORE (RFC 3501 6.4.8)
	uids     []uint32 // ascending
	op       mailbox.FlagOp
	flags    mailbox.Flags
	keywords []string
}

// syncBox tells the client what has changed in the selected mailbox. expect may
// be nil.
func (s *session) syncBox(mode syncMode, expect *flagsExpected) error {
	snap, err := s.box.mbox.Sync(s.ctx)
	if err != nil {
		return s.syncFailed(err)
	}
	if s.box.mbox.Moved() {
		// What has the name now is not what the client sees: it would wait for new messages in vain.
		s.byebye(byeBroken, byeBroken)
		return s.ended
	}
	return s.tell(snap, mode, expect)
}

// syncFailed ends a session whose mailbox cannot be read any more.
func (s *session) syncFailed(err error) error {
	if s.ctx.Err() != nil {
		s.byebye(byeShutdown, byeShutdown)
		return s.ended
	}
	if !isDeleted(err) {
		s.log.Errorf("Mailbox %s: %v", s.box.name, err)
		s.byebye(byeBroken, byeBroken)
		return s.ended
	}
	s.byebye(byeDeleted, byeDeleted)
	return s.ended
}

// tell makes snap what the client knows, as far as mode allows.
func (s *session) tell(snap *mailbox.Snapshot, mode syncMode, expect *flagsExpected) error {
	b := s.box
	if snap.Deleted() {
		s.byebye(byeDeleted, byeDeleted)
		return s.ended
	}
	if snap.UIDValidity() != b.view.UIDValidity() || snap.UIDNext() < b.view.UIDNext() {
		s.byebye(byeBroken, byeBroken)
		return s.ended
	}
	if snap == b.told && b.told == b.view {
		return nil
	}
	kept, _ := snap.Find(b.view.UIDNext())
	if kept < b.view.Len() && (mode == syncNoExpunge || !s.tellsExpunges()) ||
		mode == syncNoNewMail && snap.UIDNext() != b.view.UIDNext() {
		return s.tellHeldBack(snap, expect)
	}
	if err := s.claimRecent(snap, b.view.UIDNext()); err != nil {
		return s.syncFailed(err)
	}
	if err := s.tellKeywords(snap); err != nil {
		return err
	}
	if err := s.tellSearchExpunges(snap); err != nil {
		return err
	}
	if err := s.tellExpunges(b.view, snap, kept); err != nil {
		return err
	}
	if err := s.tellExists(snap, kept); err != nil {
		return err
	}
	// FETCH after EXPUNGE: numbers are those of the new view.
	told, old := b.told, b.view
	b.view, b.told = snap, snap
	if told.HighestModSeq() == snap.HighestModSeq() && told.Len() == snap.Len() && old == told {
		return nil
	}
	if err := s.tellFlags(told, snap, snap, kept, expect); err != nil {
		return err
	}
	if err := s.tellNew(); err != nil {
		return err
	}
	return s.tellSearchChanges(told, snap, old.UIDNext())
}

// tellHeldBack tells of changed flags only: the client does not get to know of
// expunged messages now, and so not of new ones. Who asked by NOTIFY not to be told goes
// on with the numbers that he knows: with others he might change the wrong message.
func (s *session) tellHeldBack(snap *mailbox.Snapshot, expect *flagsExpected) error {
	b := s.box
	if err := s.tellKeywords(snap); err != nil {
		return err
	}
	told := b.told
	b.told = snap
	if err := s.tellFlags(told, snap, b.view, b.view.Len(), expect); err != nil {
		return err
	}
	return s.tellSearchChanges(told, snap, b.view.UIDNext())
}

// claimRecent makes messages that are new to the mailbox recent in this session, which knows those
// below uid next. A read-only session takes nothing away from others but sees what is recent.
func (s *session) claimRecent(snap *mailbox.Snapshot, next uint32) error {
	b := s.box
	first := snap.FirstRecent()
	if first >= snap.UIDNext() || snap.UIDNext() == next {
		return nil
	}
	if !b.readOnly {
		var err error
		if first, err = b.mbox.ClaimRecent(s.ctx); err != nil {
			return err
		}
	}
	b.addRecent(max(first, next), snap)
	return nil
}

// tellKeywords announces keywords that are new to the client.
func (s *session) tellKeywords(snap *mailbox.Snapshot) error {
	if len(snap.KeywordNames()) == s.box.keywords {
		return nil
	}
	return s.writeFlagsAllowed(snap)
}

// numbered is what a client's sequence numbers refer to: uids, ascending.
type numbered interface {
	Len() int
	UID(i int) uint32
}

// tellExpunges tells which messages of the view are gone, the highest first as
// Dovecot does, or all at once to a client with QRESYNC. kept is how many of them
// are in snap.
func (s *session) tellExpunges(view numbered, snap *mailbox.Snapshot, kept int) error {
	gone := view.Len() - kept
	if gone == 0 {
		return nil
	}
	if s.enabled&(enabledQResync|enabledUIDOnly) != 0 {
		b := append(s.buf(), "* VANISHED "...)
		b = imapwire.AppendRanges(b, lost(view, snap))
		return s.put(append(b, "\r\n"...))
	}
	// Walk down: below i and j both have the same messages left to compare.
	j := kept - 1
	for i := view.Len() - 1; gone > 0 && i >= 0; i-- {
		uid := view.UID(i)
		if j >= 0 && snap.UID(j) == uid {
			// Skip what is equal at once: the last i-k messages up to i are the
			// same as those up to j exactly where the first of them is.
			n := equalRun(view, snap, i, j)
			i, j = i-n+1, j-n
			continue
		}
		b := append(s.buf(), "* "...)
		b = strconv.AppendInt(b, int64(i+1), 10)
		if err := s.put(append(b, " EXPUNGE\r\n"...)); err != nil {
			return err
		}
		gone--
	}
	return nil
}

// lost returns the uids of the messages of view that are not in snap.
func lost(view numbered, snap *mailbox.Snapshot) (gone []imapwire.Range) {
	j := 0
	for i := range view.Len() {
		uid := view.UID(i)
		if j < snap.Len() && snap.UID(j) == uid {
			j++
			continue
		}
		if n := len(gone); n > 0 && gone[n-1].Max+1 == uid {
			gone[n-1].Max = uid
		} else {
			gone = append(gone, imapwire.Range{Min: uid, Max: uid})
		}
	}
	return gone
}

// equalRun returns how many messages up to view[i] and snap[j], which are equal,
// are the same in both. As both ascend and snap has nothing in between that
// view has not, equal ends mean equal runs.
func equalRun(view numbered, snap *mailbox.Snapshot, i, j int) int {
	lo, hi := 1, min(i, j)+1
	for lo < hi {
		mid := (lo + hi + 1) / 2
		if view.UID(i-mid+1) == snap.UID(j-mid+1) {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo
}

// tellExists tells how many messages there are, if there are new ones, and how
// many are recent, if that has changed.
func (s *session) tellExists(snap *mailbox.Snapshot, kept int) error {
	b := s.box
	b.pruneRecent(snap)
	if snap.Len() > kept && s.tells(notifyMessageNew) {
		if err := s.writeCount(snap.Len(), " EXISTS\r\n"); err != nil {
			return err
		}
	}
	before := b.toldRecent
	b.toldRecent = b.countRecent(snap)
	if b.toldRecent == before || !s.tells(notifyMessageNew) {
		return nil
	}
	return s.writeCount(b.toldRecent, " RECENT\r\n")
}

func (s *session) writeCount(n int, what string) error {
	b := append(s.buf(), "* "...)
	b = strconv.AppendInt(b, int64(n), 10)
	return s.put(append(b, what...))
}

// tellFlags tells the flags of messages that differ between told and snap. view
// has the numbers; its first n messages are looked at.
func (s *session) tellFlags(told, snap, view *mailbox.Snapshot, n int, expect *flagsExpected) error {
	if told == snap || !s.tellsFlags() {
		return nil
	}
	d := flagsDiff{told: told, snap: snap, condstore: s.enabled&enabledCondstore != 0}
	d.aligned = n > 0 && n <= told.Len() && n <= snap.Len() && told.UID(n-1) == view.UID(n-1) && snap.UID(n-1) == view.UID(n-1)
	withUID := (expect != nil && expect.uid || s.enabled&enabledQResync != 0) && !s.isUIDOnly()
	for i := range n {
		if d.aligned {
			d.i, d.j = i, i
		} else if !d.seek(view.UID(i)) {
			continue
		}
		what := d.compare(expect)
		if what == 0 {
			continue
		}
		if err := s.writeChange(i, snap, d.j, what, withUID); err != nil {
			return err
		}
	}
	return nil
}

// writeChange tells what has changed of message j of snap, which is number i for the client.
func (s *session) writeChange(i int, snap *mailbox.Snapshot, j, what int, withUID bool) error {
	b := s.appendFetchStart(s.buf(), i)
	if withUID {
		b = append(b, "UID "...)
		b = strconv.AppendUint(b, uint64(snap.UID(j)), 10)
		b = append(b, ' ')
	}
	if s.enabled&enabledCondstore != 0 {
		b = s.box.appendModSeq(b, snap.ModSeq(j))
		if what&flagsDiffer != 0 {
			b = append(b, ' ')
		}
	}
	if what&flagsDiffer != 0 {
		b = s.box.appendFlags(b, snap, j, snap.Flags(j))
	}
	return s.put(append(b, ")\r\n"...))
}

// flagsDiff compares the flags of messages, in ascending order, of two snapshots.
type flagsDiff struct {
	told, snap *mailbox.Snapshot
	condstore  bool
	aligned    bool // both begin with the messages looked at
	i, j       int  // where the last message is in told and snap
	expected   int  // how many messages are before it in what is expected
}

// How messages differ.
const (
	flagsDiffer  = 1 << iota // the client does not know the flags
	modSeqDiffer             // the client wants to know the modseq
)

// seek goes to the message with the given uid, which is higher than the last. It
// is false if one of the states has none.
func (d *flagsDiff) seek(uid uint32) bool {
	i, j := seek(d.told, d.i, uid), seek(d.snap, d.j, uid)
	d.i, d.j = max(i, ^i), max(j, ^j)
	return i >= 0 && j >= 0
}

// compare compares the flags of the message at hand.
func (d *flagsDiff) compare(expect *flagsExpected) (what int) {
	if d.condstore && d.told.ModSeq(d.i) != d.snap.ModSeq(d.j) && d.snap.ModSeq(d.j) > d.told.HighestModSeq() {
		what = modSeqDiffer
	}
	if d.expects(expect) {
		if !expect.same(d.told, d.i, d.snap, d.j) {
			what |= flagsDiffer
		}
		return what
	}
	if d.told.Flags(d.i) != d.snap.Flags(d.j) || !sameKeywords(d.told, d.i, d.snap, d.j) {
		what |= flagsDiffer
	}
	return what
}

// expects reports whether a change of the message at hand is expected.
func (d *flagsDiff) expects(expect *flagsExpected) bool {
	if expect == nil {
		return false
	}
	uid := d.snap.UID(d.j)
	for d.expected < len(expect.uids) && expect.uids[d.expected] < uid {
		d.expected++
	}
	return d.expected < len(expect.uids) && expect.uids[d.expected] == uid
}

// seek returns the index of uid in snap, which is i or a little higher, or the
// complement of where it would be.
func seek(snap *mailbox.Snapshot, i int, uid uint32) int {
	for n := 0; n < 8; n++ {
		if i >= snap.Len() || snap.UID(i) > uid {
			break
		}
		if snap.UID(i) == uid {
			return i
		}
		i++
	}
	i, ok := snap.Find(uid)
	if !ok {
		return ^i
	}
	return i
}
