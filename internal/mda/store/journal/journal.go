package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store/commit"
)

const (
	// turnSize is when the other file is begun, and the file system flushed.
	turnSize = 48 << 20
	// turnTime is how long mail is in the journal alone when nothing follows.
	turnTime = 5 * time.Second
	// maxSize is where a file ends if the file system is not flushed in time.
	maxSize = 256 << 20
	// MaxData is how much of a file is recorded; more is cheaper to flush.
	MaxData = 256 << 10
	// maxSpare bounds the buffer that is kept for the next batch.
	maxSpare = 1 << 20
	// lostTime is how long a failed flush is reported to all: whoever has recorded something before
	// asks soon.
	lostTime = time.Minute
	// maxWaiting bounds the memory of a batch.
	maxWaiting = 16 << 20
)

// errFull is about a journal that grows faster than the file system is flushed.
var errFull = errors.New("journal is full")

// A Journal is that of one process for one file system. Its methods may be called by several
// goroutines.
type Journal struct {
	log  *maillog.Logger
	dir  *os.File // open as long as the journal is, for syncfs
	path string
	top  string // the directory that the names of others are recorded below

	mu      sync.Mutex
	next    *batch // gathers records; nil if there are none
	running bool   // a batch is being written
	spare   []byte // a buffer for the next batch
	lost    error  // of a batch at lostAt
	lostAt  time.Time
	company company
	holds   *sync.WaitGroup // [Hold]s since the last turn
	flushed uint64          // batches in whose place the whole file system was flushed

	// Owned by whoever writes a batch.
	files [2]*file
	cur   int
	h     header

	ending atomic.Bool // the file that is not current is being given up
	broken atomic.Pointer[error]
	timer  *time.Timer
	closed bool
	turns  sync.WaitGroup
}

// A batch is records that are written together.
type batch struct {
	buf  []byte
	lead chan struct{} // closed when the one who waits for it may write it
	led  bool          // somebody will
	all  bool          // has the whole file system flushed
	done chan struct{}

	waiting int           // goroutines that wait for it
	full    chan struct{} // closed when there are as many as expected; nil if nobody wants to know
}

