package mdbox

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// Boxes says where the mailboxes are that refer to a storage. A zero one has none.
type Boxes struct {
	Dir      string // the mailbox NAME is in Dir/NAME/DirName
	DirName  string
	IndexDir string // its index in IndexDir/NAME/IndexName; "" for beside it
	// IndexName is DirName or "".
	IndexName string
}

// A boxFiles is the mailbox name, as messages have it, and where its index is.
type boxFiles struct{ name, index string }

// inbox gets the messages of mailboxes that are no more.
const inbox = "INBOX"

func (b *Boxes) list() (all []boxFiles, err error) {
	if b.Dir == "" {
		return nil, nil
	}
	err = filepath.WalkDir(b.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if !d.IsDir() {
			return nil
		}
		if strings.HasPrefix(d.Name(), "..") {
			return fs.SkipDir // on the way to be deleted
		}
		name, err := filepath.Rel(b.Dir, filepath.Dir(path))
		if b.DirName == "" { // LAYOUT=index: a directory each, named by a GUID
			if path == b.Dir {
				return nil
			}
			name = d.Name()
			if guid, bad := hex.DecodeString(name); bad != nil || len(guid) != 16 {
				return fs.SkipDir
			}
		} else if err != nil || d.Name() != b.DirName || name == "." {
			return err
		}
		box := boxFiles{name, path}
		if b.IndexDir != "" {
			box.index = filepath.Join(b.IndexDir, name, b.IndexName)
		}
		all = append(all, box)
		return fs.SkipDir
	})
	return all, err
}

// boxOptions are those of a mailbox's index.
func (s *Storage) boxOptions(b boxFiles) index.Options {
	opt := s.opt.Index
	opt.Base, opt.Tail, opt.Name = "", false, b.name
	return opt
}

// withBox runs fn with the locked index of a mailbox, of which the messages are
// read, and flushes what it commits. A damaged index is repaired first.
func (s *Storage) withBox(ctx context.Context, b boxFiles, fn func(x *index.Index) error) error {
	dir, err := index.OpenDir(b.index)
	if errors.Is(err, index.ErrNotExist) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	x, err := index.Open(dir, s.boxOptions(b))
	defer func() { x.Close() }()
	if err == nil {
		_, err = x.Lock(ctx)
	}
	if err == nil {
		if err = x.Load(); err != nil {
			x.Abandon()
		}
	}
	if errors.Is(err, index.ErrDamaged) || errors.Is(err, index.ErrNotExist) {
		if _, err = x.Repair(ctx, RepairBox(s.ix.State().Hdr.UIDValidity(), s.opt.Now)); err == nil {
			_, err = x.Lock(ctx)
		}
	}
	if errors.Is(err, index.ErrDeleted) {
		return nil
	}
	if err != nil {
		return err
	}
	defer x.Unlock()
	if x.State().Deleted() {
		return nil
	}
	if err := x.Load(); err != nil {
		return err
	}
	if err := fn(x); err != nil || !s.opt.Fsync.Saves() {
		return err
	}
	log := x.Log()
	defer log.Close()
	return log.Flush()
}

// RepairBox returns how to repair the index of a mailbox: all messages stay whose
// records can still be read. Those without text go when the storage is rebuilt.
func RepairBox(mapValidity uint32, now func() time.Time) index.Rebuild {
	return index.Rebuild{
		Files: func(old *index.State) ([]uint32, error) {
			uids := make([]uint32, 0, old.Len())
			ext := old.ExtNumber(ExtMail.Name)
			for i := range old.Len() {
				if _, ok := DecodeMail(old.ExtRecord(i, ext)); ok {
					uids = append(uids, old.UID(i))
				}
			}
			return uids, nil
		},
		UIDValidity: func() uint32 { return uint32(now().Unix()) },
		Whole: func(old *index.State) bool {
			_, ok := DecodeHeader(old.ExtHeader(ExtHeader.Name))
			return ok && (old.Len() == 0 || old.ExtNumber(ExtMail.Name) >= 0)
		},
		Finish: func(old *index.State, tx *index.Tx) {
			h, ok := DecodeHeader(old.ExtHeader(ExtHeader.Name))
			if !ok {
				h = Header{MapValidity: mapValidity, GUID: dbox.NewGUID()}
			}
			tx.Intro(&ExtHeader)
			tx.ExtHeader(0, h.Append(nil))
			tx.Intro(&ExtMail)
			tx.Intro(&ExtGUID)
		},
	}
}

