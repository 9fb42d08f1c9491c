package table

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/table/bdb"
	"github.com/dovetail-mail/dovetail/internal/table/cdb"
	"github.com/dovetail-mail/dovetail/internal/table/lmdb"
)

// An index is the content of a database file.
type index interface {
	Lookup(key []byte) (value []byte, found bool, err error)
	Walk(fn func(key, value []byte) error) error
}

// An indexFormat is a type of tables in a database file that postmap makes.
type indexFormat struct {
	suffix string // of the file's name
	read   func(io.ReaderAt) (index, error)
	write  func(io.Writer, []bdb.Record) error
	nul    bool // keys and values end in NUL, unless postmap is told otherwise
	fixed  bool // records cannot be added or removed
	lock   func(f *os.File, exclusive bool) error
	unlock func(f *os.File)
	// duplicate is how the table is called in the warning about a duplicate.
	duplicate func(spec, name, path string) string
}

// indexFormats are the formats by type. Their locks are those of Postfix's programs.
var indexFormats = map[string]*indexFormat{
	"hash": {suffix: ".db", read: readAs(bdb.NewReader), write: bdb.Write, nul: true,
		lock: flock, unlock: unflock, duplicate: func(_, _, path string) string { return path }},
	"btree": {suffix: ".db", read: readAs(bdb.NewBtree), write: bdb.WriteBtree, nul: true,
		lock: flock, unlock: unflock, duplicate: func(_, _, path string) string { return path }},
	"lmdb": {suffix: ".lmdb", read: readAs(lmdb.NewReader), write: lmdb.Write, nul: true,
		lock: fileLock, unlock: fileUnlock, duplicate: func(spec, _, _ string) string { return spec }},
	"cdb": {suffix: ".cdb", read: readAs(cdb.NewReader), write: cdb.Write, fixed: true,
		lock: noLock, unlock: func(*os.File) {}, duplicate: func(_, name, _ string) string { return name }},
}

func readAs[T index](open func(io.ReaderAt) (T, error)) func(io.ReaderAt) (index, error) {
	return func(in io.ReaderAt) (index, error) { return open(in) }
}

// indexTable is a table in a database file. A file that was replaced or rewritten is
// opened anew, so no daemon needs to be told of a postmap run.
type indexTable struct {
	*indexFormat
	typ  string
	path string
	o    Options

	mu      sync.Mutex
	file    *os.File
	info    os.FileInfo
	checked time.Time
	index   index
	form    nulForm
	held    bool // the file is locked
	changed bool // the look-up found the file changed since it began
}

var errChanged = errors.New("file was changed meanwhile")

// nulForm says whether keys end in NUL. It is found out by the first hit.
type nulForm uint8

const (
	nulUnknown nulForm = iota
	nulYes
	nulNo
)

// checkInterval is how long a file may go unnoticed that another was put in the place of
// while the old one has kept a name. (Otherwise it is noticed at once.)
const checkInterval = time.Second

// openIndex opens hash, btree, lmdb and cdb tables.
func openIndex(typ string) func(spec, name string, o *Options) (Table, error) {
	return func(_, name string, o *Options) (Table, error) {
		format := indexFormats[typ]
		t := &indexTable{indexFormat: format, typ: typ, path: name + format.suffix, o: *o}
		if err := t.open(); err != nil {
			return nil, openError("database ", t.path, err)
		}
		t.warnIfStale(name)
		return t, nil
	}
}

// warnIfStale tells that postmap was forgotten after an edit.
func (t *indexTable) warnIfStale(source string) {
	info, err := t.o.stat(source)
	if err == nil && info.ModTime().Unix() > t.info.ModTime().Unix() && time.Since(info.ModTime()) > 100*time.Second {
		t.o.warnf("database %s is older than source file %s", t.path, source)
	}
}

// open opens the file under the lock that postmap takes to write it.
func (t *indexTable) open() error {
	f, err := t.o.open(t.path)
	if err != nil {
		return err
	}
	if err := t.lock(f, false); err != nil {
		f.Close()
		return err
	}
	info, in, err := t.inspect(f)
	if err != nil {
		f.Close()
		return err
	}
	t.unlock(f)
	if t.file != nil {
		t.file.Close()
	}
	t.file, t.info, t.index, t.form, t.checked = f, info, in, nulUnknown, time.Now()
	return nil
}

// inspect reads what there is to know before lookups. The caller has locked f.
func (t *indexTable) inspect(f *os.File) (os.FileInfo, index, error) {
	info, err := f.Stat()
	if err == nil && info.Size() == 0 {
		err = unix.EINVAL
	}
	if err != nil {
		return nil, nil, err
	}
	blocks := newBlockReader(f, info)
	in, err := t.read(blocks)
	blocks.hold = t.hold
	return info, in, err
}

