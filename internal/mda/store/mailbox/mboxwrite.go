package mailbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mbox"
)

// KeepFlags marks messages whose headers have to change, or changes them.
func (s *mboxStore) KeepFlags(_ context.Context, was, st *index.State, uids []uint32, tx *index.Tx) error {
	var changed []uint32
	var numbers []int
	for _, uid := range uids {
		i, ok := st.Find(uid)
		old, had := was.Find(uid)
		if !ok || !had {
			continue
		}
		if was.Flags(old)&byte(allFlags) != st.Flags(i)&byte(allFlags) || !sameBits(was.KeywordBits(old), st.KeywordBits(i)) {
			changed, numbers = append(changed, uid), append(numbers, i)
		}
	}
	switch {
	case len(changed) == 0:
		return nil
	case s.lazy():
		tx.Flags(index.AppendRanges(nil, changed), dirtyFlag, 0)
		return nil
	}
	return s.rewrite(st, numbers, tx)
}

// sameBits compares bits of which missing ones are zero.
func sameBits(a, b []byte) bool {
	for i := range max(len(a), len(b)) {
		var x, y byte
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			return false
		}
	}
	return true
}

// TakeRecent has the messages be written as old ones, and the file look like one
// without new mail.
func (s *mboxStore) TakeRecent(st *index.State, tx *index.Tx) error {
	h := decodeMboxHeader(st.ExtHeader(extMbox.Name))
	if h.dirty && !s.Settings.MboxVeryDirtySyncs {
		s.Distrust() // as Dovecot, look at all of it when a client opens the mailbox
	}
	first, next := max(st.Hdr.FirstRecent(), 1), st.Hdr.NextUID()
	if s.box.ReadOnly() {
		return nil
	}
	if first < next {
		tx.Flags([]index.Range{{First: first, Last: next - 1}}, dirtyFlag, 0)
	}
	if !s.box.Stale() {
		s.box.SetTimes(false)
		_, err := s.box.Synced()
		return err
	}
	return nil
}

// WriteBack writes the headers of messages that are marked.
func (s *mboxStore) WriteBack(st *index.State, tx *index.Tx) error {
	if s.box.ReadOnly() {
		return nil
	}
	var numbers []int
	for i := range st.Len() {
		if st.Flags(i)&dirtyFlag != 0 {
			numbers = append(numbers, i)
		}
	}
	tx.ClearDirty(&st.Hdr)
	if len(numbers) == 0 {
		return nil
	}
	return s.rewrite(st, numbers, tx)
}

// rewrite has the headers of messages say what the index says. Their marks go.
func (s *mboxStore) rewrite(st *index.State, numbers []int, tx *index.Tx) error {
	base, pseudo, err := s.base(st)
	if err != nil {
		return err
	}
	c := mbox.Change{}
	switch {
	case base == nil:
	case pseudo:
		c.Rewrite = append(c.Rewrite, mbox.Rewrite{
			Place: mbox.Place{End: mboxOffset(st, 0)},
			Meta:  mbox.Meta{Base: base, Pseudo: true, Flags: mbox.FlagSeen, Old: true, Length: -1},
		})
	case numbers[0] != 0:
		c.Rewrite = append(c.Rewrite, s.header(st, 0, base))
	}
	for _, i := range numbers {
		if i == 0 && base == nil {
			base, _, err = s.fullBase(st)
			if err != nil {
				return err
			}
		}
		c.Rewrite = append(c.Rewrite, s.header(st, i, base))
	}
	moved, err := s.box.Do(&c)
	if err != nil {
		return s.again(err)
	}
	var uids []uint32
	for _, i := range numbers {
		if st.Flags(i)&dirtyFlag != 0 {
			uids = append(uids, st.UID(i))
		}
	}
	if len(uids) > 0 {
		tx.Flags(index.AppendRanges(nil, uids), 0, dirtyFlag)
	}
	s.recordMoved(tx, st, nil, moved)
	return nil
}

// again has the operation done again after a scan of everything if a message was not where
// it should be.
func (s *mboxStore) again(err error) error {
	s.Distrust()
	if errors.Is(err, mbox.ErrMoved) {
		return fmt.Errorf("%w: %w", errMoved, err)
	}
	return err
}

