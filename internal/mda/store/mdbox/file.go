package mdbox

import (
	"errors"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/mda/store/journal"
)

const (
	filePrefix = "m."
	// maxFileSize is what offsets in the map can reach.
	maxFileSize = math.MaxUint32
	// maxTries bounds the files looked at for one to append to.
	maxTries = 10
)

func fileName(id uint32) string { return filePrefix + strconv.FormatUint(uint64(id), 10) }

// parseName returns the number of an m.N.
func parseName(name string) (id uint32, ok bool) {
	digits, ok := strings.CutPrefix(name, filePrefix)
	if !ok || digits == "" || digits[0] < '1' || digits[0] > '9' {
		return 0, false
	}
	v, err := strconv.ParseUint(digits, 10, 32)
	return uint32(v), err == nil
}

// A listing is what a directory of m.N contains.
type listing struct {
	ids   []uint32 // ascending
	temps dbox.Listing
}

func list(dir *index.Dir) (l listing, err error) {
	fd, err := unix.Openat(dir.FD, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return l, &os.PathError{Op: "open", Path: dir.Path, Err: err}
	}
	f := os.NewFile(uintptr(fd), dir.Path)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return l, err
	}
	for _, name := range names {
		if id, ok := parseName(name); ok {
			l.ids = append(l.ids, id)
		} else if dbox.IsTemp(name) {
			l.temps.Temps = append(l.temps.Temps, name)
		}
	}
	slices.Sort(l.ids)
	return l, nil
}

// listAll returns the numbers of the m.N in both storages.
func (s *Storage) listAll() ([]uint32, error) {
	l, err := list(s.dir)
	if err != nil || s.alt == nil {
		return l.ids, err
	}
	more, err := list(s.alt)
	ids := append(l.ids, more.ids...)
	slices.Sort(ids)
	return slices.Compact(ids), err
}

