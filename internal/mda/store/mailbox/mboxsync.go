package mailbox

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mbox"
)

// Stale compares the file's size and times.
func (s *mboxStore) Stale() bool { return s.box.Stale() }

// Distrust has the next scan look at all messages.
func (s *mboxStore) Distrust() {
	s.full = true
	s.box.Distrust()
}

// Adopt reports whether the index says that another process has scanned the file as it is.
func (s *mboxStore) Adopt(st *index.State) bool {
	h := decodeMboxHeader(st.ExtHeader(extMbox.Name))
	s.validity, s.keywords = st.Hdr.UIDValidity(), st.Keywords
	now, err := s.box.Now()
	if err != nil || s.full || h.guid == [16]byte{} || h.size != now.Size || h.mtime != uint32(now.Mtime.Sec) {
		return false
	}
	if h.dirty && !s.dirtySyncs() {
		return false
	}
	// The index has seconds only. What changed within one and was seen by this process
	// before is looked at, unless the times are Dovecot's, which have no parts of seconds.
	if was := s.box.Seen(); was.Size == now.Size && was.Mtime.Sec == now.Mtime.Sec && was.Mtime != now.Mtime && now.Mtime.Nsec != 0 {
		s.full = true
		return false
	}
	_, err = s.box.Synced()
	return err == nil
}

// dirtySyncs reports whether only what is new is to be read of a file that has grown.
func (s *mboxStore) dirtySyncs() bool {
	return s.Settings.MboxDirtySyncs || s.Settings.MboxVeryDirtySyncs
}

// lazy reports whether flags are only written to the file when it is closed.
func (s *mboxStore) lazy() bool { return s.Settings.MboxLazyWrites || s.box.ReadOnly() }

// Scan makes the index agree with the file. What the file says counts, but for
// messages whose headers are not written yet.
func (s *mboxStore) Scan(_ context.Context, st *index.State, tx *index.Tx) error {
	h := decodeMboxHeader(st.ExtHeader(extMbox.Name))
	m := newMboxMerge(s, st)
	if !s.box.Stale() && !s.full || s.Adopt(st) {
		m.markUnsynced()
		m.record(tx)
		return nil
	}
	if err := s.box.CutUnfinished(s.last(st, &h)); err != nil {
		return err
	}
	from, partial := s.continueAt(st, &h)
	if partial {
		m.skip()
	}
	err := s.box.Each(from, st.Hdr.NextUID(), m.message)
	for errors.Is(err, mbox.ErrCut) {
		m, partial = newMboxMerge(s, st), false
		err = s.box.Each(0, st.Hdr.NextUID(), m.message)
	}
	if err != nil {
		return err
	}
	m.end()
	m.markUnsynced()
	m.record(tx)
	s.recordHeader(tx, st, partial)
	m.recordRecords(tx)
	s.full = false
	return nil
}

// last returns the place of the last message that the index knows; of a pseudo message if
// there is no other.
func (s *mboxStore) last(st *index.State, h *mboxHeader) mbox.Place {
	if h.size == 0 {
		return mbox.Place{}
	}
	pl := mbox.Place{End: h.size - 1}
	if n := st.Len(); n > 0 {
		pl.UID, pl.From, pl.MD5 = st.UID(n-1), mboxOffset(st, n-1), mboxMD5(st, n-1)
	}
	return pl
}

// continueAt returns where to begin: behind what the index knows if the file has only
// grown, at the begin of the file else.
func (s *mboxStore) continueAt(st *index.State, h *mboxHeader) (from int64, partial bool) {
	if s.full || !s.dirtySyncs() || st.Len() == 0 || s.box.Size() <= h.size {
		return 0, false
	}
	base, err := s.box.First()
	if err != nil || base != nil && base.UIDValidity != st.Hdr.UIDValidity() {
		return 0, false
	}
	pl := s.last(st, h)
	pl.End = 0
	m, err := s.box.Check(pl)
	if err != nil || m.End != h.size-1 && m.End != h.size-2 {
		return 0, false
	}
	return m.End, true
}

