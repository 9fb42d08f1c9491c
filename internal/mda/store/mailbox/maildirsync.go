package mailbox

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/mda/store/maildir"
)

// dirtyFlag marks messages whose files could not be given the flags that the index has.
const dirtyFlag = 0x80

func (s *maildirStore) Stale() bool { return s.box.Stale() }

func (s *maildirStore) Distrust() { s.box.Distrust() }

// Scan makes the index agree with the files. File names are right, but for
// changes that another process announced and has not made yet, and for messages whose files
// could not be renamed.
func (s *maildirStore) Scan(_ context.Context, st *index.State, tx *index.Tx) error {
	next := st.Hdr.NextUID()
	lost := s.lettersLost(st)
	if !lost && len(st.Unsynced()) == 0 && st.Hdr.UIDValidity() == s.box.UIDValidity() &&
		s.box.Adopt(maildir.DecodeTimes(st.ExtHeader(extMaildir.Name)), next) {
		return nil
	}
	r, err := s.box.Scan(maildir.View{
		UIDValidity: st.Hdr.UIDValidity(), Next: next,
		Has:         func(uid uint32) bool { _, ok := st.Find(uid); return ok },
		NewValidity: func() (uint32, error) { return s.uidValidity(), nil },
	})
	if err != nil {
		return err
	}
	var used uint32
	for i := range r.Messages {
		used |= r.Messages[i].Info.Letters
	}
	if lost {
		if err := s.nameLetters(st, r.Messages, used); err != nil {
			return err
		}
	}
	keywords, err := s.box.GiveLetters(nil, used)
	if err != nil {
		return err
	}
	m := maildirMerge{s: s, st: st, r: r, keywords: keywords, letters: lettersOf(st, &keywords)}
	if err := s.box.Change(m.run); err != nil {
		return err
	}
	m.record(tx)
	s.recordTimes(tx)
	return nil
}

// A maildirMerge compares what exists with the index.
type maildirMerge struct {
	s        *maildirStore
	st       *index.State
	r        *maildir.Result
	keywords maildir.Keywords
	letters  []uint32 // by number of the index's keyword

	added   []*maildir.Message
	gone    []index.Expunged
	flags   map[flagChange][]uint32
	adds    [maildir.MaxKeywords][]uint32
	removes [maildir.MaxKeywords][]uint32
}

type flagChange struct{ add, remove byte }

func (m *maildirMerge) run() error {
	m.flags = make(map[flagChange][]uint32)
	i := 0
	for k := range m.r.Messages {
		msg := &m.r.Messages[k]
		for ; i < m.st.Len() && (m.r.Reset || m.st.UID(i) < msg.UID); i++ {
			m.expunge(i)
		}
		if i < m.st.Len() && m.st.UID(i) == msg.UID {
			if err := m.compare(i, msg); err != nil {
				return err
			}
			i++
			continue
		}
		m.add(msg)
	}
	for ; i < m.st.Len(); i++ {
		m.expunge(i)
	}
	return nil
}

func (m *maildirMerge) expunge(i int) {
	m.gone = append(m.gone, index.Expunged{UID: m.st.UID(i)})
}

func (m *maildirMerge) add(msg *maildir.Message) {
	m.added = append(m.added, msg)
	for n := range m.adds {
		if msg.Info.Letters&(1<<n) != 0 {
			m.adds[n] = append(m.adds[n], msg.UID)
		}
	}
}

// compare notes what the file name says otherwise than the index, or renames the file.
func (m *maildirMerge) compare(i int, msg *maildir.Message) error {
	flags, info := m.st.Flags(i), infoOf(m.st, i, m.letters)
	info.Flags = info.Flags&^m.s.private | msg.Info.Flags&m.s.private // no difference
	if info == msg.Info && flags&dirtyFlag == 0 {
		return nil
	}
	if flags&dirtyFlag != 0 || m.unsynced(msg.UID) {
		return m.push(msg, info, flags)
	}
	if c := (flagChange{msg.Info.Flags &^ info.Flags, info.Flags &^ msg.Info.Flags}); c != (flagChange{}) {
		m.flags[c] = append(m.flags[c], msg.UID)
	}
	for n := range m.adds {
		switch bit := uint32(1) << n; {
		case msg.Info.Letters&^info.Letters&bit != 0:
			m.adds[n] = append(m.adds[n], msg.UID)
		case info.Letters&^msg.Info.Letters&bit != 0:
			m.removes[n] = append(m.removes[n], msg.UID)
		}
	}
	return nil
}

