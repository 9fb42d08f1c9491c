package mailbox

import (
	"context"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/acl"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mdbox"
)

// An Update is what an administrator changes of a mailbox, besides its messages. Zero
// leaves a thing as it is; numbers only grow, except for the uid validity.
type Update struct {
	Identity
	NextUID       uint32
	FirstRecent   uint32
	HighestModSeq uint64
}

// An identifier is a Store that keeps, outside of the base header of the index, what
// identifies the mailbox.
type identifier interface {
	// reidentify is called locked, after tx says what is new in the base header. st is
	// the state with it. A zero guid stays.
	reidentify(st *index.State, guid [16]byte, tx *index.Tx) error
}

// Update changes what identifies the mailbox to clients and other servers. Messages keep
// their uids: the uid validity says that they mean something else now, or the same as
// in another mailbox.
func (m *Mailbox) Update(ctx context.Context, u Update) error {
	if err := m.need(acl.Admin); err != nil {
		return err
	}
	b := m.b
	err := b.locked(ctx, func() error {
		b.updateHeader(&u)
		if u.GUID != [16]byte{} || !b.tx.Empty() {
			st, err := b.ix.Preview(&b.tx)
			if err != nil {
				return err
			}
			if err := b.store.(identifier).reidentify(st, u.GUID, &b.tx); err != nil {
				return err
			}
		}
		return b.commit()
	})
	return wrap("update "+b.loc.Name, err)
}

// updateHeader records what changes in the base header, and in that of modseqs.
func (b *box) updateHeader(u *Update) {
	st := b.ix.State()
	if u.UIDValidity != 0 && u.UIDValidity != st.Hdr.UIDValidity() {
		b.tx.UIDValidity(u.UIDValidity)
	}
	if u.NextUID > st.Hdr.NextUID() {
		b.tx.NextUID(u.NextUID)
	}
	if u.FirstRecent > st.Hdr.FirstRecent() {
		b.tx.FirstRecent(u.FirstRecent)
	}
	if u.HighestModSeq > st.HighestModSeq() {
		if !st.KeepsModSeq() {
			b.tx.KeepModSeq(st.HighestModSeq())
		}
		b.tx.ModSeq(0, u.HighestModSeq)
	}
}

func (s *sdboxStore) reidentify(st *index.State, guid [16]byte, tx *index.Tx) error {
	if guid != [16]byte{} {
		rebuilds, _, flags, _ := decodeDboxHdr(st.ExtHeader(extDboxHdr.Name))
		tx.Intro(&extDboxHdr)
		tx.ExtHeader(0, encodeDboxHdr(rebuilds, guid, flags))
	}
	return nil
}

func (s *mdboxStore) reidentify(st *index.State, guid [16]byte, tx *index.Tx) error {
	if guid != [16]byte{} {
		h, _ := mdbox.DecodeHeader(st.ExtHeader(mdbox.ExtHeader.Name))
		h.GUID = guid
		tx.Intro(&mdbox.ExtHeader)
		tx.ExtHeader(0, h.Append(nil))
	}
	return nil
}

func (s *maildirStore) reidentify(st *index.State, guid [16]byte, _ *index.Tx) error {
	return s.box.Reidentify(guid, st.Hdr.UIDValidity(), st.Hdr.NextUID())
}

// reidentify has the first message of the file, or the pseudo message, say the same as the
// index. An empty file says it when its first message comes.
func (s *mboxStore) reidentify(st *index.State, guid [16]byte, tx *index.Tx) (err error) {
	want, have, err := s.fullBase(st)
	switch {
	case err != nil:
		return err
	case st.Len() > 0:
		err = s.rewrite(st, []int{0}, tx)
	case have != nil:
		if err = s.box.Clear(want, time.Now()); err == nil {
			s.recordHeader(tx, st, false)
		}
	}
	if err != nil {
		return s.again(err)
	}
	s.validity = st.Hdr.UIDValidity()
	if guid != [16]byte{} {
		tx.Intro(&extMbox)
		tx.ExtHeader(mboxGUIDAt, guid[:])
	}
	return nil
}

// mboxGUIDAt is where the header of the extension has the GUID.
const mboxGUIDAt = 16

var _ = [...]identifier{(*sdboxStore)(nil), (*mdboxStore)(nil), (*maildirStore)(nil), (*mboxStore)(nil)}
