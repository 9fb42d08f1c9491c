package mailbox

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mbox"
)

// mboxFormat has all messages in one file, which other programs change too (package mbox).
type mboxFormat struct{}

// The index extensions of an mbox: up to where the index knows the file, with the mailbox's
// GUID, and where each message begins; the messages' GUIDs.
var (
	extMbox      = index.ExtDef{Name: "mbox", HdrSize: 32, RecordSize: 8, RecordAlign: 8}
	extHeaderMD5 = index.ExtDef{Name: "header-md5", RecordSize: 16, RecordAlign: 1}
)

// An mboxHeader is the header of the extension.
type mboxHeader struct {
	size  int64 // of the file when the index agreed with it
	mtime uint32
	dirty bool // what was there before was not looked at since
	guid  [16]byte
}

func decodeMboxHeader(b []byte) (h mboxHeader) {
	if len(b) < 32 {
		return h
	}
	h.size, h.mtime, h.dirty = int64(binary.LittleEndian.Uint64(b)), binary.LittleEndian.Uint32(b[8:]), b[12] != 0
	copy(h.guid[:], b[16:])
	return h
}

func (h *mboxHeader) encode() []byte {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, 32), uint64(h.size))
	b = binary.LittleEndian.AppendUint32(b, h.mtime)
	b = append(b, 0, 0, 0, 0)
	if h.dirty {
		b[12] = 1
	}
	return append(b, h.guid[:]...)
}

// Prepare looks for the file, and makes the directory of the index if it is missing.
func (mboxFormat) Prepare(loc *Location) error {
	st, err := os.Stat(loc.File)
	if err == nil && st.IsDir() {
		err = unix.EISDIR
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EISDIR) {
		return ErrNotExist
	}
	if err != nil {
		return err
	}
	return makeMboxDirs(loc)
}