// mendBox makes a mailbox agree with the messages found, and counts its
// references.
func (r *rebuilding) mendBox(ctx context.Context, b boxFiles) error {
	return r.s.withBox(ctx, b, func(x *index.Index) error {
		var tx index.Tx
		st := x.State()
		h, _ := DecodeHeader(st.ExtHeader(ExtHeader.Name))
		sameMap := h.MapValidity == r.before.validity
		var gone []index.Expunged
		var uids []uint32
		var data []byte
		mail, guid := st.ExtNumber(ExtMail.Name), st.ExtNumber(ExtGUID.Name)
		for i := range st.Len() {
			m, _ := DecodeMail(st.ExtRecord(i, mail))
			var g [16]byte
			copy(g[:], st.ExtRecord(i, guid))
			f := r.messageOf(m.MapUID, g, sameMap)
			if f == nil {
				gone = append(gone, index.Expunged{UID: st.UID(i), GUID: g})
				continue
			}
			f.refs++
			if f.uid != m.MapUID {
				m.MapUID = f.uid
				uids = append(uids, st.UID(i))
				data = m.Append(data)
			}
		}
		if validity := r.s.ix.State().Hdr.UIDValidity(); h.MapValidity != validity {
			h.MapValidity = validity
			tx.Intro(&ExtHeader)
			tx.ExtHeader(0, h.Append(nil))
		}
		if len(uids) > 0 {
			tx.Intro(&ExtMail)
			tx.ExtRecords(uids, MailRecordSize, data)
		}
		if len(gone) > 0 {
			r.s.opt.Log.Errorf("Mailbox %s: the text of %d messages is lost; they were expunged", b.name, len(gone))
			tx.Expunge(gone)
		}
		if st.Hdr.Fsckd() {
			tx.ClearFsckd(&st.Hdr)
		}
		return x.Commit(&tx)
	})
}

// messageOf returns the message that a mailbox refers to, nil if it is lost.
func (r *rebuilding) messageOf(uid uint32, guid [16]byte, sameMap bool) *found {
	f := r.byUID[uid]
	if !sameMap || f == nil || !f.known {
		f = nil
	}
	if guid == [16]byte{} || f != nil && (f.unseen || IsGUID(f.guidText, guid)) {
		return f
	}
	return r.byGUID[guid]
}

// IsGUID tells whether the text that a message has for its GUID is that of a mailbox's record. One
// digit may be damaged.
func IsGUID(text string, guid [16]byte) bool {
	if dbox.GUID128(text) == guid {
		return true
	}
	digits := hex.EncodeToString(guid[:])
	if len(text) != len(digits) {
		return false
	}
	wrong := 0
	for i := range digits {
		if text[i] != digits[i] {
			wrong++
		}
	}
	return wrong <= 1
}

// giveOrphans gives messages that no mailbox has, and should have, to the mailbox
// they were saved for.
func (r *rebuilding) giveOrphans(ctx context.Context, boxes []boxFiles) error {
	orphans := make(map[string][]*found)
	there := make(map[[16]byte]bool)
	for _, f := range r.all {
		if f.known || f.refs > 0 {
			there[f.guid] = true
		}
	}
	for _, f := range r.all {
		if f.refs > 0 || f.unseen || f.known && f.had == 0 {
			continue
		}
		if f.guid != ([16]byte{}) && !f.known {
			if there[f.guid] {
				continue // what a purge left that was killed
			}
			there[f.guid] = true
		}
		name := f.mailbox
		if !slices.ContainsFunc(boxes, func(b boxFiles) bool { return b.name == name }) {
			name = inbox
		}
		orphans[name] = append(orphans[name], f)
	}
	for _, b := range boxes {
		if list := orphans[b.name]; len(list) > 0 {
			if err := r.appendOrphans(ctx, b, list); err != nil {
				return err
			}
			delete(orphans, b.name)
		}
	}
	for _, list := range orphans {
		for _, f := range list {
			f.refs = 1 // there is no INBOX yet; it must not be purged
		}
		r.s.opt.Log.Errorf("mdbox storage %s: %d messages belong to no mailbox, and there is no INBOX", r.s.opt.Dir, len(list))
	}
	return nil
}

func (r *rebuilding) appendOrphans(ctx context.Context, b boxFiles, list []*found) error {
	return r.s.withBox(ctx, b, func(x *index.Index) error {
		slices.SortFunc(list, func(a, b *found) int { return int(int64(a.uid) - int64(b.uid)) })
		var tx index.Tx
		var news []index.New
		var uids []uint32
		var mails, guids []byte
		now := uint32(r.s.opt.Now().Unix())
		uid := x.State().Hdr.NextUID()
		for _, f := range list {
			news = append(news, index.New{UID: uid})
			uids = append(uids, uid)
			m := Mail{f.uid, now}
			mails = m.Append(mails)
			guids = append(guids, f.guid[:]...)
			uid++
		}
		tx.Append(news...)
		tx.Intro(&ExtMail)
		tx.ExtRecords(uids, MailRecordSize, mails)
		tx.Intro(&ExtGUID)
		tx.ExtRecords(uids, len(list[0].guid), guids)
		if err := x.Commit(&tx); err != nil {
			return err
		}
		for _, f := range list {
			f.refs = 1
		}
		r.s.opt.Log.Warningf("Mailbox %s: %d messages that no mailbox had were put back", b.name, len(list))
		return nil
	})
}
