package mailbox

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/attachment"
	"github.com/dovetail-mail/dovetail/internal/mda/store/commit"
	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// sdbox has one file u.<uid> for each message, and nothing else outside of the
// index.
type sdbox struct{}

func (sdbox) Create(_ context.Context, f *Files, id Identity, tx *index.Tx) error {
	tx.Intro(&extDboxHdr)
	tx.ExtHeader(0, encodeDboxHdr(0, id.GUID, 0))
	return nil
}

func (sdbox) Open(_ context.Context, f *Files) (Store, error) {
	s := &sdboxStore{Files: f}
	var err error
	if s.packing, err = newPacking(f); err == nil {
		err = s.openAlt()
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// An sdboxStore is the mail files of a mailbox.
type sdboxStore struct {
	*Files
	packing
	guid  [16]byte // of the mailbox, as the index had it last
	altMu sync.Mutex
	alt   *index.Dir // nil for none
}

func (s *sdboxStore) Close() {
	s.packing.close()
	if s.alt != nil {
		s.alt.Close()
		s.alt = nil
	}
}

func (s *sdboxStore) Identity(st *index.State) (guid [16]byte, ok bool) {
	s.guid, ok = s.identityOf(st)
	return s.guid, ok
}

func (s *sdboxStore) identityOf(st *index.State) (guid [16]byte, ok bool) {
	_, guid, _, ok = decodeDboxHdr(st.ExtHeader(extDboxHdr.Name))
	return guid, ok
}

// attachmentSuffix ends the names of the attachments of a message.
func (s *sdboxStore) attachmentSuffix(guid [16]byte, uid uint32) string {
	b := hex.AppendEncode([]byte{'-'}, guid[:])
	return string(strconv.AppendUint(append(b, '-'), uint64(uid), 10))
}

// An sdboxWriter is a mail file with a temporary name.
type sdboxWriter struct {
	*dbox.Writer
	files *Files
}

func (s *sdboxStore) NewWriter(now time.Time) Writer {
	w := dbox.NewWriter(s.Dir, now)
	s.prepare(w)
	return sdboxWriter{w, s.Files}
}

// Finish completes the mail file and has it written to disk: the log must not
// know of a message whose text a power failure could take.
func (d sdboxWriter) Finish(opt *SaveOptions) error {
	err := d.Writer.Finish(&dbox.Fields{Received: opt.Received, GUID: opt.GUID, POP3UIDL: opt.POP3UIDL})
	if err != nil {
		return err
	}
	recorded, err := d.files.record(d.FD(), d.Name())
	if recorded {
		return d.files.Journal.Sync()
	}
	if err == nil {
		err = d.files.Flush(d.FD())
	}
	return err
}

func (s *sdboxStore) Place(news []New) error {
	for i := range news {
		if err := s.placeOne(&news[i]); err != nil {
			s.Unplace(news[:i])
			return err
		}
	}
	return nil
}

// temp returns the temporary name of a file to be placed.
func (n *New) temp() string {
	if d, ok := n.Writer.(sdboxWriter); ok {
		return d.Name()
	}
	return n.Name
}

func (s *sdboxStore) placeOne(n *New) error {
	if err := s.placeAttachments(n); err != nil {
		return err
	}
	var err error
	if s.Journal != nil && len(n.attachmentsOf()) > 0 {
		err = s.attachments.FlushAll()
	}
	if err == nil {
		err = s.placeFile(n)
	}
	if err != nil {
		s.unplaceAttachments(n)
	}
	return err
}

func (s *sdboxStore) placeFile(n *New) error {
	name := dbox.FileName(n.UID)
	var err error
	if n.Source != nil {
		err = unix.Linkat(n.Source.FD, n.Name, s.Dir.FD, name, 0)
	} else {
		err = unix.Renameat2(s.Dir.FD, n.temp(), s.Dir.FD, name, unix.RENAME_NOREPLACE)
	}
	switch {
	case err == nil:
		return s.recordPlaced(n, name)
	case n.Source != nil && errors.Is(err, unix.ENOENT):
		return ErrExpunged // the source, by somebody else, a moment ago
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%w: %s", errUnknownFile, s.Dir.File(name))
	}
	return sysError("rename", s.Dir.File(name), err)
}

// recordPlaced has the journal know of a name, with the file if that is a link of another.
func (s *sdboxStore) recordPlaced(n *New, name string) error {
	if s.Journal == nil {
		return nil
	}
	if n.Source == nil {
		s.Journal.Placed(s.Dir.Path, n.temp(), name)
		return nil
	}
	err := s.recordLink(name)
	if err != nil {
		_ = s.Dir.Remove(name)
	}
	return err
}

// recordLink has a link durable. The original may be in the journal only, and may go before the link.
func (s *sdboxStore) recordLink(name string) error {
	fd, _, err := s.Dir.OpenRegular(name, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	recorded, err := s.record(fd, name)
	if recorded {
		s.Journal.Placed(s.Dir.Path, name, name)
		return nil
	}
	if err == nil {
		err = commit.Data(fd)
	}
	if err == nil {
		err = commit.Dir(s.Dir.FD)
	}
	return err
}

func (s *sdboxStore) Unplace(news []New) {
	for i := range news {
		n := &news[i]
		name := dbox.FileName(n.UID)
		s.recordRemoved(name)
		if n.Source != nil {
			_ = s.Dir.Remove(name)
		} else if err := s.Dir.Rename(name, n.temp()); err != nil {
			s.Log.Errorf("Mailbox %s: %v", s.Location.Name, err)
		}
		s.unplaceAttachments(n)
	}
}

// attachmentsOf returns what was cut out of a new message.
func (n *New) attachmentsOf() []attachment.Ref {
	if d, ok := n.Writer.(sdboxWriter); ok {
		return d.Attachments()
	}
	return n.attached
}

// placeAttachments gives the attachments of a message their last names, which have its uid in
// them; a shared message gets links of the original's.
func (s *sdboxStore) placeAttachments(n *New) error {
	refs := n.attachmentsOf()
	suffix := s.attachmentSuffix(s.guid, n.UID)
	for i := range refs {
		p := refs[i].Path
		var err error
		if n.Writer != nil {
			err = s.attachments.Rename(p, p+suffix)
		} else {
			err = s.attachments.Link(p+n.attachedTo, p+suffix)
		}
		if err != nil {
			s.undoAttachments(n, refs[:i])
			return fmt.Errorf("attachment %s: %w", p, err)
		}
	}
	return nil
}

func (s *sdboxStore) unplaceAttachments(n *New) { s.undoAttachments(n, n.attachmentsOf()) }

func (s *sdboxStore) undoAttachments(n *New, refs []attachment.Ref) {
	suffix := s.attachmentSuffix(s.guid, n.UID)
	for i := range refs {
		p := refs[i].Path
		var err error
		if n.Writer != nil {
			err = s.attachments.Rename(p+suffix, p)
		} else {
			err = s.attachments.Remove(p + suffix)
		}
		if err != nil {
			s.Log.Errorf("Mailbox %s: attachment %s: %v", s.Location.Name, p, err)
		}
	}
}

// Record notes that there are messages with an own POP3 UIDL.
func (s *sdboxStore) Record(tx *index.Tx, st *index.State, news iter.Seq[*New]) {
	rebuilds, guid, flags, ok := decodeDboxHdr(st.ExtHeader(extDboxHdr.Name))
	if !ok || flags&dboxHasPOP3UIDL != 0 {
		return
	}
	for n := range news {
		if n.UIDL {
			tx.Intro(&extDboxHdr)
			tx.ExtHeader(0, encodeDboxHdr(rebuilds, guid, flags|dboxHasPOP3UIDL))
			return
		}
	}
}

// maxLinks is how many mailboxes share a file; ext4 allows 65000.
const maxLinks = 60000

// Share finds the file of a message, for linking it. Where that is impossible it
// makes a temporary copy.
func (s *sdboxStore) Share(_ context.Context, from Store, st *index.State, i int, n *New) (ok bool, err error) {
	src, ok := from.(*sdboxStore)
	if !ok {
		return false, nil
	}
	n.Source, n.Name = src.Dir, dbox.FileName(st.UID(i))
	var file, dir unix.Stat_t
	err = src.Dir.Stat(n.Name, &file)
	if alt := src.altDir(); errors.Is(err, unix.ENOENT) && alt != nil {
		n.Source = alt
		err = alt.Stat(n.Name, &file)
	}
	if err == nil && (src.attachments != nil || s.attachments != nil) {
		if ok, err = s.shareAttachments(src, st, i, n); !ok {
			return ok, err
		}
	}
	if errors.Is(err, unix.ENOENT) {
		return false, ErrExpunged
	}
	if err == nil {
		err = unix.Fstat(s.Dir.FD, &dir)
	}
	if err != nil {
		return false, err
	}
	if file.Dev == dir.Dev && file.Nlink < maxLinks && file.Uid == uint32(unix.Geteuid()) {
		return true, nil
	}
	return true, s.copyFile(n)
}

// copyFile copies the source file as it is, GUID included.
func (s *sdboxStore) copyFile(n *New) error {
	f, err := dbox.Open(n.Source, n.Name)
	if err != nil {
		return err
	}
	defer f.Close()
	temp, err := f.CopyTo(s.Dir, s.Flush)
	if err != nil {
		return err
	}
	n.Source, n.Name = nil, temp
	return nil
}

// shareAttachments notes the attachments of a message to be shared. ok is false if they are in
// another directory than those of this mailbox.
func (s *sdboxStore) shareAttachments(src *sdboxStore, st *index.State, i int, n *New) (ok bool, err error) {
	f, err := dbox.Open(n.Source, n.Name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if n.attached, err = f.Attachments(); err != nil {
		return false, err
	}
	if len(n.attached) > 0 && !s.attachments.Same(src.attachments) {
		*n = New{Flags: n.Flags, Keywords: n.Keywords, vsize: n.vsize}
		return false, nil
	}
	guid, _ := src.identityOf(st)
	n.attachedTo = src.attachmentSuffix(guid, st.UID(i))
	return true, nil
}

func (s *sdboxStore) Discard(n *New) {
	if n.Source == nil && n.Name != "" {
		_ = s.Dir.Remove(n.Name)
	}
}

func (s *sdboxStore) Open(_ context.Context, st *index.State, i int) (File, error) {
	uid := st.UID(i)
	f, err := s.openFile(uid, st.Flags(i)&inAlt != 0)
	if err != nil {
		return nil, err
	}
	v := s.view
	if s.attachments != nil {
		guid, _ := s.identityOf(st)
		v.Suffix = s.attachmentSuffix(guid, uid)
	}
	return openText(f, &v, f.ChangeTime(), [16]byte{})
}

// openFile opens the file of a message in either storage.
func (s *sdboxStore) openFile(uid uint32, altFirst bool) (f *dbox.File, err error) {
	name := dbox.FileName(uid)
	dirs := [2]*index.Dir{s.Dir, s.altDir()}
	if altFirst && dirs[1] != nil {
		dirs[0], dirs[1] = dirs[1], dirs[0]
	}
	for _, dir := range dirs {
		if dir == nil {
			continue
		}
		if f, err = dbox.Open(dir, name); !errors.Is(err, dbox.ErrNotExist) {
			return f, err
		}
	}
	if altFirst && s.altDir() == nil {
		return nil, fmt.Errorf("%w: %s: %v", errNoAlt, s.Location.AltDir, err)
	}
	return nil, err
}

// GUID is not in the index of an sdbox.
func (s *sdboxStore) GUID(*index.State, int) (guid [16]byte, ok bool) { return guid, false }

// An sdboxRemoval is the mail files to remove.
type sdboxRemoval struct {
	s    *sdboxStore
	uids []uint32
}

func (s *sdboxStore) NewRemoval(context.Context) (Removal, error) { return &sdboxRemoval{s: s}, nil }

func (r *sdboxRemoval) Add(st *index.State, i int) { r.uids = append(r.uids, st.UID(i)) }

func (r *sdboxRemoval) Before() error { return nil }

func (r *sdboxRemoval) After(bool) {}

func (r *sdboxRemoval) Done() {
	for _, uid := range r.uids {
		if err := r.s.removeFiles(uid); err != nil {
			r.s.Log.Errorf("Mailbox %s: %v", r.s.Location.Name, err)
		}
	}
}

// removeFiles removes the file of a message in both storages, then its attachments.
func (s *sdboxStore) removeFiles(uid uint32) error {
	var refs []attachment.Ref
	if s.attachments != nil {
		if f, err := s.openFile(uid, false); err == nil {
			refs, err = f.Attachments()
			f.Close()
			if err != nil {
				s.Log.Warningf("Mailbox %s: UID=%d: %v", s.Location.Name, uid, err)
			}
		}
	}
	name := dbox.FileName(uid)
	s.recordRemoved(name)
	err := s.Dir.Remove(name)
	if alt := s.altDir(); err == nil && alt != nil {
		err = alt.Remove(name)
	}
	if err == nil && len(refs) > 0 {
		err = s.attachments.RemoveAll(refs, s.attachmentSuffix(s.guid, uid))
	}
	return err
}

// recordRemoved has the journal know that a file is about to go for good.
func (s *sdboxStore) recordRemoved(name string) {
	if s.Journal != nil {
		s.Journal.Removed(s.Dir.Path, name)
	}
}

func (s *sdboxStore) Rebuilding() index.Rebuild {
	return index.Rebuild{
		Files:       s.listFiles,
		UIDValidity: func() uint32 { return uint32(time.Now().Unix()) },
		Whole:       func(old *index.State) bool { _, ok := s.identityOf(old); return ok },
		Finish: func(old *index.State, tx *index.Tx) {
			rebuilds, guid, flags, ok := decodeDboxHdr(old.ExtHeader(extDboxHdr.Name))
			if !ok {
				guid = dbox.NewGUID()
			}
			tx.Intro(&extDboxHdr)
			tx.ExtHeader(0, encodeDboxHdr(rebuilds+1, guid, flags))
			tx.Intro(&extHdrVsize)
			tx.Intro(&extVsize)
		},
	}
}

// listFiles returns the uids of all mail files. Those of a second storage that is not there
// are as the index had them.
func (s *sdboxStore) listFiles(old *index.State) ([]uint32, error) {
	l, err := dbox.List(s.Dir)
	if err != nil {
		return nil, err
	}
	uids := l.UIDs
	if alt := s.altDir(); alt != nil {
		more, err := dbox.List(alt)
		if err != nil {
			return nil, err
		}
		uids = append(uids, more.UIDs...)
	} else {
		for i := range old.Len() {
			if old.Flags(i)&inAlt != 0 {
				uids = append(uids, old.UID(i))
			}
		}
	}
	slices.Sort(uids)
	return slices.Compact(uids), nil
}

// Mend repairs a damaged mail file.
func (s *sdboxStore) Mend(uid uint32) (kept bool, original string, err error) {
	name := dbox.FileName(uid)
	dir := s.Dir
	var st unix.Stat_t
	if alt := s.altDir(); alt != nil && errors.Is(dir.Stat(name, &st), unix.ENOENT) {
		dir = alt
	}
	kept, err = dbox.Repair(dir, name)
	return kept, dir.File(name) + dbox.BrokenSuffix, err
}

func (s *sdboxStore) RemoveStale(now time.Time) error {
	var errs []error
	for _, dir := range []*index.Dir{s.Dir, s.altDir()} {
		if dir == nil {
			continue
		}
		l, err := dbox.List(dir)
		if err == nil {
			err = l.RemoveStale(dir, now)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

var _ Mender = (*sdboxStore)(nil)
