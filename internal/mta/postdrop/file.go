package postdrop

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/queuefile"
)

// queueName is the directory of submissions below queue_directory.
const queueName = "maildrop"

// retryAfter is how long to wait before the next attempt to create a file. Mail is
// not refused because a disk is full for some minutes.
const retryAfter = 10 * time.Second

// A file is a submission that is being written.
type file struct {
	id    string
	path  string
	f     *os.File
	buf   *bufio.Writer
	rec   *queuefile.Writer
	limit int64 // of its size; 0: none
	start time.Time
}

// A writeError says that the file cannot be written.
type writeError struct{ err error }

func (e *writeError) Error() string { return reason(e.err) }

// create makes the file of a submission under its final name. It does not give up.
func (c *command) create() (*file, error) {
	for {
		f, err := c.tryCreate()
		if err == nil {
			f.buf = bufio.NewWriterSize(f.f, 32<<10)
			f.rec = queuefile.NewWriter(f.buf)
			f.limit = c.core.MessageSizeLimit
			return f, nil
		}
		if errors.Is(err, syscall.EEXIST) {
			continue
		}
		c.warnf("mail_queue_enter: create file %s: %s", f.path, reason(err))
		time.Sleep(retryAfter)
	}
}

// tryCreate makes the file under a name of this process, and renames it to its ID,
// which has the number of its inode.
func (c *command) tryCreate() (*file, error) {
	now := time.Now()
	f := &file{path: fmt.Sprintf("%s/%d.%d", queueName, now.Nanosecond()/1000, os.Getpid()), start: now}
	var err error
	if f.f, err = os.OpenFile(f.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644); err != nil {
		return f, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.file = f
	info, err := f.f.Stat()
	if err != nil {
		return f, err
	}
	inode := info.Sys().(*syscall.Stat_t).Ino
	f.start = time.Now()
	f.id = fileID(f.start, inode, c.core.EnableLongQueueIDs)
	path := queueName + "/" + f.id
	if err := os.Rename(f.path, path); err != nil {
		os.Remove(f.path) //nolint:errcheck // the rename's error is told
		return f, err
	}
	f.path = path
	return f, nil
}

// The digits of long queue IDs: no vowels, so that no words arise.
const digits = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"

// fileID is the name of a queue file. A long one is never used again.
func fileID(t time.Time, inode uint64, long bool) string {
	usec := uint64(t.Nanosecond() / 1000)
	if !long {
		return fmt.Sprintf("%05X%X", usec, inode)
	}
	const base = uint64(len(digits))
	return encode(uint64(t.Unix()), base, 6) + encode(usec, base, 4) + "z" + encode(inode, base-1, 1)
}

// encode writes n with at least width digits.
func encode(n, base uint64, width int) string {
	var b []byte
	for ; n > 0 || width > 0; n /= base {
		b = append([]byte{digits[n%base]}, b...)
		width--
	}
	return string(b)
}

// write writes a record. What would make the file larger than message_size_limit
// is refused as the system refuses files that are too large.
func (f *file) write(typ byte, data []byte) error {
	if err := f.rec.Write(typ, data); err != nil {
		return &writeError{err}
	}
	if f.limit > 0 && f.rec.Offset() > f.limit {
		return &writeError{syscall.EFBIG}
	}
	return nil
}

// writeTime writes when the submission began, which no user is believed.
func (f *file) writeTime() error {
	text := strconv.FormatInt(f.start.Unix(), 10) + " " + strconv.Itoa(f.start.Nanosecond()/1000)
	return f.write(queuefile.TypeTime, []byte(text))
}

// finish makes the file complete and durable, and its name too.
func (f *file) finish() error {
	if err := f.buf.Flush(); err != nil {
		return err
	}
	if err := f.f.Chmod(0o744); err != nil {
		return err
	}
	if err := f.f.Sync(); err != nil {
		return err
	}
	if err := f.f.Close(); err != nil {
		return err
	}
	return syncDirectory()
}

// syncDirectory makes the name durable where this process may open the maildrop.
// The set-gid group may only write to it; then the file's own sync has to do, as it does
// for Postfix: the name was changed before the file's mode, and file systems with a
// journal write out the one before the other.
func syncDirectory() error {
	d, err := os.Open(queueName)
	if errors.Is(err, os.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (f *file) remove() error {
	f.f.Close() //nolint:errcheck // it is removed
	err := os.Remove(f.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// reason is the text of a system error as strerror(3) has it.
func reason(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	text := errno.Error()
	return string(text[0]-'a'+'A') + text[1:]
}
