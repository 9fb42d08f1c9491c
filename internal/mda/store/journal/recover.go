package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store/commit"
)

// recoverIn recovers the journals in dir that nobody has locked, removes them, and returns the highest
// generation that there is.
func recoverIn(dir *os.File, log *maillog.Logger) (last uint64, err error) {
	list, last, err := leftovers(dir)
	if err != nil || len(list) == 0 {
		return last, err
	}
	defer closeAll(list)
	r := recovery{log: log, top: filepath.Dir(dir.Name()), names: make(map[fileName]string), removed: make(map[fileName]bool), cuts: make(map[recorded][]cut),
		placed: make(map[fileName]bool), newest: make(map[inode]string)}
	defer r.leave()
	for i := range list {
		if err := r.each(&list[i], r.learn); err != nil {
			return last, err
		}
	}
	r.read = 0
	for i := range list {
		r.restarted = list[i].boot != thisBoot()
		if err := r.each(&list[i], r.apply); err != nil {
			return last, err
		}
	}
	r.leave()
	if err := commit.All(int(dir.Fd())); err != nil { // whether it was missing or not
		return last, err
	}
	if r.written > 0 {
		log.Infof("Recovered mail in %s: wrote %d bytes that files lacked after a crash", r.top, r.written)
	}
	return last, r.giveUp(list)
}

// A fileName is a name in a directory.
type fileName struct{ dir, name string }

// An inode is one in a directory.
type inode struct {
	dir string
	ino uint64
}

// A recorded file is one that a process has recorded something of.
type recorded struct {
	process string
	id      identity
}

// A cut is where a file was cut off, after so many records had been read.
type cut struct {
	off  int64
	when int
}

// A recovery is under way.
type recovery struct {
	log       *maillog.Logger
	top       string
	names     map[fileName]string // what files were renamed to, by their old names
	removed   map[fileName]bool
	placed    map[fileName]bool // names that files got
	newest    map[inode]string  // of new files, the name of the last one that was recorded with an inode number
	cuts      map[recorded][]cut
	read      int    // records so far
	process   string // whose journal is being read
	restarted bool   // the computer was, after the journal was written
	conflicts bool
	written   int64

	// The directory that records were about last.
	path   string
	dir    *os.File          // nil if there is none
	inodes map[uint64]string // nil if not read yet
}

func (r *recovery) each(l *leftover, fn func(*record) error) error {
	if l.generation == 0 {
		return nil
	}
	r.process = strings.TrimSuffix(l.f.Name(), filepath.Ext(l.f.Name()))
	return eachBatch(l.f, &l.header, func(b []byte) error {
		for len(b) > 0 {
			rec, rest, err := nextRecord(b)
			r.read++
			if err == nil {
				err = fn(&rec)
			}
			if err != nil {
				return fmt.Errorf("recover %s: %w", l.f.Name(), err)
			}
			b = rest
		}
		return nil
	})
}

// learn notes what became of names.
func (r *recovery) learn(rec *record) error {
	switch rec.kind {
	case kindData:
		if rec.flags&bitNew != 0 {
			r.newest[inode{rec.dir, rec.id.ino}] = rec.name
		}
	case kindPlace:
		r.names[fileName{rec.dir, rec.name}] = rec.to
		r.placed[fileName{rec.dir, rec.to}] = true
	case kindRemove:
		r.removed[fileName{rec.dir, rec.name}] = true
	case kindVoid:
		of := recorded{r.process, rec.id}
		r.cuts[of] = append(r.cuts[of], cut{rec.off, r.read})
	}
	return nil
}

// apply does what a record of data asks for. A process that was killed has left everything with the kernel,
// but for what it had not written yet and told nobody: others may be writing there now.
func (r *recovery) apply(rec *record) error {
	if !r.restarted {
		return nil
	}
	switch rec.kind {
	case kindPlace:
		return r.place(rec)
	case kindRemove, kindVoid:
		return nil
	}
	for _, c := range r.cuts[recorded{r.process, rec.id}] {
		if c.off <= rec.off && c.when > r.read {
			return nil
		}
	}
	if err := r.enter(rec.dir); err != nil || r.dir == nil {
		return err
	}
	final, placed := r.names[fileName{rec.dir, rec.name}]
	if !placed {
		final = rec.name
	}
	if r.removed[fileName{rec.dir, final}] {
		return nil
	}
	f, name, err := r.find(rec, final)
	if err != nil {
		return err
	}
	switch {
	case f != nil:
	case rec.flags&bitNew == 0:
		return nil // it was removed
	case placed:
		return r.create(rec, final)
	default:
		return r.completeUnknown(rec)
	}
	defer f.Close()
	if err := r.complete(f, rec); err != nil {
		return fmt.Errorf("%s: %w", r.file(name), err)
	}
	if placed && name == rec.name && final != rec.name {
		return r.rename(rec, name, final)
	}
	return nil
}

