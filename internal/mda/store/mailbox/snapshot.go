package mailbox

import "github.com/dovetail-mail/dovetail/internal/mda/store/index"

// A Snapshot is the state of a mailbox at one moment. It never changes. Messages
// are numbered from 0 in uid order.
type Snapshot struct {
	st    *index.State
	vsize int // number of the extension with virtual sizes, -1 for none
	guid  [16]byte

	private *privateView // nil without private flags
}

func (b *box) newSnapshot(st *index.State) *Snapshot {
	s := &Snapshot{st: st, vsize: st.ExtNumber(extVsize.Name), private: b.privateView()}
	s.guid, _ = b.store.Identity(st)
	return s
}

// Len returns the number of messages.
func (s *Snapshot) Len() int { return s.st.Len() }

// UID returns the uid of message i.
func (s *Snapshot) UID(i int) uint32 { return s.st.UID(i) }

// Flags returns the system flags of message i.
func (s *Snapshot) Flags(i int) Flags {
	flags := Flags(s.st.Flags(i)) & allFlags
	if s.private != nil {
		flags = s.private.merge(flags, i, s.st.UID(i))
	}
	return flags
}

// ModSeq returns the modification sequence of message i.
func (s *Snapshot) ModSeq(i int) uint64 { return s.st.ModSeq(i) }

// Keywords returns the names of the keywords of message i. It is nil, without
// allocation, for none.
func (s *Snapshot) Keywords(i int) (names []string) {
	bits := s.st.KeywordBits(i)
	for k, name := range s.st.Keywords {
		if index.HasBit(bits, k) {
			names = append(names, name)
		}
	}
	return names
}

// HasKeyword tells whether message i has keyword number k of [Snapshot.KeywordNames].
func (s *Snapshot) HasKeyword(i, k int) bool { return index.HasBit(s.st.KeywordBits(i), k) }

// VirtualSize returns the size of message i with CRLF line ends (RFC822.SIZE), if
// the index knows it.
func (s *Snapshot) VirtualSize(i int) (size int64, ok bool) { return vsizeOf(s.st, s.vsize, i) }

// Find returns the number of the message with the uid or, if there is none, the
// number of the next higher one (Len if none is higher) and false.
func (s *Snapshot) Find(uid uint32) (i int, ok bool) { return s.st.Find(uid) }

// UIDValidity is as IMAP defines it.
func (s *Snapshot) UIDValidity() uint32 { return s.st.Hdr.UIDValidity() }

// UIDNext is as IMAP defines it.
func (s *Snapshot) UIDNext() uint32 { return s.st.Hdr.NextUID() }

// HighestModSeq is as IMAP defines it.
func (s *Snapshot) HighestModSeq() uint64 { return s.st.HighestModSeq() }

// FirstRecent returns the uid from which on messages are \Recent to the session
// that claims them next.
func (s *Snapshot) FirstRecent() uint32 { return s.st.Hdr.FirstRecent() }

// KeywordNames returns the names of all keywords used in the mailbox, by
// number. The caller must not change it.
func (s *Snapshot) KeywordNames() []string { return s.st.Keywords }

// GUID returns the mailbox's GUID.
func (s *Snapshot) GUID() [16]byte { return s.guid }

// Counts are numbers of messages.
type Counts struct{ Messages, Seen, Unseen, Deleted, Recent int }

// Counts returns them without looking at every message, unless there are private flags.
func (s *Snapshot) Counts() Counts {
	n, seen := s.st.Len(), int(s.st.Hdr.Seen())
	if s.private != nil {
		s.private.count(s.st)
		seen = s.private.seen
	}
	firstRecent, _ := s.st.Find(s.st.Hdr.FirstRecent())
	return Counts{Messages: n, Seen: seen, Unseen: n - seen, Deleted: int(s.st.Hdr.Deleted()), Recent: n - firstRecent}
}

// FirstUnseen returns the number of the first message without \Seen.
func (s *Snapshot) FirstUnseen() (i int, ok bool) {
	if s.private == nil {
		return s.st.FirstUnseen()
	}
	s.private.count(s.st)
	return s.private.unseen, s.private.unseen < s.st.Len()
}

// Deleted tells whether the mailbox itself was deleted.
func (s *Snapshot) Deleted() bool { return s.st.Deleted() }

// continues reports whether uids that both states know are of the same messages.
func continues(old, st *index.State) bool {
	return st.Hdr.IndexID() == old.Hdr.IndexID() && st.Hdr.UIDValidity() == old.Hdr.UIDValidity() && st.Hdr.NextUID() >= old.Hdr.NextUID()
}