// An mboxMerge compares the messages of the file with the index.
type mboxMerge struct {
	s  *mboxStore
	st *index.State
	mboxUIDs

	known    []string // keywords that count
	validity uint32   // of the file, or the index's
	reset    bool     // the file has another uid validity: all messages are new
	recent   uint32   // first uid that nobody has seen

	added   []mboxAdded
	gone    []index.Expunged
	flags   map[flagChange][]uint32
	names   []string // of keywords that change
	adds    map[string][]uint32
	removes map[string][]uint32
	moved   []uint32
	offsets []byte
	hashed  []uint32
	sums    []byte
}

type mboxAdded struct {
	uid   uint32
	flags byte
	vsize uint32
}

func newMboxMerge(s *mboxStore, st *index.State) *mboxMerge {
	return &mboxMerge{
		s: s, st: st, mboxUIDs: mboxUIDs{st: st, next: st.Hdr.NextUID()},
		known: st.Keywords, validity: st.Hdr.UIDValidity(), recent: max(st.Hdr.FirstRecent(), 1),
		flags: make(map[flagChange][]uint32), adds: make(map[string][]uint32), removes: make(map[string][]uint32),
	}
}

// skip passes over all messages of the index.
func (m *mboxMerge) skip() {
	m.i = m.st.Len()
	m.prev = m.st.UID(m.i - 1)
	if base, err := m.s.box.First(); err == nil && base != nil {
		m.base(base)
	}
}

// base takes what the first message says.
func (m *mboxMerge) base(b *mbox.Base) {
	if b.UIDValidity != m.validity {
		m.changeValidity(b.UIDValidity)
	}
	m.next = max(m.next, b.LastUID+1)
	for _, name := range b.Keywords {
		if validKeyword(name) {
			m.known = addKeywords(m.known[:len(m.known):len(m.known)], []string{name})
		}
	}
}

// changeValidity has the uids of the file count for nothing if the index has other messages
// under another uid validity.
func (m *mboxMerge) changeValidity(v uint32) {
	if m.st.Hdr.NextUID() == 1 {
		m.validity = v
		return
	}
	m.s.Log.Warningf("Mailbox %s: UIDVALIDITY changed (%d -> %d)", m.s.Location.Name, m.validity, v)
	m.validity = max(m.validity, v, uint32(time.Now().Unix())) + 1
	m.reset = true
	m.expungeTo(m.st.Len())
}

