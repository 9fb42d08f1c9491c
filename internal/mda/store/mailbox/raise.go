package mailbox

import "context"

// Marks are what of a mailbox, besides its messages, clients remember of it. They only grow.
type Marks struct {
	FirstRecent   uint32
	HighestModSeq uint64
}

// Marks returns those of the snapshot.
func (s *Snapshot) Marks() Marks { return Marks{s.FirstRecent(), s.HighestModSeq()} }

// KeepsModSeq tells whether the modseq of each message is kept ([Mailbox.EnableModSeq]).
func (s *Snapshot) KeepsModSeq() bool { return s.st.KeepsModSeq() }

// Raise brings the marks up to those of another mailbox whose messages this one has now: what
// was not recent there is not here, and clients that remember its highest modseq are told
// of all later changes.
func (m *Mailbox) Raise(ctx context.Context, marks Marks) error {
	b := m.b
	err := b.lock(ctx, func() error {
		st := b.ix.State()
		first := min(marks.FirstRecent, st.Hdr.NextUID())
		if first > st.Hdr.FirstRecent() {
			if t, ok := b.store.(RecentTaker); ok && first == st.Hdr.NextUID() {
				if err := t.TakeRecent(st, &b.tx); err != nil {
					return err
				}
			}
			b.tx.FirstRecent(first)
		}
		if marks.HighestModSeq > st.HighestModSeq() {
			b.tx.ModSeq(0, marks.HighestModSeq)
		}
		return b.commit()
	})
	return wrap("raise marks of "+b.loc.Name, err)
}