// push gives the file the flags of the index.
func (m *maildirMerge) push(msg *maildir.Message, info maildir.Info, flags byte) error {
	err := m.s.box.SetInfo(msg.UID, msg.Info, info)
	switch {
	case errors.Is(err, maildir.ErrNotExist):
		return nil // removed a moment ago; the next scan sees it
	case err != nil && flags&dirtyFlag == 0:
		m.flags[flagChange{add: dirtyFlag}] = append(m.flags[flagChange{add: dirtyFlag}], msg.UID)
	case err == nil && flags&dirtyFlag != 0:
		m.flags[flagChange{remove: dirtyFlag}] = append(m.flags[flagChange{remove: dirtyFlag}], msg.UID)
	}
	return nil
}

func (m *maildirMerge) unsynced(uid uint32) bool {
	return slices.ContainsFunc(m.st.Unsynced(), func(r index.Range) bool { return r.First <= uid && uid <= r.Last })
}

// record writes the transaction.
func (m *maildirMerge) record(tx *index.Tx) {
	h := &m.st.Hdr
	if h.UIDValidity() != m.r.UIDValidity {
		tx.UIDValidity(m.r.UIDValidity)
	}
	if len(m.added) > 0 {
		m.recordAdded(tx)
	}
	for c, uids := range m.flags {
		tx.Flags(index.AppendRanges(nil, uids), c.add, c.remove)
	}
	for n := range m.adds {
		if len(m.removes[n]) > 0 {
			tx.Keyword(index.KeywordRemove, m.keywords[n], index.AppendRanges(nil, m.removes[n]))
		}
		if len(m.adds[n]) > 0 {
			slices.Sort(m.adds[n])
			tx.Keyword(index.KeywordAdd, m.keywords[n], index.AppendRanges(nil, m.adds[n]))
		}
	}
	if len(m.gone) > 0 {
		tx.Expunge(m.gone)
	}
	next := h.NextUID()
	if n := len(m.added); n > 0 {
		next = m.added[n-1].UID + 1
	}
	if m.r.Next > next {
		tx.NextUID(m.r.Next)
	}
}

// recordAdded records messages that the index does not have.
func (m *maildirMerge) recordAdded(tx *index.Tx) {
	if m.st.ExtNumber(extHdrVsize.Name) < 0 {
		tx.Intro(&extHdrVsize)
	}
	msgs := make([]index.New, len(m.added))
	var sizes []index.ExtU32
	recent := max(m.st.Hdr.FirstRecent(), 1)
	firstRecent := recent
	for i, msg := range m.added {
		msgs[i] = index.New{UID: msg.UID, Flags: msg.Info.Flags &^ m.s.private}
		if v := vsizeRecord(msg.VirtualSize); v != 0 {
			sizes = append(sizes, index.ExtU32{UID: msg.UID, Value: v})
		}
		if !msg.InNew && msg.UID >= firstRecent {
			firstRecent = msg.UID + 1 // somebody has seen it
		}
	}
	tx.Day(&m.st.Hdr, midnight(time.Now()), m.added[0].UID)
	tx.Append(msgs...)
	if len(sizes) > 0 {
		tx.Intro(&extVsize)
		tx.ExtRecords32(sizes)
	}
	if firstRecent > recent {
		tx.FirstRecent(firstRecent)
	}
}

// setInfo renames the file of a message.
func (s *maildirStore) setInfo(uid uint32, from, to maildir.Info) error {
	if s.private != 0 {
		return s.box.ChangeInfo(uid, from, to, s.private)
	}
	return s.box.SetInfo(uid, from, to)
}

// KeepFlags renames the files of messages. was is the state that the files have.
func (s *maildirStore) KeepFlags(_ context.Context, was, st *index.State, uids []uint32, tx *index.Tx) error {
	used := make([]bool, len(st.Keywords))
	for _, uid := range uids {
		if i, ok := st.Find(uid); ok {
			bits := st.KeywordBits(i)
			for k := range used {
				used[k] = used[k] || index.HasBit(bits, k)
			}
		}
	}
	var names []string
	for k, ok := range used {
		if ok {
			names = append(names, st.Keywords[k])
		}
	}
	keywords, err := s.box.GiveLetters(names, 0)
	if err != nil {
		return err
	}
	before, after := lettersOf(was, &keywords), lettersOf(st, &keywords)
	var failed []uint32
	err = s.box.Change(func() error {
		for _, uid := range uids {
			i, ok := st.Find(uid)
			if !ok {
				continue
			}
			old, _ := was.Find(uid)
			if from, to := infoOf(was, old, before), infoOf(st, i, after); from != to {
				if err := s.setInfo(uid, from, to); err != nil && !errors.Is(err, maildir.ErrNotExist) {
					s.Log.Warningf("Mailbox %s: UID=%d: %v; its flags are only in the index", s.Location.Name, uid, err)
					failed = append(failed, uid)
				}
			}
		}
		return nil
	})
	if len(failed) > 0 {
		tx.Flags(index.AppendRanges(nil, failed), dirtyFlag, 0)
	}
	s.recordTimes(tx)
	return err
}