func makeMboxDirs(loc *Location) error {
	for _, dir := range [...]string{loc.Dir, loc.indexDir()} {
		if _, err := os.Stat(dir); err == nil {
			continue
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// MakeDir makes the file. What is left of an index of another one is removed, but
// for INBOX, which other programs remove when it is empty.
func (mboxFormat) MakeDir(loc *Location) error {
	if err := os.MkdirAll(filepath.Dir(loc.File), 0o700); err != nil {
		return err
	}
	dir, err := index.OpenDir(filepath.Dir(loc.File))
	if err != nil {
		return err
	}
	defer dir.Close()
	if loc.Name == "INBOX" {
		dir.Mode = 0o600 // that of /var/mail says nothing of who may read mail
	}
	fd, err := dir.Create(filepath.Base(loc.File))
	if errors.Is(err, unix.EEXIST) {
		return ErrExists
	}
	if err != nil {
		return sysError("open", loc.File, err)
	}
	if err := unix.Close(fd); err != nil {
		return err
	}
	if loc.Name != "INBOX" {
		if err := removeFilesOf(loc.indexDir()); err != nil {
			return err
		}
	}
	return makeMboxDirs(loc)
}

// Create records the GUID. The file is there, and stays empty.
func (mboxFormat) Create(_ context.Context, f *Files, id Identity, tx *index.Tx) error {
	h := mboxHeader{guid: id.GUID}
	tx.Intro(&extMbox)
	tx.ExtHeader(0, h.encode())
	tx.Intro(&extHeaderMD5)
	if !f.Fsync.Saves() {
		return nil
	}
	dir, err := index.OpenDir(filepath.Dir(f.Location.File))
	if err != nil {
		return err
	}
	defer dir.Close()
	return unix.Fsync(dir.FD)
}

// Open also makes an index where there is none, as for the file of another program.
func (m mboxFormat) Open(_ context.Context, f *Files) (Store, error) {
	s, err := openMbox(f)
	if err != nil {
		return nil, err
	}
	if err := s.makeIndex(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// mboxLockTimeout is the default of mbox_lock_timeout.
const mboxLockTimeout = 5 * time.Minute

func openMbox(f *Files) (*mboxStore, error) {
	set := f.Settings
	read, write, err := mbox.ParseLocks(set.MboxReadLocks, set.MboxWriteLocks)
	if err != nil {
		return nil, err
	}
	timeout := set.MboxLockTimeout
	if timeout == 0 {
		timeout = mboxLockTimeout
	}
	if set.MaxLockTimeout > 0 {
		timeout = min(timeout, set.MaxLockTimeout)
	}
	digest := mbox.DigestAPOP3D
	if set.MboxMD5 == "all" {
		digest = mbox.DigestAll
	}
	return &mboxStore{Files: f, box: mbox.Open(mbox.Options{
		Name: f.Location.Name, Path: f.Location.File, Dir: f.IndexDir, Log: f.Log,
		ReadLocks: read, WriteLocks: write, LockTimeout: timeout, DotlockStale: set.MboxDotlockTimeout,
		Digest: digest, Sync: f.Fsync.Saves(),
	})}, nil
}

// An mboxStore is the file of one mailbox.
type mboxStore struct {
	*Files
	box *mbox.Box

	full     bool     // the next scan looks at all messages
	validity uint32   // of the index, and
	keywords []string // its keywords, when it was last looked at
	placed   map[*New]int64
	watched  int // generation of the file that is watched
}

func (s *mboxStore) Close() { s.box.Close() }

// makeIndex makes the index if there is none.
func (s *mboxStore) makeIndex() error {
	var st unix.Stat_t
	for _, name := range [...]string{index.LogName, index.IndexName} {
		if err := s.IndexDir.Stat(name, &st); !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	if _, err := s.box.BaseOf(); err != nil {
		return err // not an mbox
	}
	var tx index.Tx
	h := mboxHeader{guid: dbox.NewGUID()}
	tx.Intro(&extMbox)
	tx.ExtHeader(0, h.encode())
	tx.Intro(&extHeaderMD5)
	tx.Intro(&extHdrVsize)
	tx.Intro(&extVsize)
	tx.Intro(&extPOP3UIDL)
	tx.UIDValidity(s.uidValidity())
	x, err := index.Create(s.IndexDir, indexOptions(s.Log, s.Location, s.Settings), &tx)
	if x != nil {
		x.Close()
	}
	if errors.Is(err, index.ErrExists) {
		return nil
	}
	return err
}

// uidValidity returns that of a mailbox whose index does not know it.
func (s *mboxStore) uidValidity() uint32 {
	if base, err := s.box.BaseOf(); err == nil && base != nil {
		return base.UIDValidity
	}
	return uint32(time.Now().Unix())
}

// Identity is always one: an index that Dovecot has just made gets its GUID by the first
// scan.
func (s *mboxStore) Identity(st *index.State) (guid [16]byte, ok bool) {
	return decodeMboxHeader(st.ExtHeader(extMbox.Name)).guid, true
}

// Lock takes the file's locks.
func (s *mboxStore) Lock(ctx context.Context) (func(), error) {
	unlock, err := s.box.Lock(ctx)
	if errors.Is(err, mbox.ErrLocked) {
		err = fmt.Errorf("%w: %w", index.ErrLocked, err)
	}
	if err != nil {
		return nil, err
	}
	return func() { s.placed = nil; unlock() }, nil
}

// An mboxWriter is a message that is not in the file yet.
type mboxWriter struct {
	*mbox.Writer
	received time.Time
	sender   string
}

func (s *mboxStore) NewWriter(time.Time) Writer { return &mboxWriter{Writer: s.box.NewWriter()} }

func (d *mboxWriter) Finish(opt *SaveOptions) error {
	d.received, d.sender = opt.Received, opt.Sender
	return d.Writer.Finish()
}

// Abort is Close: there is no file.
func (d *mboxWriter) Abort() { d.Close() }

// owner is the sender of messages that have none.
func (s *mboxStore) owner() string {
	name := s.Location.Owner
	if name == "" || strings.Contains(name, "@") {
		return name
	}
	host, _ := os.Hostname()
	return name + "@" + host
}

func (s *mboxStore) Place(news []New) error {
	list := make([]mbox.Placing, len(news))
	base := mbox.Base{UIDValidity: s.validity, Keywords: slices.Clone(s.keywords)}
	for i := range news {
		n := &news[i]
		d := n.Writer.(*mboxWriter)
		list[i] = mbox.Placing{
			Writer: d.Writer, UID: n.UID, Flags: byte(n.Flags & allFlags), Keywords: n.Keywords, Received: d.received, Sender: d.sender,
		}
		if d.sender == "" {
			list[i].Sender = s.owner()
		}
		base.Keywords = addKeywords(base.Keywords, n.Keywords)
	}
	err := s.noteKeywords(base.Keywords)
	if err != nil {
		return err
	}
	before, err := s.box.Append(list, base)
	if err != nil {
		return err
	}
	if s.placed == nil {
		s.placed = make(map[*New]int64)
	}
	s.placed[&news[0]] = before
	for i := range news {
		news[i].offset = list[i].From
	}
	return nil
}

// noteKeywords has the first message list keywords.
func (s *mboxStore) noteKeywords(names []string) error {
	if len(names) == 0 {
		return nil
	}
	base, err := s.box.First()
	if err != nil || base == nil {
		return err
	}
	have := len(base.Keywords)
	if missing := addKeywords(slices.Clone(base.Keywords), names)[have:]; len(missing) > 0 {
		return s.box.NoteKeywords(missing)
	}
	return nil
}

// addKeywords adds those that a list does not have.
func addKeywords(list, names []string) []string {
	for _, name := range names {
		if !hasKeyword(list, name) {
			list = append(list, name)
		}
	}
	return list
}

func hasKeyword(list []string, name string) bool {
	return slices.ContainsFunc(list, func(k string) bool { return strings.EqualFold(k, name) })
}

func (s *mboxStore) Unplace(news []New) { s.box.Cut(s.placed[&news[0]]) }

// Record notes where the messages are. Those with keywords that the first message does not
// list yet are marked, so that this is made up for.
func (s *mboxStore) Record(tx *index.Tx, st *index.State, news iter.Seq[*New]) {
	var uids, behind []uint32
	var offsets, sums []byte
	base, err := s.box.First()
	if err != nil {
		s.Log.Errorf("Mailbox %s: %v", s.Location.Name, err)
	}
	for n := range news {
		uids = append(uids, n.UID)
		offsets = binary.LittleEndian.AppendUint64(offsets, uint64(n.offset))
		sum := n.Writer.(*mboxWriter).MD5()
		sums = append(sums, sum[:]...)
		if base == nil || len(addKeywords(base.Keywords, n.Keywords)) > len(base.Keywords) {
			behind = append(behind, n.UID)
		}
	}
	s.recordHeader(tx, st, decodeMboxHeader(st.ExtHeader(extMbox.Name)).dirty)
	tx.ExtRecords(uids, 8, offsets)
	tx.Intro(&extHeaderMD5)
	tx.ExtRecords(uids, 16, sums)
	if len(behind) > 0 {
		tx.Flags(index.AppendRanges(nil, behind), dirtyFlag, 0)
	}
}

// recordHeader records that the index agrees with the file as it is now.
func (s *mboxStore) recordHeader(tx *index.Tx, st *index.State, dirty bool) {
	h := decodeMboxHeader(st.ExtHeader(extMbox.Name))
	stamp, err := s.box.Synced()
	if err != nil {
		s.box.Distrust()
	}
	if h.guid == [16]byte{} {
		h.guid = dbox.NewGUID()
	}
	h.size, h.mtime, h.dirty = stamp.Size, uint32(stamp.Mtime.Sec), dirty
	tx.Intro(&extMbox)
	tx.ExtHeader(0, h.encode())
	s.validity, s.keywords = st.Hdr.UIDValidity(), st.Keywords
}

// Share cannot be done.
func (s *mboxStore) Share(context.Context, Store, *index.State, int, *New) (ok bool, err error) {
	return false, nil
}

// Discard has nothing to do.
func (s *mboxStore) Discard(*New) {}

// place returns what the index knows of a message.
func (s *mboxStore) place(st *index.State, i int) mbox.Place {
	pl := mbox.Place{UID: st.UID(i), From: mboxOffset(st, i), MD5: mboxMD5(st, i)}
	if i+1 < st.Len() {
		pl.End = mboxOffset(st, i+1)
	}
	return pl
}

func mboxOffset(st *index.State, i int) int64 {
	if e := st.ExtNumber(extMbox.Name); e >= 0 {
		if b := st.ExtRecord(i, e); len(b) >= 8 {
			return int64(binary.LittleEndian.Uint64(b) & (1<<63 - 1))
		}
	}
	return 0
}

func mboxMD5(st *index.State, i int) (sum [16]byte) {
	if e := st.ExtNumber(extHeaderMD5.Name); e >= 0 {
		copy(sum[:], st.ExtRecord(i, e))
	}
	return sum
}

// An mboxFile is an open message.
type mboxFile struct {
	*mbox.File
	virtual int64 // -1 if the index does not know it
}

func (s *mboxStore) Open(ctx context.Context, st *index.State, i int) (File, error) {
	f, err := s.box.OpenFile(ctx, s.place(st, i))
	switch {
	case errors.Is(err, mbox.ErrMoved):
		return nil, fmt.Errorf("%w: %w", ErrMissing, err)
	case errors.Is(err, mbox.ErrLocked):
		return nil, fmt.Errorf("%w: %w", index.ErrLocked, err)
	case err != nil:
		return nil, err
	}
	m := &mboxFile{File: f, virtual: -1}
	if e := st.ExtNumber(extVsize.Name); e >= 0 {
		if v, ok := vsizeOf(st, e, i); ok {
			m.virtual = v
		}
	}
	return m, nil
}

// Details reads the message if its size with CRLF line ends is not known otherwise.
func (f *mboxFile) Details() (*Details, error) {
	if f.virtual < 0 {
		v, err := f.VirtualSize()
		if err != nil {
			return nil, err
		}
		f.virtual = v
	}
	return &Details{
		Received: f.Received, Saved: f.Received, GUID: hex.EncodeToString(f.MD5[:]), Physical: f.Size(), Virtual: f.virtual, Sender: f.Sender,
	}, nil
}

// GUID never opens the file, which may be locked by who asks.
func (s *mboxStore) GUID(st *index.State, i int) (guid [16]byte, ok bool) {
	return mboxMD5(st, i), true
}

// An mboxRemoval has nothing to do: Unlink did it.
type mboxRemoval struct{}

func (s *mboxStore) NewRemoval(context.Context) (Removal, error) { return mboxRemoval{}, nil }

func (mboxRemoval) Add(*index.State, int) {}

func (mboxRemoval) Before() error { return nil }

func (mboxRemoval) After(bool) {}

func (mboxRemoval) Done() {}

// RemoveStale has nothing to do: temporary files have no names.
func (s *mboxStore) RemoveStale(time.Time) error { return nil }

// RemoveAll removes the file first: without it the mailbox is none any more.
func (s *mboxStore) RemoveAll() error {
	err := s.box.Remove()
	if err == nil {
		err = removeFilesOf(s.Location.Dir)
	}
	return err
}

// FlushFiles has the file on disk.
func (s *mboxStore) FlushFiles() error { return s.box.Flush() }

// FilesSuffice says that the index can be lost.
func (s *mboxStore) FilesSuffice() {}

// MovesMessages says that offsets may be wrong.
func (s *mboxStore) MovesMessages() {}

// WatchedFile returns the file, for changes by others.
func (s *mboxStore) WatchedFile() string { return s.Location.File }

// Rewatch is called by one at a time.
func (s *mboxStore) Rewatch() bool {
	was := s.watched
	s.watched = s.box.Replaced()
	return s.watched != was
}

var (
	_ Locker      = (*mboxStore)(nil)
	_ Scanner     = (*mboxStore)(nil)
	_ Adopter     = (*mboxStore)(nil)
	_ FlagKeeper  = (*mboxStore)(nil)
	_ Unlinker    = (*mboxStore)(nil)
	_ RecentTaker = (*mboxStore)(nil)
	_ Flusher     = (*mboxStore)(nil)
	_ FileTruth   = (*mboxStore)(nil)
	_ Remover     = (*mboxStore)(nil)
	_ Mover       = (*mboxStore)(nil)
	_ LateWriter  = (*mboxStore)(nil)
	_ FileWatched = (*mboxStore)(nil)
	_ DirMaker    = mboxFormat{}
	_ Preparer    = mboxFormat{}
)