// validKeyword reports whether IMAP can name it.
func validKeyword(name string) bool {
	return len(name) <= 255 && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`(){%*"\`, r)
	})
}

func (m *mboxMerge) expungeTo(i int) {
	for ; m.i < i; m.i++ {
		m.gone = append(m.gone, index.Expunged{UID: m.st.UID(m.i), GUID: mboxMD5(m.st, m.i)})
	}
}

// message takes the next message of the file.
func (m *mboxMerge) message(msg *mbox.Message) error {
	if msg.From == 0 && msg.Base != nil {
		m.base(msg.Base)
	}
	if msg.Pseudo {
		return nil
	}
	if m.reset {
		msg.UID = 0
	}
	rec, uid, err := m.assign(msg)
	if err != nil {
		return err
	}
	dirty := msg.Broken() || msg.UID != uid || msg.From == 0 && (msg.Base == nil || m.reset)
	for _, name := range msg.Keywords {
		if !hasKeyword(m.known, name) {
			msg.Keywords, dirty = nil, true // they came with the message
			break
		}
	}
	if msg.Old && uid >= m.recent {
		m.recent = uid + 1
	}
	if rec < 0 {
		m.expungeTo(m.st.Len())
		return m.add(msg, uid, dirty)
	}
	m.expungeTo(rec)
	m.i++
	m.compare(rec, msg, dirty)
	return nil
}

// end expunges what was not found.
func (m *mboxMerge) end() { m.expungeTo(m.st.Len()) }

func (m *mboxMerge) add(msg *mbox.Message, uid uint32, dirty bool) error {
	size, err := m.s.box.VirtualSize(msg)
	if err != nil {
		return err
	}
	a := mboxAdded{uid: uid, flags: msg.Flags, vsize: vsizeRecord(size)}
	if dirty {
		a.flags |= dirtyFlag
	}
	m.added = append(m.added, a)
	for _, name := range msg.Keywords {
		m.keyword(m.adds, name, uid)
	}
	m.place(uid, msg)
	m.hash(uid, msg)
	return nil
}

func (m *mboxMerge) place(uid uint32, msg *mbox.Message) {
	m.moved = append(m.moved, uid)
	m.offsets = binary.LittleEndian.AppendUint64(m.offsets, uint64(msg.From))
}

func (m *mboxMerge) hash(uid uint32, msg *mbox.Message) {
	m.hashed = append(m.hashed, uid)
	m.sums = append(m.sums, msg.MD5[:]...)
}

func (m *mboxMerge) keyword(changes map[string][]uint32, name string, uid uint32) {
	if k := m.st.Keyword(name); k >= 0 {
		name = m.st.Keywords[k]
	}
	if !slices.Contains(m.names, name) {
		m.names = append(m.names, name)
	}
	if list := changes[name]; len(list) == 0 || list[len(list)-1] != uid {
		changes[name] = append(list, uid)
	}
}

func (m *mboxMerge) flag(uid uint32, c flagChange) {
	if c != (flagChange{}) {
		m.flags[c] = append(m.flags[c], uid)
	}
}

// compare notes what the file says otherwise than the index.
func (m *mboxMerge) compare(i int, msg *mbox.Message, dirty bool) {
	uid, flags := m.st.UID(i), m.st.Flags(i)
	if mboxOffset(m.st, i) != msg.From {
		m.place(uid, msg)
	}
	if mboxMD5(m.st, i) != msg.MD5 {
		m.hash(uid, msg)
	}
	if flags&dirtyFlag != 0 || m.unsynced(uid) {
		return // the index knows better
	}
	c := flagChange{msg.Flags &^ flags, flags & byte(allFlags) &^ msg.Flags}
	if dirty {
		c.add |= dirtyFlag
	}
	m.flag(uid, c)
	bits := m.st.KeywordBits(i)
	for k, name := range m.st.Keywords {
		if index.HasBit(bits, k) && !hasKeyword(msg.Keywords, name) {
			m.keyword(m.removes, name, uid)
		}
	}
	for _, name := range msg.Keywords {
		if k := m.st.Keyword(name); k < 0 || !index.HasBit(bits, k) {
			m.keyword(m.adds, name, uid)
		}
	}
}

func (m *mboxMerge) unsynced(uid uint32) bool {
	return slices.ContainsFunc(m.st.Unsynced(), func(r index.Range) bool { return r.First <= uid && uid <= r.Last })
}

// markUnsynced marks messages whose flags another process changed in the index and has not
// written to the file.
func (m *mboxMerge) markUnsynced() {
	for _, r := range m.st.Unsynced() {
		for i, _ := m.st.Find(r.First); i < m.st.Len() && m.st.UID(i) <= r.Last; i++ {
			if m.st.Flags(i)&dirtyFlag == 0 {
				m.flag(m.st.UID(i), flagChange{add: dirtyFlag})
			}
		}
	}
}

// record writes the transaction, but for the extensions.
func (m *mboxMerge) record(tx *index.Tx) {
	h := &m.st.Hdr
	if h.UIDValidity() != m.validity {
		tx.UIDValidity(m.validity)
	}
	if len(m.added) > 0 {
		m.recordAdded(tx)
	}
	for c, uids := range m.flags {
		slices.Sort(uids)
		tx.Flags(index.AppendRanges(nil, slices.Compact(uids)), c.add, c.remove)
	}
	for _, name := range m.names {
		if uids := m.removes[name]; len(uids) > 0 {
			tx.Keyword(index.KeywordRemove, name, index.AppendRanges(nil, uids))
		}
		if uids := m.adds[name]; len(uids) > 0 {
			tx.Keyword(index.KeywordAdd, name, index.AppendRanges(nil, uids))
		}
	}
	if len(m.gone) > 0 {
		tx.Expunge(m.gone)
	}
	next := h.NextUID()
	if n := len(m.added); n > 0 {
		next = m.added[n-1].uid + 1
	}
	if m.next > next {
		tx.NextUID(m.next)
	}
	if m.recent > max(h.FirstRecent(), 1) {
		tx.FirstRecent(m.recent)
	}
}

func (m *mboxMerge) recordAdded(tx *index.Tx) {
	if m.st.ExtNumber(extHdrVsize.Name) < 0 {
		tx.Intro(&extHdrVsize)
	}
	msgs := make([]index.New, len(m.added))
	var sizes []index.ExtU32
	for i, a := range m.added {
		msgs[i] = index.New{UID: a.uid, Flags: a.flags}
		if a.vsize != 0 {
			sizes = append(sizes, index.ExtU32{UID: a.uid, Value: a.vsize})
		}
	}
	tx.Day(&m.st.Hdr, midnight(time.Now()), m.added[0].uid)
	tx.Append(msgs...)
	if len(sizes) > 0 {
		tx.Intro(&extVsize)
		tx.ExtRecords32(sizes)
	}
}

// recordRecords writes offsets and hashes, after the intro of the former.
func (m *mboxMerge) recordRecords(tx *index.Tx) {
	if len(m.moved) > 0 {
		tx.ExtRecords(m.moved, 8, m.offsets)
	}
	if len(m.hashed) > 0 {
		tx.Intro(&extHeaderMD5)
		tx.ExtRecords(m.hashed, 16, m.sums)
	}
}

// An mboxUIDs gives the messages of a file, in their order, the uids that they have, or new
// ones.
type mboxUIDs struct {
	st   *index.State
	i    int // next message of the index
	prev uint32
	next uint32
}

var errNoUIDs = errors.New("mailbox has no uids left")

// assign returns the uid of a message, and its number in the index, or -1 if it is new.
// Messages of the index before it are not in the file.
func (u *mboxUIDs) assign(msg *mbox.Message) (rec int, uid uint32, err error) {
	rec, uid = u.find(msg)
	if uid == 0 {
		if u.next == 1<<32-1 {
			return 0, 0, errNoUIDs
		}
		uid = u.next
	}
	u.prev, u.next = uid, max(u.next, uid+1)
	return rec, uid, nil
}

// find looks for the message in the index. A uid of the file that the index does not know
// counts if it is the next one, or was given and not recorded; others come with messages.
func (u *mboxUIDs) find(msg *mbox.Message) (rec int, uid uint32) {
	if v := msg.UID; v > u.prev && v <= u.next {
		if i, ok := u.st.Find(v); ok && i >= u.i {
			return i, v
		}
		if v >= u.st.Hdr.NextUID() {
			return -1, v
		}
	}
	for i := u.i; i < u.st.Len(); i++ {
		if mboxMD5(u.st, i) == msg.MD5 {
			return i, u.st.UID(i)
		}
	}
	return -1, 0
}

// Rebuilding takes the uids that the file has. What else is in it the next scan finds. The
// file cannot be locked: the index is, and that comes after it.
func (s *mboxStore) Rebuilding() index.Rebuild {
	return index.Rebuild{
		Files: func(old *index.State) (uids []uint32, err error) {
			s.Distrust()
			u := mboxUIDs{st: old, next: max(old.Hdr.NextUID(), 1)}
			err = s.box.ReadAll(func(msg *mbox.Message) {
				if msg.Base != nil {
					u.next = max(u.next, msg.Base.LastUID+1)
				}
				if rec, uid := u.find(msg); !msg.Pseudo && uid != 0 {
					if rec >= 0 {
						u.i = rec + 1
					} else {
						u.i = old.Len()
					}
					u.prev, u.next = uid, max(u.next, uid+1)
					uids = append(uids, uid)
				}
			})
			return uids, err
		},
		UIDValidity: s.uidValidity,
		Finish: func(old *index.State, tx *index.Tx) {
			h := mboxHeader{guid: decodeMboxHeader(old.ExtHeader(extMbox.Name)).guid}
			tx.Intro(&extMbox)
			tx.ExtHeader(0, h.encode())
			tx.Intro(&extHdrVsize)
			tx.Intro(&extVsize)
		},
	}
}