// base returns what the first message is to say of the mailbox; nil if it says that. pseudo
// tells whether it is none.
func (s *mboxStore) base(st *index.State) (base *mbox.Base, pseudo bool, err error) {
	want, have, err := s.fullBase(st)
	pseudo = st.Len() > 0 && mboxOffset(st, 0) > 0
	if err != nil || have != nil && have.UIDValidity == want.UIDValidity && have.Exact() && have.LastUID == want.LastUID &&
		len(have.Keywords) == len(want.Keywords) {
		return nil, pseudo, err
	}
	return want, pseudo, nil
}

func (s *mboxStore) fullBase(st *index.State) (want, have *mbox.Base, err error) {
	have, err = s.box.First()
	want = &mbox.Base{UIDValidity: st.Hdr.UIDValidity(), LastUID: st.Hdr.NextUID() - 1, Keywords: st.Keywords[:len(st.Keywords):len(st.Keywords)]}
	if have != nil {
		want.Keywords = addKeywords(slices.Clone(have.Keywords), st.Keywords)
	}
	return want, have, err
}

// header returns what the header of a message is to say. base is for the first one.
func (s *mboxStore) header(st *index.State, i int, base *mbox.Base) mbox.Rewrite {
	meta := mbox.Meta{UID: st.UID(i), Flags: st.Flags(i) & byte(allFlags), Old: st.UID(i) < st.Hdr.FirstRecent()}
	bits := st.KeywordBits(i)
	for k, name := range st.Keywords {
		if index.HasBit(bits, k) {
			meta.Keywords = append(meta.Keywords, name)
		}
	}
	pl := s.place(st, i)
	if pl.From == 0 {
		meta.Base = base
	}
	return mbox.Rewrite{Place: pl, Meta: meta}
}

// Unlink removes messages from the file.
func (s *mboxStore) Unlink(st *index.State, gone []index.Expunged, tx *index.Tx) error {
	removed := make(map[uint32]bool, len(gone))
	c := mbox.Change{}
	for n := range gone {
		if i, ok := st.Find(gone[n].UID); ok {
			removed[gone[n].UID] = true
			c.Remove = append(c.Remove, s.place(st, i))
		}
	}
	if len(c.Remove) == 0 {
		return nil
	}
	want, _, err := s.fullBase(st)
	if err != nil {
		return err
	}
	first := c.Remove[0].From == 0
	if first && len(removed) == st.Len() {
		if _, err := s.box.Check(c.Remove[0]); err != nil {
			return s.again(err)
		}
		if err := s.box.Clear(want, time.Now()); err != nil {
			return s.again(err)
		}
		s.box.SetTimes(false)
		s.recordHeader(tx, st, false)
		return nil
	}
	if first {
		i := 0
		for removed[st.UID(i)] {
			i++
		}
		r := s.header(st, i, nil)
		r.Base = want
		c.Rewrite = append(c.Rewrite, r)
	}
	moved, err := s.box.Do(&c)
	if err != nil {
		return s.again(err)
	}
	s.recordMoved(tx, st, removed, moved)
	return nil
}

// recordMoved records where messages are after a change of the file. The first one that
// stays may have moved to its begin.
func (s *mboxStore) recordMoved(tx *index.Tx, st *index.State, removed map[uint32]bool, moved func(int64) int64) {
	var uids []uint32
	var offsets []byte
	begin := st.Len() > 0 && removed[st.UID(0)] && mboxOffset(st, 0) == 0
	for i := range st.Len() {
		uid, from := st.UID(i), mboxOffset(st, i)
		if removed[uid] {
			continue
		}
		to := moved(from)
		if begin {
			to, begin = 0, false
		}
		if to != from {
			uids = append(uids, uid)
			offsets = binary.LittleEndian.AppendUint64(offsets, uint64(to))
		}
	}
	s.box.SetTimes(st.Hdr.FirstRecent() < st.Hdr.NextUID())
	s.recordHeader(tx, st, decodeMboxHeader(st.ExtHeader(extMbox.Name)).dirty)
	if len(uids) > 0 {
		tx.ExtRecords(uids, 8, offsets)
	}
}
