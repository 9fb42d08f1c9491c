package mdbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store/attachment"
	"github.com/dovetail-mail/dovetail/internal/mda/store/commit"
	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/mda/store/journal"
)

// Options say where a storage lies and how it is kept.
type Options struct {
	Dir    string // of the m.N
	MapDir string // of the map; "" for Dir
	AltDir string // of m.N in the second storage; "" for none
	Boxes  Boxes  // the mailboxes that refer to it

	RotateSize     int64         // begin a new m.N when one is larger
	RotateInterval time.Duration // ... or older; 0 for never
	Preallocate    bool          // reserve RotateSize for a new m.N at once
	Fsync          commit.Mode
	Journal        *journal.Journal  // nil for none
	Index          index.Options     // of the map
	Attachments    *attachment.Store // nil for none; Close closes it

	Ends *Ends // nil for none
	Log  *maillog.Logger
	Now  func() time.Time
}

// defaultRotateSize is that of mdbox_rotate_size.
const defaultRotateSize = 10 << 20

// A Storage is the messages of one user, for all mailboxes of the process. Its
// methods may be called by several goroutines.
type Storage struct {
	opt    Options
	dir    *index.Dir
	mapDir *index.Dir                // may be the same
	alt    *index.Dir                // nil for none
	altNow atomic.Pointer[index.Dir] // the same, without lock
	volume *commit.Volume
	// journal has what is recorded instead of flushed; nil for none.
	journal   *journal.Journal
	journaled journaled

	// mu guards the map and what follows: one round of appends, one purge of a
	// file or one rebuild at a time. Nobody waits for it with a mailbox locked.
	mu       sync.Mutex
	ix       *index.Index
	tx       index.Tx
	last     appendFile // where the last message was appended
	distrust bool       // a flush of the map failed
	// marked has, by map uid, the messages of mailboxes that are to be in the second storage.
	marked map[uint32]map[AltMessage]bool

	table    atomic.Pointer[table] // the map's newest state that was needed in full
	validity atomic.Uint32         // uid validity of the map

	queueMu sync.Mutex
	queue   []*Append
	leading bool
}

// Open opens the storage, and makes it if there is none. A damaged one is rebuilt.
func Open(ctx context.Context, opt Options) (*Storage, error) {
	if opt.RotateSize <= 0 {
		opt.RotateSize = defaultRotateSize
	}
	opt.RotateSize = min(opt.RotateSize, maxFileSize)
	if opt.Now == nil {
		opt.Now = time.Now
	}
	opt.Index.Base, opt.Index.Tail = mapName, true
	opt.Index.NoSync = !opt.Fsync.Saves()
	s := &Storage{opt: opt}
	s.last.fd = -1
	err := s.openDirs()
	if err == nil {
		err = s.openMap(ctx)
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("open mdbox storage %s: %w", opt.Dir, err)
	}
	return s, nil
}

func (s *Storage) openDirs() (err error) {
	if s.dir, err = openDir(s.opt.Dir); err != nil {
		return err
	}
	s.mapDir = s.dir
	if s.opt.MapDir != "" && s.opt.MapDir != s.opt.Dir {
		if s.mapDir, err = openDir(s.opt.MapDir); err != nil {
			return err
		}
	}
	if s.opt.Fsync == commit.Optimized {
		s.volume = commit.VolumeOf(s.dir.FD, s.mapDir.FD)
	}
	if j := s.opt.Journal; j != nil && s.volume != nil && j.Covers(s.dir.Path) && j.Covers(s.mapDir.Path) {
		s.journal = j
	}
	return s.openAlt()
}

// openAlt opens the second storage, where there is one.
func (s *Storage) openAlt() error {
	if s.opt.AltDir == "" || s.alt != nil {
		return nil
	}
	alt, err := index.OpenDir(s.opt.AltDir)
	if errors.Is(err, index.ErrNotExist) {
		return nil // nothing was ever moved there
	}
	s.setAlt(alt)
	return err
}

func (s *Storage) setAlt(alt *index.Dir) {
	s.alt = alt
	s.altNow.Store(alt)
}

// altMissing reports whether there may be messages in a second storage that is not there: it
// may not be mounted. Nothing must be given up then because it cannot be found.
func (s *Storage) altMissing() bool { return s.opt.AltDir != "" && s.alt == nil }

// noAlt returns the error of a message that is not found, or may be where one cannot look.
func (s *Storage) noAlt(err error) error {
	if !errors.Is(err, dbox.ErrNotExist) || s.opt.AltDir == "" || s.altNow.Load() != nil {
		return err
	}
	return fmt.Errorf("%w: %s: %v", ErrNoAlt, s.opt.AltDir, err)
}

func openDir(path string) (*index.Dir, error) {
	d, err := index.OpenDir(path)
	if errors.Is(err, index.ErrNotExist) {
		if err = makeDir(path); err == nil {
			return index.OpenDir(path)
		}
	}
	return d, err
}

