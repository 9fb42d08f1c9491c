package mailbox

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/mda/store/maildir"
)

// maildirFormat has a file for each message, which other programs add, rename and remove
// too (package maildir).
type maildirFormat struct{}

// extMaildir has the times at which the index agreed with the files.
var extMaildir = index.ExtDef{Name: "maildir", HdrSize: maildir.TimesSize}

// MakeDir makes the directories of a mailbox; its own may be there already.
func (maildirFormat) MakeDir(loc *Location) error {
	made, err := maildir.Exists(loc.Dir)
	if err == nil && made {
		err = ErrExists
	}
	if err == nil {
		err = os.MkdirAll(loc.Dir, 0o700)
	}
	if err == nil && loc.ControlDir != "" {
		err = os.MkdirAll(loc.ControlDir, 0o700)
	}
	if err == nil {
		err = maildir.Make(loc.Dir)
	}
	return err
}

// Create writes the uidlist.
func (m maildirFormat) Create(ctx context.Context, f *Files, id Identity, tx *index.Tx) error {
	s, err := openMaildir(f)
	if err != nil {
		return err
	}
	defer s.Close()
	unlock, err := s.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	tx.Intro(&extMaildir)
	return s.box.Setup(id.UIDValidity, id.GUID)
}

// Open also makes an index where there is none, as in the Maildir of another program.
func (m maildirFormat) Open(ctx context.Context, f *Files) (Store, error) {
	s, err := openMaildir(f)
	if err != nil {
		return nil, err
	}
	if err := s.makeIndex(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func openMaildir(f *Files) (s *maildirStore, err error) {
	s = &maildirStore{Files: f, control: f.Dir, private: maildirPrivate(f)}
	if f.Location.ControlDir != "" {
		if err := os.MkdirAll(f.Location.ControlDir, 0o700); err != nil {
			return nil, err
		}
		if s.control, err = index.OpenDir(f.Location.ControlDir); err != nil {
			return nil, err
		}
	}
	method, level, _ := f.Settings.Compression() // what is wrong with it was logged at login
	s.box, err = maildir.Open(maildir.Options{
		Name: f.Location.Name, Dir: f.Dir, Control: s.control, Log: f.Log, Flush: f.Flush,
		VeryDirty: f.Settings.MaildirVeryDirtySyncs, IgnoreSizes: f.Settings.MaildirBrokenSizes, EmptyNew: f.Settings.MaildirEmptyNew,
		Compressed: f.Settings.zlib(), Method: method, Level: level, Temp: f.Settings.TempDir,
	})
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// sharedName is of a file by which an administrator says that a Maildir is shared.
const sharedName = "dovecot-shared"

// maildirPrivate returns the flags that each user has for himself. With private indexes they
// are there; users of a shared Maildir who have indexes of their own have them in these.
func maildirPrivate(f *Files) byte {
	if f.Location.PrivateDir != "" {
		return byte(privateMask)
	}
	var st unix.Stat_t
	if f.Location.OwnIndex && f.Dir.Stat(sharedName, &st) == nil {
		return byte(privateMask)
	}
	return 0
}

// A maildirStore is the files of one mailbox.
type maildirStore struct {
	*Files
	control *index.Dir // of the uidlist
	box     *maildir.Box
	placed  map[*New][]maildir.Placing // since the lock was taken
	private byte                       // flags that file names are not asked for
}

func (s *maildirStore) Close() {
	if s.box != nil {
		s.box.Close()
	}
	if s.control != s.Dir {
		s.control.Close()
	}
}

// makeIndex makes the index if there is none. The uidlist comes with it, under its lock: a
// Dovecot that has just made the mailbox is about to choose a uid validity too.
func (s *maildirStore) makeIndex(ctx context.Context) error {
	if made, err := s.hasIndex(); made || err != nil {
		return err
	}
	unlock, err := s.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if s.box.UIDValidity() == 0 {
		if err := s.box.Setup(s.uidValidity(), s.box.GUID()); err != nil {
			return err
		}
	}
	var tx index.Tx
	tx.Intro(&extMaildir)
	tx.Intro(&extHdrVsize)
	tx.Intro(&extVsize)
	tx.Intro(&extPOP3UIDL)
	// Files may have an own POP3 UIDL: that is looked for in all of them.
	tx.ExtHeader(0, []byte{0xff, 0xff, 0xff, 0xff})
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

func (s *maildirStore) hasIndex() (bool, error) {
	var st unix.Stat_t
	for _, name := range [...]string{index.LogName, index.IndexName} {
		switch err := s.IndexDir.Stat(name, &st); {
		case err == nil || errors.Is(err, unix.ELOOP): // the latter is to be repaired
			return true, nil
		case !errors.Is(err, unix.ENOENT):
			return false, err
		}
	}
	return false, nil
}

// uidValidity returns that of a mailbox whose index does not know it.
func (s *maildirStore) uidValidity() uint32 {
	if v := s.box.UIDValidity(); v != 0 {
		return v
	}
	return uint32(time.Now().Unix())
}

func (s *maildirStore) Identity(*index.State) (guid [16]byte, ok bool) {
	return s.box.GUID(), true
}

// Lock takes the uidlist's lock.
func (s *maildirStore) Lock(ctx context.Context) (func(), error) {
	unlock, err := s.box.Lock(ctx)
	if errors.Is(err, maildir.ErrLocked) {
		err = fmt.Errorf("%w: %w", index.ErrLocked, err)
	}
	if err != nil {
		return nil, err
	}
	return func() {
		for _, list := range s.placed {
			s.box.Placed(list)
		}
		s.placed = nil
		unlock()
	}, nil
}

// A maildirWriter is a file in tmp.
type maildirWriter struct {
	*maildir.Writer
	guid, uidl string
}

func (s *maildirStore) NewWriter(time.Time) Writer {
	return &maildirWriter{Writer: s.box.NewWriter()}
}

func (d *maildirWriter) Finish(opt *SaveOptions) error {
	d.guid, d.uidl = opt.GUID, opt.POP3UIDL
	return d.Writer.Finish(opt.Received)
}

func (s *maildirStore) Place(news []New) error {
	var names []string
	for i := range news {
		names = append(names, news[i].Keywords...)
	}
	keywords := s.box.Keywords()
	if len(names) > 0 {
		var err error
		if keywords, err = s.box.GiveLetters(names, 0); err != nil {
			return err
		}
	}
	list := make([]maildir.Placing, len(news))
	for i := range news {
		n := &news[i]
		list[i] = maildir.Placing{UID: n.UID, Link: n.Name, Info: maildir.Info{
			Flags: byte(n.Flags & allFlags), Letters: keywords.Letters(n.Keywords),
		}}
		if d, ok := n.Writer.(*maildirWriter); ok {
			list[i].Writer, list[i].GUID, list[i].UIDL = d.Writer, d.guid, d.uidl
		}
	}
	if err := s.box.Place(list); err != nil {
		return err
	}
	if s.placed == nil {
		s.placed = make(map[*New][]maildir.Placing)
	}
	s.placed[&news[0]] = list
	return nil
}

func (s *maildirStore) Unplace(news []New) {
	s.box.Unplace(s.placed[&news[0]])
}

// Record notes the times after placing.
func (s *maildirStore) Record(tx *index.Tx, _ *index.State, _ iter.Seq[*New]) { s.recordTimes(tx) }

func (s *maildirStore) recordTimes(tx *index.Tx) {
	times := s.box.Times()
	tx.Intro(&extMaildir)
	tx.ExtHeader(0, times.Append(nil))
}

// Share links the file.
func (s *maildirStore) Share(_ context.Context, from Store, st *index.State, i int, n *New) (ok bool, err error) {
	src, ok := from.(*maildirStore)
	if !ok || !s.Settings.MaildirCopyHardlinks {
		return false, nil
	}
	n.Name, ok, err = s.box.Link(src.box, st.UID(i), src.info(st, i))
	if errors.Is(err, maildir.ErrNotExist) {
		err = ErrExpunged
	}
	if ok {
		if e, found := src.box.Entry(st.UID(i)); found {
			n.UIDL = e.UIDL() != ""
		}
	}
	return ok, err
}

func (s *maildirStore) Discard(n *New) {
	if n.Name != "" {
		s.box.Unlink(n.Name)
	}
}

// info returns the flags and keywords that the index has, as far as names have them.
func (s *maildirStore) info(st *index.State, i int) maildir.Info {
	keywords := s.box.Keywords()
	return infoOf(st, i, lettersOf(st, &keywords))
}

// lettersOf returns the letter bits of the index's keywords.
func lettersOf(st *index.State, keywords *maildir.Keywords) []uint32 {
	bits := make([]uint32, len(st.Keywords))
	for k := range st.Keywords {
		bits[k] = keywords.Letters(st.Keywords[k : k+1])
	}
	return bits
}

func infoOf(st *index.State, i int, letters []uint32) maildir.Info {
	info := maildir.Info{Flags: st.Flags(i) & maildir.AllFlags}
	bits := st.KeywordBits(i)
	for k, letter := range letters {
		if index.HasBit(bits, k) {
			info.Letters |= letter
		}
	}
	return info
}

// A maildirFile is an open message whose text lies in its file as it is.
type maildirFile struct{ *maildir.File }

// A maildirText is an open message that was compressed.
type maildirText struct {
	maildir.Text
	file *maildir.File
}

func (s *maildirStore) Open(_ context.Context, st *index.State, i int) (File, error) {
	f, err := s.box.Open(st.UID(i), s.info(st, i))
	if errors.Is(err, maildir.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrMissing, err)
	}
	if err != nil {
		return nil, err
	}
	t, err := f.Text()
	if err != nil {
		return nil, err
	}
	if t == maildir.Text(f) {
		return maildirFile{f}, nil
	}
	return &maildirText{t, f}, nil
}

// Details reads the file if its size with CRLF line ends is not known otherwise.
func (f maildirFile) Details() (*Details, error) { return maildirDetails(f.File, f.File) }

// Details reads the text likewise.
func (f *maildirText) Details() (*Details, error) { return maildirDetails(f.file, f.Text) }

func maildirDetails(f *maildir.File, t maildir.Text) (*Details, error) {
	virtual, err := f.VirtualSize(t)
	if err != nil {
		return nil, err
	}
	e := f.Entry()
	return &Details{
		Received: f.Received(), Saved: f.Saved(), GUID: e.GUID(), UIDL: e.UIDL(), Physical: t.Size(), Virtual: virtual,
	}, nil
}

func (s *maildirStore) GUID(st *index.State, i int) (guid [16]byte, ok bool) {
	e, ok := s.box.Entry(st.UID(i))
	return dbox.GUID128(e.GUID()), ok
}

// A maildirRemoval has nothing to do: Unlink did it.
type maildirRemoval struct{}

func (s *maildirStore) NewRemoval(context.Context) (Removal, error) { return maildirRemoval{}, nil }

func (maildirRemoval) Add(*index.State, int) {}

func (maildirRemoval) Before() error { return nil }

func (maildirRemoval) After(bool) {}

func (maildirRemoval) Done() {}

// Unlink removes the files of messages.
func (s *maildirStore) Unlink(st *index.State, gone []index.Expunged, tx *index.Tx) error {
	err := s.box.Change(func() error {
		for n := range gone {
			i, ok := st.Find(gone[n].UID)
			if !ok {
				continue
			}
			if err := s.box.Remove(gone[n].UID, s.info(st, i)); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.recordTimes(tx)
	}
	return err
}

// Rebuilding takes the uids that the uidlist has. What else is in the files the next Scan finds.
func (s *maildirStore) Rebuilding() index.Rebuild {
	return index.Rebuild{
		Files: func(*index.State) ([]uint32, error) {
			s.box.Distrust()
			return s.box.UIDs()
		},
		UIDValidity: s.uidValidity,
		Finish: func(_ *index.State, tx *index.Tx) {
			tx.Intro(&extMaildir)
			tx.ExtHeader(0, make([]byte, maildir.TimesSize))
			tx.Intro(&extHdrVsize)
			tx.Intro(&extVsize)
		},
	}
}

func (s *maildirStore) RemoveStale(now time.Time) error { return s.box.RemoveStale(now) }

// RemoveAll removes the files of the mailbox. Without cur it is none any more.
func (s *maildirStore) RemoveAll() error {
	dir := s.Location.Dir
	if err := os.Rename(dir+"/cur", dir+"/tmp/"+dbox.TempName()); err != nil {
		return err
	}
	err := errors.Join(os.RemoveAll(dir+"/new"), os.RemoveAll(dir+"/tmp"), s.removeFiles(dir))
	if s.Location.ControlDir != "" {
		err = errors.Join(err, s.removeFiles(s.Location.ControlDir))
	}
	return err
}

// removeFiles removes the files in a directory of a deleted mailbox. That of INBOX is
// the root of all, with files that are about all: of it only those of the mailbox go.
func (s *maildirStore) removeFiles(dir string) error {
	if s.Location.Name != "INBOX" {
		return removeFilesOf(dir)
	}
	return removeOwnFiles(dir)
}

// FlushFiles has the uidlist on disk.
func (s *maildirStore) FlushFiles() error { return s.box.FlushList() }

// Dirs are those that files come into.
func (s *maildirStore) Dirs() []*index.Dir { return s.box.Dirs() }

// TakeRecent moves messages from new to cur.
func (s *maildirStore) TakeRecent(_ *index.State, tx *index.Tx) error {
	before := s.box.Times()
	if err := s.box.EmptyNew(); err != nil {
		return err
	}
	if s.box.Times() != before {
		s.recordTimes(tx)
	}
	return nil
}

var (
	_ Locker      = (*maildirStore)(nil)
	_ Scanner     = (*maildirStore)(nil)
	_ FlagKeeper  = (*maildirStore)(nil)
	_ Unlinker    = (*maildirStore)(nil)
	_ RecentTaker = (*maildirStore)(nil)
	_ Flusher     = (*maildirStore)(nil)
	_ Remover     = (*maildirStore)(nil)
	_ Directories = (*maildirStore)(nil)
	_ DirMaker    = maildirFormat{}
)
