package mailbox

import (
	"context"
	"math"
	"slices"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// Flags are the system flags of a message, with the bits of dovecot.index.
// \Recent is not among them: see [Snapshot.FirstRecent].
type Flags uint8

// The system flags.
const (
	Answered Flags = 0x01
	Flagged  Flags = 0x02
	Deleted  Flags = 0x04
	Seen     Flags = 0x08
	Draft    Flags = 0x10

	allFlags = Answered | Flagged | Deleted | Seen | Draft
)

// A FlagOp is what a [FlagChange] does with its flags and keywords.
type FlagOp uint8

// The operations of STORE: +FLAGS, -FLAGS and FLAGS.
const (
	FlagsAdd FlagOp = iota
	FlagsRemove
	FlagsReplace
)

// Unconditional is the UnchangedSince of a [FlagChange] without condition.
const Unconditional = math.MaxUint64

// A FlagChange changes flags and keywords of messages. UIDs must be ascending;
// those that do not exist are ignored.
type FlagChange struct {
	UIDs           []uint32
	Op             FlagOp
	Flags          Flags
	Keywords       []string
	UnchangedSince uint64 // refuse messages with a higher modseq; Unconditional for none

	kept         Flags // may not be changed
	keepKeywords bool  // likewise
}

// SetFlags changes flags and keywords. It returns the uids refused because of
// UnchangedSince.
func (m *Mailbox) SetFlags(ctx context.Context, c FlagChange) (modified []uint32, err error) {
	if err := m.guardFlags(&c); err != nil {
		return nil, err
	}
	b := m.b
	done := m.changing(&c)
	wrote := false
	err = b.locked(ctx, func() error {
		s := newFlagSetter(b.ix.State(), &c)
		if err := b.takePrivate(ctx, s); err != nil {
			return err
		}
		modified = s.run(&b.tx)
		wrote = !b.tx.Empty()
		if !wrote {
			return nil
		}
		if err := b.keepFlags(ctx, c.UIDs); err != nil {
			return err
		}
		if err := b.commitPrivate(ctx, s.private); err != nil {
			return err
		}
		return b.commit()
	})
	if err == nil && wrote && b.mode.Flags() {
		err = b.durable()
	}
	if err == nil {
		done(modified)
	}
	return modified, wrap("change flags in "+b.loc.Name, err)
}

// keepFlags has a [FlagKeeper] take over what the log is about to say. The log's
// lock is held.
func (b *box) keepFlags(ctx context.Context, uids []uint32) error {
	k, ok := b.store.(FlagKeeper)
	if !ok {
		return nil
	}
	st, err := b.ix.Preview(&b.tx)
	if err != nil {
		return err
	}
	return k.KeepFlags(ctx, b.ix.State(), st, uids, &b.tx)
}

// A flagSetter turns a FlagChange into log records for what really changes.
type flagSetter struct {
	st       *index.State
	c        *FlagChange
	add      byte
	remove   byte
	flags    []index.Range   // messages whose system flags change
	adds     [][]index.Range // by position in c.Keywords: messages that lack it
	removes  [][]index.Range // by keyword number: messages that lose it
	numbers  []int           // keyword numbers of c.Keywords, -1 for new ones
	modified []uint32
	private  *privateChange // nil without private flags
}

func newFlagSetter(st *index.State, c *FlagChange) *flagSetter {
	s := &flagSetter{st: st, c: c}
	switch c.Op {
	case FlagsAdd:
		s.add = byte(c.Flags & allFlags)
	case FlagsRemove:
		s.remove = byte(c.Flags & allFlags)
	case FlagsReplace:
		s.add = byte(c.Flags & allFlags)
		s.remove = byte(allFlags &^ c.Flags)
	}
	s.add &^= byte(c.kept)
	s.remove &^= byte(c.kept)
	for _, name := range c.Keywords {
		s.numbers = append(s.numbers, st.Keyword(name))
	}
	s.adds = make([][]index.Range, len(c.Keywords))
	s.removes = make([][]index.Range, len(st.Keywords))
	return s
}

func (s *flagSetter) run(tx *index.Tx) (modified []uint32) {
	i := -1
	for _, uid := range s.c.UIDs {
		if i++; i >= s.st.Len() || s.st.UID(i) != uid { // mostly they follow each other
			var ok bool
			if i, ok = s.st.Find(uid); !ok {
				continue
			}
		}
		if s.c.UnchangedSince != Unconditional && s.st.ModSeq(i) > s.c.UnchangedSince {
			s.modified = append(s.modified, uid)
			continue
		}
		s.message(i, uid)
	}
	switch {
	case s.private != nil && len(s.private.updates) > 0:
		tx.FlagUpdates(s.private.updates)
	case len(s.flags) > 0:
		tx.Flags(s.flags, s.add, s.remove)
	}
	for k, ranges := range s.removes {
		if len(ranges) > 0 {
			tx.Keyword(index.KeywordRemove, s.st.Keywords[k], ranges)
		}
	}
	for n, ranges := range s.adds {
		if len(ranges) > 0 {
			tx.Keyword(index.KeywordAdd, s.c.Keywords[n], ranges)
		}
	}
	return s.modified
}

func (s *flagSetter) message(i int, uid uint32) {
	one := [1]uint32{uid}
	old := s.st.Flags(i)
	changes := old&^s.remove|s.add != old
	switch {
	case s.private != nil:
		s.private.message(s, i, uid, changes)
	case changes:
		s.flags = index.AppendRanges(s.flags, one[:])
	}
	if s.c.keepKeywords || s.c.Op != FlagsReplace && len(s.c.Keywords) == 0 {
		return
	}
	bits := s.st.KeywordBits(i)
	if s.c.Op != FlagsRemove {
		for n, k := range s.numbers {
			if k < 0 || !index.HasBit(bits, k) {
				s.adds[n] = index.AppendRanges(s.adds[n], one[:])
			}
		}
	}
	if s.c.Op == FlagsAdd {
		return
	}
	for k := range s.removes {
		if index.HasBit(bits, k) && slices.Contains(s.numbers, k) == (s.c.Op == FlagsRemove) {
			s.removes[k] = index.AppendRanges(s.removes[k], one[:])
		}
	}
}