// RemoveStale removes the temporary files that killed writers left long ago.
func (s *Storage) RemoveStale() error {
	var errs []error
	for _, dir := range []*index.Dir{s.dir, s.altNow.Load()} {
		if dir == nil {
			continue
		}
		l, err := list(dir)
		if err == nil {
			err = l.temps.RemoveStale(dir, s.opt.Now())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// An appendFile is an m.N that is appended to.
type appendFile struct {
	id      uint32 // 0 while it has a temporary name
	temp    string
	fd      int // -1 for none
	ino     uint64
	created time.Time
	start   int64 // its end before this round
	end     int64
	locked  bool
	places  int // messages of this round in it

	file       journal.File
	unrecorded bool // the journal does not have all of this round
}

func (f *appendFile) lock() bool {
	f.locked = unix.Flock(f.fd, unix.LOCK_EX|unix.LOCK_NB) == nil
	return f.locked
}

func (f *appendFile) unlock() {
	if f.locked {
		f.locked = false
		_ = unix.Flock(f.fd, unix.LOCK_UN) // it can only fail for a bad descriptor
	}
}

func (f *appendFile) close() {
	if f.fd >= 0 {
		unix.Close(f.fd) // and with it the lock
		f.fd, f.locked = -1, false
	}
}

// A fdReader reads from a descriptor that stays another's.
type fdReader int

func (r fdReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := index.ReadAt(int(r), p, off)
	if n == len(p) {
		return n, nil
	}
	return n, err
}

// reopen returns the file that was appended to last, locked, if it can take n
// bytes more.
func (s *Storage) reopen(n int64) (*appendFile, bool) {
	f := s.last
	s.last.fd = -1
	if f.fd < 0 {
		return nil, false
	}
	var st unix.Stat_t
	if f.end+n <= s.opt.RotateSize && !f.created.Before(s.oldest()) && f.lock() &&
		s.dir.Stat(fileName(f.id), &st) == nil && st.Ino == f.ino && (st.Size == f.end || s.findEnd(&f, st.Size)) && f.end+n <= s.opt.RotateSize {
		f.start, f.places, f.unrecorded = f.end, 0, false
		return &f, true
	}
	f.close()
	return nil, false
}

// openLast returns the newest file, locked, that can take n bytes more, or nil.
func (s *Storage) openLast(n int64, taken []*appendFile) *appendFile {
	if f, ok := s.reopen(n); ok {
		return f
	}
	id := mapHeaderOf(s.ix.State()).highest
	for try := 0; try < maxTries && id > 0; try, id = try+1, id-1 {
		if slices.ContainsFunc(taken, func(f *appendFile) bool { return f.id == id }) {
			continue
		}
		if f := s.openExisting(id, n); f != nil {
			return f
		}
	}
	return nil
}

// openExisting opens an m.N to append to, or nil if that is not possible.
func (s *Storage) openExisting(id uint32, n int64) *appendFile {
	fd, err := s.dir.Open(fileName(id), unix.O_RDWR)
	if err != nil {
		return nil // purged, or in the second storage
	}
	f := &appendFile{id: id, fd: fd}
	var st, path unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		f.close()
		return nil
	}
	if end := s.opt.Ends.get(s.opt.Dir, id, st.Ino); end <= st.Size {
		f.end = end
	}
	if st.Size+n <= s.opt.RotateSize && f.lock() &&
		s.dir.Stat(fileName(id), &path) == nil && path.Ino == st.Ino && s.findEnd(f, path.Size) && f.end+n <= s.opt.RotateSize && !f.created.Before(s.oldest()) {
		f.start, f.ino = f.end, st.Ino
		return f
	}
	f.close()
	return nil
}

// findEnd looks for the end of a locked file that must consist of complete messages:
// behind anything else, readers would not find what is appended. The map need not
// be read for this, whatever its size.
func (s *Storage) findEnd(f *appendFile, size int64) bool {
	h, err := dbox.ReadFileHeader(fdReader(f.fd))
	if err != nil || h.MessageHeader != dbox.MessageHeaderSize {
		return false
	}
	f.created = h.Created
	known := max(f.end, int64(h.Size))
	at := known
	for at < size {
		m, err := dbox.ReadStored(fdReader(f.fd), &h, at, size)
		if err != nil && at == known && known > int64(h.Size) {
			at, known = int64(h.Size), 0 // what was known may be of another file
			continue
		}
		if err != nil {
			return errors.Is(err, dbox.ErrCorrupt) && s.cutTorn(f, at, size)
		}
		at = m.End
	}
	f.end = at
	return at == size
}

// cutTorn cuts off what a writer left that was killed in the middle of a message,
// if that is what the file ends with.
func (s *Storage) cutTorn(f *appendFile, at, size int64) bool {
	if s.ix.Load() != nil {
		return false
	}
	t := tableOf(s.ix.State())
	for _, e := range entriesOf(&t, f.id) {
		if e.at.end() > at {
			return false // it is damage
		}
	}
	if end, err := nextHeader(f.fd, at+1, size); err != nil || end < size {
		return false
	}
	s.opt.Log.Warningf("mdbox storage %s: cut %d bytes of an unfinished message off %s", s.opt.Dir, size-at, fileName(f.id))
	f.end = at
	return unix.Ftruncate(f.fd, at) == nil
}

// oldest returns the creation time that a file must have at least to be
// appended to.
func (s *Storage) oldest() time.Time {
	return rotateBegin(s.opt.Now(), s.opt.RotateInterval)
}

// rotateBegin returns when the interval that now is in began: intervals end with
// whole days, hours or minutes, whatever they are at least.
func rotateBegin(now time.Time, interval time.Duration) time.Time {
	if interval <= 0 {
		return time.Time{}
	}
	y, mo, d := now.Date()
	h, mi, sec := now.Clock()
	unit := time.Second
	if interval >= time.Minute {
		unit, sec = time.Minute, 0
	}
	if interval >= time.Hour {
		unit, mi = time.Hour, 0
	}
	if interval >= 24*time.Hour {
		unit, h = 24*time.Hour, 0
	}
	return time.Date(y, mo, d, h, mi, sec, 0, now.Location()).Add(unit - interval)
}

// create begins a new file under a temporary name.
func (s *Storage) create(dir *index.Dir) (*appendFile, error) {
	f := &appendFile{temp: dbox.TempName(), created: s.opt.Now()}
	var err error
	if f.fd, err = dir.Create(f.temp); err != nil {
		return nil, sysError("open", dir.File(f.temp), err)
	}
	if s.opt.Preallocate {
		// It only saves the file system work later.
		_ = unix.Fallocate(f.fd, unix.FALLOC_FL_KEEP_SIZE, 0, s.opt.RotateSize)
	}
	var st unix.Stat_t
	header := dbox.AppendFileHeader(nil, f.created)
	err = index.WriteAll(f.fd, header)
	if err == nil {
		err = unix.Fstat(f.fd, &st)
	}
	if err == nil && !f.lock() {
		err = errors.New("new file is locked")
	}
	if err != nil {
		f.discard(dir)
		return nil, sysError("write", dir.File(f.temp), err)
	}
	f.ino, f.start, f.end = st.Ino, int64(len(header)), int64(len(header))
	return f, nil
}

// discard undoes what this round wrote.
func (f *appendFile) discard(dir *index.Dir) {
	if f.id == 0 {
		_ = dir.Remove(f.temp)
	} else if f.locked {
		_ = unix.Ftruncate(f.fd, f.start) // else the next writer appends behind it
	}
	f.close()
}

// name gives a new file in dir the next number, which the other storage must not have
// either. The map is locked.
func (s *Storage) name(f *appendFile, dir *index.Dir, highest *uint32) error {
	other := s.otherDir(dir)
	for {
		id := *highest + 1
		if id == 0 {
			return errors.New("no file numbers left")
		}
		*highest = id
		var st unix.Stat_t
		if other != nil && other.Stat(fileName(id), &st) == nil {
			continue // a writer was killed before the map knew of it
		}
		err := unix.Renameat2(dir.FD, f.temp, dir.FD, fileName(id), unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EEXIST) {
			continue // a writer was killed before the map knew of it
		}
		if err != nil {
			return sysError("rename", dir.File(fileName(id)), err)
		}
		f.id, f.temp = id, ""
		return nil
	}
}

// write appends messages that are in memory.
func (f *appendFile) write(parts [][]byte) error {
	for len(parts) > 0 {
		n, err := unix.Pwritev(f.fd, parts[:min(len(parts), 1024)], f.end)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		f.end += int64(n)
		for n > 0 || len(parts) > 0 && len(parts[0]) == 0 {
			k := min(n, len(parts[0]))
			parts[0] = parts[0][k:]
			n -= k
			if len(parts[0]) == 0 {
				parts = parts[1:]
			}
		}
	}
	return nil
}

// writeFrom appends size bytes of another file.
func (f *appendFile) writeFrom(fd int, off, size int64) error {
	for size > 0 {
		n, err := unix.CopyFileRange(fd, &off, f.fd, &f.end, int(min(size, 1<<30)), 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EXDEV), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPERM):
			return f.copyFrom(fd, off, size)
		case err != nil:
			return err
		case n == 0:
			return io.ErrUnexpectedEOF
		}
		size -= int64(n)
	}
	return nil
}

// copyFrom is writeFrom where the system cannot do it by itself.
func (f *appendFile) copyFrom(fd int, off, size int64) error {
	buf := make([]byte, min(size, 256<<10))
	for size > 0 {
		p := buf[:min(size, int64(len(buf)))]
		if n, err := index.ReadAt(fd, p, off); n < len(p) {
			return err
		}
		if err := f.write([][]byte{p}); err != nil {
			return err
		}
		off += int64(len(p))
		size -= int64(len(p))
	}
	return nil
}

func sysError(op, path string, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		err = errors.Join(index.ErrNoSpace, err)
	}
	return &os.PathError{Op: op, Path: path, Err: err}
}