func flock(f *os.File, exclusive bool) error {
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	// Nearly always nobody else is there, and the system call is over at once: then the scheduler need
	// not know of it.
	if _, _, e := unix.RawSyscall(unix.SYS_FLOCK, f.Fd(), uintptr(how|unix.LOCK_NB), 0); e == 0 {
		return nil
	}
	for {
		err := unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func unflock(f *os.File) {
	unix.RawSyscall(unix.SYS_FLOCK, f.Fd(), unix.LOCK_UN, 0) //nolint:errcheck // closing unlocks too
}

// fstat is not told to the scheduler either: of an open file nothing has to be waited for.
func fstat(f *os.File) (info syscall.Stat_t, err error) {
	if _, _, e := syscall.RawSyscall(syscall.SYS_FSTAT, f.Fd(), uintptr(unsafe.Pointer(&info)), 0); e != 0 {
		return info, e
	}
	return info, nil
}

// fileLock is fcntl's lock. It belongs to the open file, not to the process, whose other
// files of the same name could be closed meanwhile; other programs' locks respect it.
func fileLock(f *os.File, exclusive bool) error {
	l := unix.Flock_t{Type: unix.F_RDLCK}
	if exclusive {
		l.Type = unix.F_WRLCK
	}
	for {
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLKW, &l)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func fileUnlock(f *os.File) {
	unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_UNLCK}) //nolint:errcheck // closing unlocks too
}

func noLock(*os.File, bool) error { return nil }

// begin makes sure that the file is the one to be read. What is kept of its blocks may be read
// without a lock then: a look-up tells what there was at this moment. Whoever began ends with end.
func (t *indexTable) begin() error {
	if now := time.Now(); now.Sub(t.checked) >= checkInterval {
		t.checked = now
		// One that is missing is between removal and renaming: what is open still serves.
		if info, err := t.o.stat(t.path); err == nil && !os.SameFile(info, t.info) {
			if err := t.open(); err != nil {
				return err
			}
		}
	}
	t.changed = false
	now, err := fstat(t.file)
	if err == nil && now.Nlink == 0 { // replaced
		if info, err := t.o.stat(t.path); err == nil && !os.SameFile(info, t.info) {
			return t.open()
		}
	}
	if err == nil && t.rewritten(&now) { // as Postfix's postmap does
		err = t.reread()
	}
	return err
}

// hold locks the file, which is about to be read. If it was written to since begin, what begin
// found of it does not go with what would be read now: the look-up has to begin again.
func (t *indexTable) hold() error {
	if t.held {
		return nil
	}
	if err := t.lock(t.file, false); err != nil {
		return err
	}
	now, err := fstat(t.file)
	if err == nil && t.rewritten(&now) {
		t.changed, err = true, errChanged
	}
	if err != nil {
		t.unlock(t.file)
		return err
	}
	t.held = true
	return nil
}

// end lets the lock go.
func (t *indexTable) end() {
	if t.held {
		t.held = false
		t.unlock(t.file)
	}
}

// rewritten reports whether the open file has been written to.
func (t *indexTable) rewritten(now *syscall.Stat_t) bool {
	return now.Size != t.info.Size() || !time.Unix(now.Mtim.Unix()).Equal(t.info.ModTime())
}

// reread reads what open has read, and keeps it as it was if that cannot be. It leaves the file
// locked, so that the look-up cannot find it changed another time.
func (t *indexTable) reread() error {
	if err := t.lock(t.file, false); err != nil {
		return err
	}
	info, in, err := t.inspect(t.file)
	if err != nil {
		t.unlock(t.file)
		return err
	}
	t.held = true
	t.info, t.index, t.form = info, in, nulUnknown
	return nil
}

// Lookup implements [Table].
func (t *indexTable) Lookup(_ context.Context, key string) (string, bool, error) {
	key = t.o.fold(key)
	t.mu.Lock()
	defer t.mu.Unlock()
	value, found, err := t.lookup(key)
	if err != nil {
		return "", false, fmt.Errorf("%s table %s: %w", t.typ, t.path, err)
	}
	return value, found, nil
}

func (t *indexTable) lookup(key string) (string, bool, error) {
	for {
		if err := t.begin(); err != nil {
			return "", false, err
		}
		value, found, err := t.find(key)
		t.end()
		if !t.changed {
			return value, found, err
		}
	}
}

func (t *indexTable) find(key string) (string, bool, error) {
	if t.form != nulNo {
		value, found, err := t.index.Lookup(append([]byte(key), 0))
		if err != nil {
			return "", false, err
		}
		if found {
			t.form = nulYes
			return text(value), true, nil
		}
	}
	if t.form == nulYes {
		return "", false, nil
	}
	value, found, err := t.index.Lookup([]byte(key))
	if found {
		t.form = nulNo
	}
	return text(value), found, err
}

// text ends a value at its first NUL.
func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// Walk implements [Walker].
func (t *indexTable) Walk(fn func(key, value string) error) error {
	if t.fixed {
		return ErrNoSequence
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.end()
	for again := true; again; again = t.changed {
		if err := t.begin(); err != nil {
			return err
		}
		if err := t.hold(); err != nil && !t.changed {
			return err
		}
	}
	return t.index.Walk(func(key, value []byte) error { return fn(text(key), text(value)) })
}

// Close implements [Closer].
func (t *indexTable) Close() error { return t.file.Close() }