// makeDir makes a directory and those above it, with the permissions of the first that is there: the mail of a
// group stays the group's.
func makeDir(path string) error {
	if err := os.Mkdir(path, 0o700); !errors.Is(err, os.ErrNotExist) {
		if err == nil {
			return inheritPermissions(path)
		}
		if errors.Is(err, os.ErrExist) {
			return nil
		}
		return err
	}
	if err := makeDir(filepath.Dir(path)); err != nil {
		return err
	}
	return makeDir(path)
}

// inheritPermissions gives a new directory those of the one it is in, whatever the umask is.
func inheritPermissions(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(filepath.Dir(path), &st); err != nil {
		return err
	}
	mode := st.Mode&(0o777|unix.S_ISGID) | 0o700
	if mode&0o077 == 0 {
		return nil
	}
	if mode&unix.S_ISGID == 0 && mode>>3&7 != mode&7 && int(st.Gid) != unix.Getegid() {
		if err := unix.Chown(path, -1, int(st.Gid)); err != nil {
			return err
		}
	}
	return unix.Chmod(path, mode)
}

// openMap opens the map. Without one, but with messages, it is made from these.
func (s *Storage) openMap(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, err := index.Open(s.mapDir, s.opt.Index)
	s.ix = x
	if errors.Is(err, index.ErrNotExist) {
		var ids []uint32
		if ids, err = s.listAll(); err == nil && len(ids) == 0 {
			err = s.createMap()
		} else if err == nil {
			err = index.ErrDamaged
		}
	}
	if errors.Is(err, index.ErrDamaged) || err == nil && !soundMap(s.ix.State()) {
		if err == nil {
			err = errors.New("the mdbox map is marked for a rebuild")
		}
		err = s.rebuild(ctx, err)
	}
	if err == nil {
		s.publish()
	}
	return err
}

func soundMap(st *index.State) bool { return !st.Hdr.Fsckd() && st.Hdr.UIDValidity() != 0 }

// How long, and how often, one looks for a map that another process is making.
const (
	mapWait = 5 * time.Second
	mapPoll = 20 * time.Millisecond
)

func (s *Storage) createMap() error {
	var tx index.Tx
	tx.UIDValidity(uint32(s.opt.Now().Unix()))
	tx.Intro(&extMap)
	tx.ExtHeader(0, make([]byte, mapHeaderSize))
	tx.Intro(&extRef)
	x, err := index.Create(s.mapDir, s.opt.Index, &tx)
	// Somebody else is making it, or was killed doing that, which shows after some time.
	for end := time.Now().Add(mapWait); errors.Is(err, index.ErrExists); {
		if x, err = index.Open(s.mapDir, s.opt.Index); !errors.Is(err, index.ErrNotExist) || time.Now().After(end) {
			break
		}
		time.Sleep(mapPoll)
		x, err = index.Create(s.mapDir, s.opt.Index, &tx)
	}
	s.ix = x
	if err == nil && s.opt.Fsync.Saves() {
		err = unix.Fsync(s.mapDir.FD)
	}
	return err
}

// Close gives the files up.
func (s *Storage) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opt.Ends.put(s.opt.Dir, &s.last)
	s.last.close()
	if s.opt.Attachments != nil {
		s.opt.Attachments.Close()
	}
	s.journaled.log.Close()
	if s.ix != nil {
		s.writeIndex()
		s.ix.Close()
		s.ix = nil
	}
	for _, d := range []*index.Dir{s.dir, s.mapDir, s.alt} {
		if d != nil && (d != s.mapDir || d != s.dir) {
			d.Close()
		}
	}
	if s.dir != nil && s.dir == s.mapDir {
		s.dir.Close()
	}
	s.dir, s.mapDir = nil, nil
	s.setAlt(nil)
}

// writeIndex leaves a new dovecot.map.index if the next to open the map would
// have to read much log.
func (s *Storage) writeIndex() {
	if s.ix.State() == nil || s.ix.State().Light() || !s.ix.WorthRewriting() {
		return
	}
	if _, err := s.ix.Lock(context.Background()); err != nil {
		return
	}
	if s.ix.TailBehind() {
		s.ix.Abandon()
		return
	}
	if err := s.ix.Rewrite(); err != nil {
		s.opt.Log.Errorf("mdbox storage %s: %v", s.opt.Dir, err)
	}
	s.ix.Unlock()
}

// Join tells on which file system the index of a mailbox is. If it is not the
// storage's, the order of changes is not that of one journal.
func (s *Storage) Join(v *commit.Volume) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v != s.volume {
		s.volume = nil
	}
}

// Dir returns the directory of the m.N.
func (s *Storage) Dir() *index.Dir { return s.dir }

// CanShare reports whether one more mailbox may refer to a message. [ErrExpunged].
func (s *Storage) CanShare(ctx context.Context, mapUID uint32) (bool, error) {
	e, err := s.find(ctx, mapUID, false)
	return err == nil && e.refs < maxRefs, err
}

// Validity returns the uid validity of the map, which mailboxes note.
func (s *Storage) Validity() uint32 { return s.validity.Load() }

// A Generation tells whether the map was rebuilt: then references that were to be
// given back have been counted anew.
type Generation struct{ validity, rebuilds uint32 }