// open makes the files of a journal in dir, which [Open] has locked.
func open(dir *os.File, log *maillog.Logger, after uint64) (*Journal, error) {
	j := &Journal{log: log, dir: dir, path: dir.Name(), top: filepath.Dir(dir.Name()), holds: new(sync.WaitGroup)}
	j.h = header{generation: after, boot: thisBoot()}
	name := strconv.Itoa(os.Getpid()) + "-" + strconv.FormatUint(rand.Uint64(), 36)
	for i := range j.files {
		f, err := os.OpenFile(filepath.Join(j.path, name+"."+strconv.Itoa(i)), os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
		if err == nil {
			j.files[i] = &file{f: f}
			err = lock(f, false)
		}
		if err == nil {
			err = j.files[i].end()
		}
		if err != nil {
			j.removeFiles()
			return nil, err
		}
	}
	if err := unix.Fsync(int(dir.Fd())); err != nil {
		j.removeFiles()
		return nil, err
	}
	return j, nil
}

// lock takes the lock that a process holds on its files.
func lock(f *os.File, wait bool) error {
	how := unix.F_OFD_SETLK
	if wait {
		how = unix.F_OFD_SETLKW
	}
	for {
		err := unix.FcntlFlock(f.Fd(), how, &unix.Flock_t{Type: unix.F_WRLCK})
		if err != unix.EINTR {
			return err
		}
	}
}

func (j *Journal) removeFiles() {
	for _, f := range j.files {
		if f != nil {
			os.Remove(f.f.Name()) //nolint:errcheck // it says that it is not in use, or was never used
			f.f.Close()
		}
	}
}

// Covers reports whether what is in a directory can be recorded.
func (j *Journal) Covers(dir string) bool {
	_, ok := j.below(dir)
	return ok
}

// below returns the name of a directory below the journal's top.
func (j *Journal) below(dir string) (rel string, ok bool) {
	rel, ok = strings.CutPrefix(dir, j.top)
	if ok && j.top != "/" {
		rel, ok = strings.CutPrefix(rel, "/")
	}
	return rel, ok && rel != "" && filepath.IsLocal(rel)
}

// add puts a record into the next batch. read fills in the data. What there is no room for makes
// the batch flush the file system.
func (j *Journal) add(r *record, size int, read func(b []byte) error) error {
	dir, ok := j.below(r.dir)
	if r.dir = dir; !ok {
		return fmt.Errorf("journal %s cannot record what is in %s", j.path, dir)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	b := j.gather()
	if len(b.buf)+size > maxWaiting || j.broken.Load() != nil {
		b.all = true
		return nil
	}
	before := len(b.buf)
	b.buf = r.appendHead(b.buf, size)
	n := len(b.buf)
	b.buf = slices.Grow(b.buf, size)[:n+size]
	if size == 0 {
		return nil
	}
	if err := read(b.buf[n:]); err != nil {
		b.buf = b.buf[:before]
		return err
	}
	return nil
}

// gather returns the next batch. mu is held.
func (j *Journal) gather() *batch {
	if j.next == nil {
		buf := j.spare
		if j.spare = nil; buf == nil {
			buf = make([]byte, batchHead, blockSize)
		}
		j.next = &batch{buf: buf, lead: make(chan struct{}), done: make(chan struct{})}
	}
	return j.next
}

// A Range is bytes of a file.
type Range struct {
	Dir, Name string
	FD        int   // of the file
	File      *File // what is known of it; nil to find it out
	From, To  int64
	Bytes     [][]byte // what is there, or will be as soon as the journal knows; nil to read it
	New       bool     // the file is not durable with its name; From is 0
	Log       bool     // the file is used up to its first gap
}

// A File is what a journal knows of a file as long as it is open. The zero value is ready.
type File struct {
	id    identity
	known bool
}

// identity returns that of the file.
func (r *Range) identity() (identity, error) {
	if r.File != nil && r.File.known {
		return r.File.id, nil
	}
	id, err := identify(r.FD, r.Log)
	if r.File != nil {
		r.File.id, r.File.known = id, err == nil
	}
	return id, err
}

// Data records bytes of a file, which are durable when a later [Journal.Sync] returns
// without error. What is recorded before it is written needs a [Hold], and if it is then not written it must
// be taken back by [Journal.Cut]. It returns an error if it cannot read the bytes.
func (j *Journal) Data(r *Range) error {
	size := r.To - r.From
	if size < 0 || size > maxWaiting {
		return fmt.Errorf("%d bytes of %s are not for a journal", size, r.Name)
	}
	id, err := r.identity()
	if err != nil {
		return fmt.Errorf("journal %s: statx(%s): %w", j.path, r.Name, err)
	}
	rec := record{kind: kindData, dir: r.Dir, name: r.Name, id: id, off: r.From}
	if r.New {
		rec.flags |= bitNew
	}
	if r.Log {
		rec.flags |= bitLog
	}
	return j.add(&rec, int(size), r.read)
}

// read fills b with the bytes.
func (r *Range) read(b []byte) error {
	if r.Bytes == nil {
		return readFull(r.FD, b, r.From)
	}
	n := 0
	for _, part := range r.Bytes {
		n += copy(b[n:], part)
	}
	if n < len(b) {
		return errShort
	}
	return nil
}

// errShort is about a file that does not have what was to be read.
var errShort = errors.New("file is too short")

func readFull(fd int, b []byte, off int64) error {
	for len(b) > 0 {
		n, err := unix.Pread(fd, b, off)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w: it ends at %d", errShort, off)
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}

// Placed records that a file got another name in its directory.
func (j *Journal) Placed(dir, from, to string) {
	j.add(&record{kind: kindPlace, dir: dir, name: from, to: to}, 0, nil) //nolint:errcheck // there is nothing to read
}

// Removed records that a file was removed.
func (j *Journal) Removed(dir, name string) {
	j.add(&record{kind: kindRemove, dir: dir, name: name}, 0, nil) //nolint:errcheck // there is nothing to read
}

// Cut takes back what was recorded of a file from the begin of the range on: it was not written, or is
// about to be cut off. That is durable when it returns: somebody else may then write there.
func (j *Journal) Cut(r *Range) error {
	id, err := r.identity()
	if err == nil {
		err = j.add(&record{kind: kindVoid, dir: r.Dir, name: r.Name, id: id, off: r.From}, 0, nil)
	}
	if err == nil {
		err = j.Sync()
	}
	return err
}

// Sync returns when everything recorded before is durable. After an error it may not be, nor
// does another call make it so.
func (j *Journal) Sync() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.next != nil || j.running {
		j.syncNext()
	} // else others have synced it
	if j.lost != nil && time.Since(j.lostAt) < lostTime {
		return j.lost
	}
	return nil
}

// syncNext has the next batch written, by this goroutine if no other will. mu is held, but not while
// it waits.
func (j *Journal) syncNext() {
	b := j.gather()
	b.waiting++
	if b.led {
		if b.full != nil && b.waiting == j.company.expected {
			close(b.full)
		}
		j.mu.Unlock()
		<-b.done
		j.mu.Lock()
		return
	}
	b.led = true
	if j.running {
		j.mu.Unlock()
		<-b.lead
		j.mu.Lock()
	}
	j.running = true
	j.awaitCompany(b)
	j.next = nil
	j.mu.Unlock()
	begin := time.Now()
	err := j.write(b)
	took := time.Since(begin)
	j.mu.Lock()
	if err != nil {
		j.lost, j.lostAt = err, time.Now()
	}
	waited := b.waiting
	if j.next != nil {
		waited += j.next.waiting
	}
	j.company.took(took, waited)
	if cap(b.buf) <= maxSpare {
		j.spare = b.buf[:batchHead]
	}
	j.pass()
	close(b.done)
}

// pass lets the next batch be written. mu is held.
func (j *Journal) pass() {
	if j.next != nil && j.next.led {
		close(j.next.lead)
		return
	}
	j.running = false
}

// write writes a batch, or has the whole file system flushed where that is impossible. One batch is
// written at a time.
func (j *Journal) write(b *batch) error {
	if len(b.buf) > batchHead && j.broken.Load() == nil {
		err := j.turn(int64(len(b.buf)))
		if err == nil {
			b.buf = sealBatch(b.buf, j.h.salt)
			err = j.files[j.cur].write(b.buf)
		}
		if errors.Is(err, errFull) {
			b.all = true
		} else if err != nil {
			j.fail(fmt.Errorf("journal %s: %w", j.files[j.cur].f.Name(), err))
		}
	}
	if !b.all && j.broken.Load() == nil {
		return nil
	}
	j.mu.Lock()
	j.flushed++
	j.mu.Unlock()
	err := j.flushAll()
	if err != nil {
		// What callers think is recorded may be nowhere: later records must not build on it.
		j.fail(fmt.Errorf("flushing the file system of %s: %w", j.path, err))
	}
	return err
}

// fail gives up the journal: what it has stays for recovery, and from now on everything flushes the
// whole file system.
func (j *Journal) fail(err error) {
	if j.broken.CompareAndSwap(nil, &err) {
		j.log.Errorf("%v", err)
	}
}

// Broken reports whether the journal was given up.
func (j *Journal) Broken() bool { return j.broken.Load() != nil }

// turn makes room for a batch in the current file.
func (j *Journal) turn(size int64) error {
	f := j.files[j.cur]
	if f.used > 0 && f.used+size > turnSize && !j.ending.Load() {
		j.swap()
		f = j.files[j.cur]
	}
	if f.used+size > maxSize {
		return errFull
	}
	if f.used > 0 {
		return nil
	}
	j.h.generation++
	j.h.salt = rand.Uint64()
	if err := f.begin(j.h); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.timer == nil {
		j.timer = time.AfterFunc(turnTime, j.timeout)
	} else {
		j.timer.Reset(turnTime)
	}
	return nil
}

// swap begins with the other file and has everything flushed that is in this one, when it has been written.
func (j *Journal) swap() {
	old := j.files[j.cur]
	j.cur = 1 - j.cur
	j.ending.Store(true)
	j.mu.Lock()
	holds := j.holds
	j.holds = new(sync.WaitGroup)
	j.mu.Unlock()
	j.turns.Go(func() {
		holds.Wait()
		if err := j.flushAll(); err != nil {
			j.fail(fmt.Errorf("flushing the file system of %s: %w", j.path, err))
			return // the journal keeps what may be lost
		}
		if err := old.end(); err != nil {
			j.fail(fmt.Errorf("journal %s: %w", old.f.Name(), err))
			return
		}
		j.ending.Store(false)
	})
}

// flushAll has the whole file system on disk.
func (j *Journal) flushAll() error { return commit.All(int(j.dir.Fd())) }

// timeout gives up the current file when it is old.
func (j *Journal) timeout() {
	j.mu.Lock()
	if j.running || j.closed {
		if !j.closed {
			j.timer.Reset(turnTime / 5)
		}
		j.mu.Unlock()
		return
	}
	j.running = true // as one who writes a batch
	j.mu.Unlock()
	if j.broken.Load() == nil {
		switch {
		case j.ending.Load():
			j.timer.Reset(turnTime / 5)
		case j.files[j.cur].used > 0:
			j.swap()
		}
	}
	j.mu.Lock()
	j.pass()
	j.mu.Unlock()
}

// Close has everything on disk that is recorded and removes the journal. Nothing must be
// recorded any more.
func (j *Journal) Close() error {
	j.mu.Lock()
	j.closed = true
	if j.timer != nil {
		j.timer.Stop()
	}
	j.mu.Unlock()
	j.turns.Wait()
	var err error
	if j.files[0].used > 0 || j.files[1].used > 0 {
		err = j.flushAll()
	}
	if err == nil && !j.Broken() {
		j.removeFiles()
	} else {
		for _, f := range j.files {
			f.f.Close() // recovered by the next process
		}
	}
	return errors.Join(err, j.dir.Close())
}