// enter opens the directory of a record, if there is one.
func (r *recovery) enter(path string) error {
	if path == r.path {
		return nil
	}
	r.leave()
	dir, err := os.OpenFile(filepath.Join(r.top, path), unix.O_DIRECTORY, 0)
	if errors.Is(err, os.ErrNotExist) {
		err = nil // the mailbox was deleted
	}
	if err != nil {
		return err
	}
	r.path, r.dir = path, dir
	return nil
}

// file returns the path of a file in the directory.
func (r *recovery) file(name string) string { return filepath.Join(r.top, r.path, name) }

func (r *recovery) leave() {
	if r.dir != nil {
		r.dir.Close()
	}
	r.path, r.dir, r.inodes = "", nil, nil
}

// find opens the file with the inode of the record, and returns its name; nil if there is none.
func (r *recovery) find(rec *record, final string) (f *os.File, name string, err error) {
	names := []string{final, rec.name}
	if rec.flags&bitLog != 0 {
		names = append(names, rec.name+".2") // the next was begun
	}
	for _, name := range names {
		if f, err := r.open(name, rec); f != nil || err != nil {
			return f, name, err
		}
	}
	return nil, "", nil
}

// completeUnknown completes a new file that got another name, when the journal had no time to note which.
// Nobody was told of it, but its mailbox may know it. The file system may have given its inode number
// to one file after another: it is that of the newest, and not a file whose name is known.
func (r *recovery) completeUnknown(rec *record) error {
	if r.newest[inode{rec.dir, rec.id.ino}] != rec.name {
		return nil
	}
	if r.inodes == nil {
		if err := r.readInodes(); err != nil {
			return err
		}
	}
	name, ok := r.inodes[rec.id.ino]
	if !ok || r.placed[fileName{rec.dir, name}] {
		return nil
	}
	f, err := r.open(name, rec)
	if f == nil {
		return err
	}
	defer f.Close()
	if lacks, err := r.lacks(f, rec); err != nil || !lacks {
		return err
	}
	_, err = f.WriteAt(rec.data, rec.off)
	return r.wrote(f, rec, err)
}

// readInodes reads the names of the directory by their inode numbers.
func (r *recovery) readInodes() error {
	names, err := r.dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	r.inodes = make(map[uint64]string, len(names))
	for _, name := range names {
		var st unix.Stat_t
		if unix.Fstatat(int(r.dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
			r.inodes[st.Ino] = name
		}
	}
	_, err = r.dir.Seek(0, io.SeekStart)
	return err
}

// open opens the file of a name if it is the one of the record.
func (r *recovery) open(name string, rec *record) (*os.File, error) {
	fd, err := unix.Openat(int(r.dir.Fd()), name, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ELOOP), errors.Is(err, unix.EISDIR):
		return nil, nil
	case err != nil:
		return nil, &os.PathError{Op: "open", Path: r.file(name), Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, err
	}
	id, err := identify(fd, rec.flags&bitLog != 0)
	if err == nil && id == rec.id {
		return f, nil
	}
	f.Close()
	if errors.Is(err, errShort) {
		err = nil
	}
	return nil, err
}

// complete writes what the file lacks of the record.
func (r *recovery) complete(f *os.File, rec *record) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if rec.flags&bitLog != 0 && st.Size() < rec.off {
		return r.conflict(rec, fmt.Sprintf("it ends at %d", st.Size()))
	}
	lacks, err := r.lacks(f, rec)
	if errors.Is(err, errDiffers) {
		return r.conflict(rec, err.Error())
	}
	if err != nil || !lacks {
		return err
	}
	_, err = f.WriteAt(rec.data, rec.off)
	return r.wrote(f, rec, err)
}

