package mailbox

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"golang.org/x/sys/unix"

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
	if f.Location.AltDir == "" {
		return s, nil
	}
	var err error
	s.alt, err = index.OpenDir(f.Location.AltDir)
	if errors.Is(err, index.ErrNotExist) {
		return s, nil // nothing was ever moved there
	}
	return s, err
}

// An sdboxStore is the mail files of a mailbox.
type sdboxStore struct {
	*Files
	alt *index.Dir // nil for none
}

func (s *sdboxStore) Close() {
	if s.alt != nil {
		s.alt.Close()
		s.alt = nil
	}
}

func (s *sdboxStore) Identity(st *index.State) (guid [16]byte, ok bool) {
	_, guid, _, ok = decodeDboxHdr(st.ExtHeader(extDboxHdr.Name))
	return guid, ok
}

// An sdboxWriter is a mail file with a temporary name.
type sdboxWriter struct {
	*dbox.Writer
	files *Files
}

func (s *sdboxStore) NewWriter(now time.Time) Writer {
	return sdboxWriter{dbox.NewWriter(s.Dir, now), s.Files}
}

// Finish completes the mail file and has it written to disk: the log must not
// know of a message whose text a power failure could take.
func (d sdboxWriter) Finish(opt *SaveOptions) error {
	err := d.Writer.Finish(&dbox.Fields{Received: opt.Received, GUID: opt.GUID, POP3UIDL: opt.POP3UIDL})
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
	name := dbox.FileName(n.UID)
	for try := 0; ; try++ {
		var err error
		if n.Source != nil {
			err = unix.Linkat(n.Source.FD, n.Name, s.Dir.FD, name, 0)
		} else {
			err = unix.Renameat2(s.Dir.FD, n.temp(), s.Dir.FD, name, unix.RENAME_NOREPLACE)
		}
		if err == nil {
			return nil
		}
		if n.Source != nil && errors.Is(err, unix.ENOENT) {
			return ErrExpunged // the source, by somebody else, a moment ago
		}
		if !errors.Is(err, unix.EEXIST) || try > 0 {
			return fmt.Errorf("rename(%s): %w", s.Dir.File(name), err)
		}
		if err := s.moveAside(name); err != nil {
			return err
		}
	}
}

// moveAside handles a mail file with a uid that no message has yet: the writer
// was killed before it appended to the log, so nobody was told that the message
// was saved. As a temporary file it is removed after some time.
func (s *sdboxStore) moveAside(name string) error {
	temp := dbox.TempName()
	s.Log.Warningf("Mailbox %s: %s belongs to no message; renamed to %s", s.Location.Name, s.Dir.File(name), temp)
	return s.Dir.Rename(name, temp)
}

func (s *sdboxStore) Unplace(news []New) {
	for i := range news {
		n := &news[i]
		name := dbox.FileName(n.UID)
		if n.Source != nil {
			_ = s.Dir.Remove(name)
		} else if err := s.Dir.Rename(name, n.temp()); err != nil {
			s.Log.Errorf("Mailbox %s: %v", s.Location.Name, err)
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
	if errors.Is(err, unix.ENOENT) && src.alt != nil {
		n.Source = src.alt
		err = src.alt.Stat(n.Name, &file)
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

func (s *sdboxStore) Discard(n *New) {
	if n.Source == nil && n.Name != "" {
		_ = s.Dir.Remove(n.Name)
	}
}

// An sdboxFile is an open mail file.
type sdboxFile struct{ *dbox.File }

func (s *sdboxStore) Open(_ context.Context, st *index.State, i int) (File, error) {
	name := dbox.FileName(st.UID(i))
	f, err := dbox.Open(s.Dir, name)
	if errors.Is(err, dbox.ErrNotExist) && s.alt != nil {
		f, err = dbox.Open(s.alt, name)
	}
	if err != nil {
		return nil, err
	}
	return sdboxFile{f}, nil
}

// Details reads the metadata.
func (f sdboxFile) Details() (*Details, error) { return detailsOf(f.File, f.ChangeTime()) }

// detailsOf reads the metadata of a message saved then.
func detailsOf(f *dbox.File, saved time.Time) (*Details, error) {
	meta, err := f.Metadata()
	if err != nil {
		return nil, err
	}
	d := &Details{Saved: saved, GUID: meta.Get(dbox.KeyGUID), UIDL: meta.Get(dbox.KeyPOP3UIDL), Physical: f.Size()}
	if v, ok := meta.Hex(dbox.KeyPhysicalSize); ok {
		d.Physical = v
	}
	var ok bool
	if d.Received, ok = meta.Received(); !ok {
		d.Received = d.Saved
	}
	if d.Virtual, ok = meta.Hex(dbox.KeyVirtualSize); !ok {
		d.Virtual, err = f.VirtualSize()
	}
	return d, err
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
		name := dbox.FileName(uid)
		err := r.s.Dir.Remove(name)
		if err == nil && r.s.alt != nil {
			err = r.s.alt.Remove(name)
		}
		if err != nil {
			r.s.Log.Errorf("Mailbox %s: %v", r.s.Location.Name, err)
		}
	}
}

func (s *sdboxStore) Rebuilding() index.Rebuild {
	return index.Rebuild{
		Files:       func(*index.State) ([]uint32, error) { return s.listFiles() },
		UIDValidity: func() uint32 { return uint32(time.Now().Unix()) },
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

// listFiles returns the uids of all mail files.
func (s *sdboxStore) listFiles() ([]uint32, error) {
	l, err := dbox.List(s.Dir)
	if err != nil {
		return nil, err
	}
	if s.alt == nil {
		return l.UIDs, nil
	}
	more, err := dbox.List(s.alt)
	if err != nil {
		return nil, err
	}
	uids := append(l.UIDs, more.UIDs...)
	slices.Sort(uids)
	return slices.Compact(uids), nil
}

// Mend repairs a damaged mail file.
func (s *sdboxStore) Mend(uid uint32) (kept bool, original string, err error) {
	name := dbox.FileName(uid)
	kept, err = dbox.Repair(s.Dir, name)
	return kept, s.Dir.File(name) + dbox.BrokenSuffix, err
}

func (s *sdboxStore) RemoveStale(now time.Time) error {
	l, err := dbox.List(s.Dir)
	if err != nil {
		return err
	}
	return l.RemoveStale(s.Dir, now)
}

var _ Mender = (*sdboxStore)(nil)