func (s *Storage) generation() Generation {
	st := s.ix.State()
	return Generation{st.Hdr.UIDValidity(), mapHeaderOf(st).rebuilds}
}

// Generation returns the current one.
func (s *Storage) Generation(ctx context.Context) (Generation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.refresh(ctx)
	return s.generation(), err
}

// refresh reads what others did to the map. mu is held.
func (s *Storage) refresh(ctx context.Context) error {
	changed, err := s.ix.Refresh()
	if errors.Is(err, index.ErrDamaged) || errors.Is(err, index.ErrNotExist) {
		return s.rebuild(ctx, err)
	}
	if changed {
		s.publish()
	}
	return err
}

// load makes the map's entries readable. mu is held.
func (s *Storage) load(ctx context.Context) error {
	err := s.refresh(ctx)
	if err == nil {
		err = s.ix.Load()
	}
	if errors.Is(err, index.ErrDamaged) {
		err = s.rebuild(ctx, err)
	}
	if err == nil {
		s.publish()
	}
	return err
}

// publish makes the newest state the one that is read without lock. mu is held.
func (s *Storage) publish() {
	st := s.ix.State()
	s.validity.Store(st.Hdr.UIDValidity())
	if !st.Light() {
		t := tableOf(st)
		s.table.Store(&t)
	}
}

// errRebuilt has an operation start over, since map uids may have changed.
var errRebuilt = errors.New("mdbox storage was rebuilt meanwhile")

// lock takes the map's lock. If the map is not sound it rebuilds the storage instead,
// and returns errRebuilt. mu is held.
func (s *Storage) lock(ctx context.Context) error {
	_, err := s.ix.Lock(ctx)
	switch {
	case errors.Is(err, index.ErrDamaged), errors.Is(err, index.ErrDeleted):
	case err != nil:
		return err
	case s.ix.TailBehind():
		err = errors.New("inconsistency in the mdbox map: its last writer was killed")
		s.ix.Abandon()
	case !soundMap(s.ix.State()):
		err = errors.New("the mdbox map is marked for a rebuild")
		s.ix.Abandon()
	case s.distrust:
		if err := s.ix.Rotate(); err != nil {
			s.ix.Unlock()
			return err
		}
		s.distrust = false
		return nil
	default:
		return nil
	}
	if err := s.rebuild(ctx, err); err != nil {
		return err
	}
	return errRebuilt
}

func (s *Storage) unlock() {
	s.ix.Unlock()
	s.publish()
}

// flushMap has the map's log on disk before a mailbox may refer to what it says.
func (s *Storage) flushMap(newFile bool) error {
	if !s.opt.Fsync.Saves() {
		return nil
	}
	log := s.ix.Log()
	defer log.Close()
	var err error
	switch {
	case s.journal != nil:
		err = s.recordMap(log, newFile)
	case s.volume.Ordered():
		return commit.Content(log.FD())
	default:
		err = s.flushAll(log, newFile)
	}
	if err != nil {
		s.distrust = true
	}
	return err
}

func (s *Storage) flushAll(log index.Log, newFile bool) error {
	err := commit.Data(log.FD())
	if err == nil && newFile {
		err = commit.Dir(s.dir.FD)
	}
	return err
}

// Open opens a message. [ErrExpunged], [dbox.ErrNotExist], [dbox.ErrCorrupt], [ErrNoAlt].
func (s *Storage) Open(ctx context.Context, mapUID uint32) (*dbox.File, error) {
	e, err := s.find(ctx, mapUID, false)
	for try := 0; ; try++ {
		if err != nil {
			return nil, err
		}
		f, err := s.openAt(&e.at)
		if !errors.Is(err, dbox.ErrNotExist) || try > 0 {
			return f, s.noAlt(err)
		}
		// Purged by another process: the map now says where it is.
		if e, err = s.find(ctx, mapUID, true); err != nil {
			return nil, err
		}
	}
}

func (s *Storage) openAt(at *place) (*dbox.File, error) {
	name := fileName(at.file)
	f, err := dbox.OpenAt(s.dir, name, int64(at.offset), int64(at.size))
	if alt := s.altNow.Load(); alt != nil && errors.Is(err, dbox.ErrNotExist) {
		return dbox.OpenAt(alt, name, int64(at.offset), int64(at.size))
	}
	return f, err
}

// find returns an entry of the map, of which the newest state is read if it is
// not there, or if fresh says so.
func (s *Storage) find(ctx context.Context, mapUID uint32, fresh bool) (entry, error) {
	if t := s.table.Load(); t != nil && !fresh {
		if e, ok := t.find(mapUID); ok {
			return e, nil
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(ctx); err != nil {
		return entry{}, err
	}
	if s.alt == nil {
		if err := s.openAlt(); err != nil {
			return entry{}, err
		}
	}
	e, ok := s.table.Load().find(mapUID)
	if !ok {
		return e, fmt.Errorf("map uid %d: %w", mapUID, ErrExpunged)
	}
	return e, nil
}

// Rotate begins a new log of the map.
func (s *Storage) Rotate(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	return s.ix.Rotate()
}