// errDiffers is about a file with something else than what was recorded.
var errDiffers = errors.New("it says something else")

// lacks reports whether the file does not have all of the record: it is shorter, or has zeros. errDiffers.
func (r *recovery) lacks(f *os.File, rec *record) (bool, error) {
	old := make([]byte, len(rec.data))
	n, err := f.ReadAt(old, rec.off)
	if err != nil && err != io.EOF {
		return false, err
	}
	for at := 0; at < n; at += blockSize {
		end := min(at+blockSize, n)
		if !isBegin(old[at:end], rec.data[at:end]) {
			return true, fmt.Errorf("%w at %d", errDiffers, rec.off+int64(at))
		}
	}
	return !bytes.Equal(old, rec.data), nil
}

func isZero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

// isBegin tells whether old is a part of data and then zeros: a block that was not written, or when the file
// ended within it.
func isBegin(old, data []byte) bool {
	n := 0
	for n < len(old) && old[n] == data[n] {
		n++
	}
	return isZero(old[n:])
}

// wrote notes that the file has to be flushed.
func (r *recovery) wrote(f *os.File, rec *record, err error) error {
	if err != nil {
		return err
	}
	r.written += int64(len(rec.data))
	return f.Sync()
}

// create makes a new file that is missing.
func (r *recovery) create(rec *record, final string) error {
	var st unix.Stat_t
	if unix.Fstatat(int(r.dir.Fd()), final, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
		return r.compare(rec, final)
	}
	fd, err := unix.Openat(int(r.dir.Fd()), rec.name, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, r.mode())
	if err != nil {
		return &os.PathError{Op: "create", Path: r.file(rec.name), Err: err}
	}
	f := os.NewFile(uintptr(fd), rec.name)
	defer f.Close()
	_, err = f.WriteAt(rec.data, rec.off)
	if err := r.wrote(f, rec, err); err != nil {
		return err
	}
	if final == rec.name {
		return unix.Fsync(int(r.dir.Fd()))
	}
	return r.rename(rec, rec.name, final)
}

// mode is that of a new file: as the directory says, like that of the files that a mailbox makes.
func (r *recovery) mode() uint32 {
	var st unix.Stat_t
	if unix.Fstat(int(r.dir.Fd()), &st) != nil {
		return 0o600
	}
	return st.Mode & 0o666
}

// compare makes sure that a file that has the name of a missing one says the same.
func (r *recovery) compare(rec *record, name string) error {
	f, err := os.Open(r.file(name))
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, len(rec.data))
	if n, _ := f.ReadAt(b, rec.off); !bytes.Equal(b[:n], rec.data) {
		return r.conflict(rec, "another file is there")
	}
	return nil
}

// rename gives a complete file the name that it had got.
func (r *recovery) rename(rec *record, from, to string) error {
	fd := int(r.dir.Fd())
	err := unix.Renameat2(fd, from, fd, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) {
		return r.conflict(rec, "another file is called "+to)
	}
	if err == nil {
		r.inodes = nil
		err = unix.Fsync(fd)
	}
	return err
}

// place gives a file that was durable by itself the name that it had got.
func (r *recovery) place(rec *record) error {
	if rec.name == rec.to || r.removed[fileName{rec.dir, rec.to}] {
		return nil
	}
	if err := r.enter(rec.dir); err != nil || r.dir == nil {
		return err
	}
	var st unix.Stat_t
	fd := int(r.dir.Fd())
	if unix.Fstatat(fd, rec.to, &st, unix.AT_SYMLINK_NOFOLLOW) == nil || unix.Fstatat(fd, rec.name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return nil
	}
	return r.rename(rec, rec.name, rec.to)
}

// conflict notes that a file is not as the journal left it.
func (r *recovery) conflict(rec *record, what string) error {
	r.conflicts = true
	r.log.Errorf("Recovering %s: %s: not changed", r.file(rec.name), what)
	return nil
}

// giveUp removes the recovered journals. If not all could be recovered they are kept for the administrator.
func (r *recovery) giveUp(list []leftover) error {
	for i := range list {
		name := list[i].f.Name()
		var err error
		if r.conflicts && list[i].generation > 0 {
			err = os.Rename(name, name+".conflict")
		} else {
			err = os.Remove(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
