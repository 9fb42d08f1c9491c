package takeover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/queuefile"
)

// Bits of a queue file's mode that say something.
const (
	modeComplete = 0o700 // all three: the file is complete
	modeExpired  = 0o010 // to be returned to the sender now
	modeFlush    = 0o040 // to be tried now
)

// The directories of the logs about recipients.
const (
	logDefer  = "defer"
	logBounce = "bounce"
	logTrace  = "trace"
)

var logNames = []string{logDefer, logBounce, logTrace}

// wholeFile is the size up to which a file is read at once.
const wholeFile = 256 << 10

// take takes one file over. It reports false if nothing was left to do for it.
func (t *run) take(f *found) (taken bool, err error) {
	if !queue.ValidID(f.name) {
		return false, errors.New("its name is no queue ID")
	}
	file, info, err := t.open(f)
	if err != nil {
		return false, err
	}
	defer file.Close()
	msg, err := parse(file, info.Size())
	if err == nil {
		err = msg.Complete()
	}
	if err != nil {
		return false, err
	}
	in := letter{f: f, info: info, msg: msg}
	if err := t.readLogs(&in); err != nil {
		return false, err
	}
	if in.makeEnvelope() {
		if err := t.commit(&in); err != nil {
			return false, err
		}
		taken = true
	}
	step()
	if err := os.Remove(f.path()); err != nil {
		if taken {
			// In two places it would be delivered twice.
			err = errors.Join(err, t.c.Store.Delete(in.id))
		}
		return false, err
	}
	step()
	for _, path := range in.logs {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.c.Log.Warningf("takeover: %v", err) // without its queue file it means nothing
		}
	}
	return taken, nil
}

// open opens a file that Postfix's queue manager would take. The lock is what
// Postfix's delivery agents hold while they work on a message: they may outlive
// their master for a while.
func (t *run) open(f *found) (*os.File, fs.FileInfo, error) {
	fd, err := unix.Open(f.path(), unix.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	file := os.NewFile(uintptr(fd), f.path())
	info, err := file.Stat()
	if err == nil {
		err = t.trusted(info)
	}
	if err == nil && unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil {
		err = errors.New("a process of Postfix still works on it: stop that and restart")
	}
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

// trusted says why a file is none that Postfix's queue manager would take, if it
// is not.
func (t *run) trusted(info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok || !info.Mode().IsRegular():
		return errors.New("not a regular file")
	case int(st.Uid) != t.c.Owner:
		return fmt.Errorf("it belongs to user %d, not to mail_owner", st.Uid)
	case st.Nlink != 1:
		return fmt.Errorf("it has %d names", st.Nlink)
	case info.Mode()&modeComplete != modeComplete:
		return fmt.Errorf("its mode %#o says that it is not complete", info.Mode().Perm())
	}
	return nil
}

func parse(file *os.File, size int64) (*queuefile.Message, error) {
	if size > wholeFile {
		return queuefile.Parse(file, size)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(file, b); err != nil {
		return nil, err
	}
	return queuefile.Parse(bytes.NewReader(b), size)
}

// commit puts the message into the queue.
func (t *run) commit(in *letter) error {
	id, err := t.freeID(in)
	if err != nil {
		return err
	}
	in.id = id
	w, err := t.c.Store.NewImport(id)
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, in.msg.Content()); err != nil {
		w.Abort()
		return err
	}
	step()
	if err := w.CommitPast(context.WithoutCancel(t.ctx), &in.env, &in.past); err != nil {
		return err
	}
	if id != in.f.name {
		t.c.Log.Infof("%s: takeover: was %s in Postfix's queue; that ID is in use", id, in.f.name)
	}
	return nil
}

// freeID returns the ID that the message gets: its own, unless another message
// has that. A copy of the message itself, left by a takeover that was killed, is
// dropped: it was not delivered, and may lack what was known of its recipients.
func (t *run) freeID(in *letter) (string, error) {
	id := in.f.name
	for queue.ValidID(id) {
		there, err := t.c.Store.Load(id)
		if errors.Is(err, queue.ErrNotFound) {
			return id, nil
		}
		if err != nil {
			return "", err
		}
		same, err := t.same(there, in)
		if err != nil {
			return "", err
		}
		if same {
			return id, t.c.Store.Delete(id)
		}
		id += "X"
	}
	return "", errors.New("no queue ID is free for it")
}

// same says whether a message in the queue is the one in a file.
func (t *run) same(m *queue.Message, in *letter) (bool, error) {
	if !m.Arrival.Equal(in.env.Arrival) || m.Sender != in.env.Sender || len(m.Recipients) != len(in.env.Recipients) {
		return false, nil
	}
	content, err := t.c.Store.Content(m)
	if err != nil {
		return false, err
	}
	defer content.Close()
	return sameBytes(content.NewReader(), in.msg.Content())
}

func sameBytes(a, b io.Reader) (bool, error) {
	bufA, bufB := make([]byte, 16<<10), make([]byte, 16<<10)
	for {
		n, err := fill(a, bufA)
		if err != nil {
			return false, err
		}
		k, err := fill(b, bufB)
		if err != nil || !bytes.Equal(bufA[:n], bufB[:k]) {
			return false, err
		}
		if n < len(bufA) {
			return true, nil
		}
	}
}

// fill reads until buf is full or r ends.
func fill(r io.Reader, buf []byte) (int, error) {
	n, err := io.ReadFull(r, buf)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return n, err
}

// readLogs reads what is known of the recipients besides. A log may lie at any
// depth, as the queue file does.
func (t *run) readLogs(in *letter) error {
	for i, name := range logNames {
		for depth := range t.levels[i] {
			path := filepath.Join(t.c.Dir, queuefile.Path(name, in.f.name, depth))
			entries, err := readLog(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			in.entries[i] = append(in.entries[i], entries...)
			in.logs = append(in.logs, path)
		}
	}
	return nil
}

// countLevels returns at how many depths a directory has files: most have none, or
// some at one, and need not be looked at for each message.
func countLevels(dir string) int {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return 0
	}
	// What keeps it from being read is said of the first message.
	deepest := 0
	for _, e := range entries {
		if e.IsDir() && len(e.Name()) == 1 {
			deepest = max(deepest, countLevels(filepath.Join(dir, e.Name())))
		}
	}
	return min(deepest+1, maxDepth)
}

func readLog(path string) ([]queuefile.Entry, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("not a regular file"))
	}
	return queuefile.ReadLog(f)
}

// due is when a message is to be tried: in the deferred queue at the time of its
// file, as a file elsewhere with a time that has not come (as left by the queue
// manager for one that was in use).
func (in *letter) due(now time.Time) time.Time {
	mtime := in.info.ModTime()
	switch {
	case in.info.Mode()&modeFlush != 0, in.f.queue == "hold":
		return time.Time{}
	case in.f.queue == "deferred", mtime.After(now.Add(time.Second)):
		return mtime
	}
	return time.Time{}
}
