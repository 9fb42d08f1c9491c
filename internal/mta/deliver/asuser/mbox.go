package asuser

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// fail makes the result of a failure.
func (r *result) fail(dsn, text string) { r.DSN, r.Reason, r.Detail = dsn, text, "" }

func (r *result) warnf(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// ioError is the diagnostic of a copy that failed (EX_IOERR).
const ioError = "input/output error"

// mbox appends a message to a mailbox file.
func (j *job) mbox(content io.Reader, r *result) {
	path := j.Paths[0]
	dot, ok := j.lockName(path, r)
	if !ok {
		return
	}
	if dot {
		defer dotUnlock(path)
	}
	f, st, err := openAppend(path, j.Chown)
	if err != nil {
		j.openFailed(err, r)
		return
	}
	defer f.Close()
	regular := st.Mode&unix.S_IFMT == unix.S_IFREG
	if regular && !j.lockOpen(f, st, path, r) {
		return
	}
	if !j.acceptable(st, regular, path, r) {
		return
	}
	j.append(f, regular, content, r)
}

// lockName makes the lock file of a mailbox that is a regular file, or not there yet.
func (j *job) lockName(path string, r *result) (locked, ok bool) {
	var st unix.Stat_t
	if !j.Locks.Dot || unix.Stat(path, &st) == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		return false, true
	}
	err := j.Locks.dotLock(path)
	switch {
	case err == nil:
		return true, true
	case errors.Is(err, unix.EEXIST):
		r.fail("4.2.0", err.Error())
	case j.Locks.DotMayFail:
		r.warnf("%v", err)
		return false, true
	default:
		r.fail(mailboxDSN(err, j.DSN), err.Error())
	}
	return false, false
}

func (j *job) openFailed(err error, r *result) {
	var bad *openError
	if errors.As(err, &bad) && bad.chown {
		r.warnf("%v", err)
		r.fail(mailboxDSN(err, j.DSN), "")
		return
	}
	r.fail(mailboxDSN(err, j.DSN), err.Error())
}

// lockOpen locks an open file, and sees to it that it is still the mailbox:
// who rewrites one may remove it meanwhile.
func (j *job) lockOpen(f *os.File, st *unix.Stat_t, path string, r *result) bool {
	if err := j.Locks.kernel(f); err != nil {
		r.fail(mailboxDSN(err, j.DSN), err.Error())
		return false
	}
	if err := unix.Fstat(int(f.Fd()), st); err != nil || st.Nlink != 1 {
		r.warnf("%s: file status changed unexpectedly", path)
		r.fail("4.2.0", "target file status changed unexpectedly")
		return false
	}
	return true
}

// acceptable checks what kind of file it is: mailboxes are regular files and
// their user's, files of aliases may be devices, but no programs.
func (j *job) acceptable(st *unix.Stat_t, regular bool, path string, r *result) bool {
	switch {
	case j.Do == "file":
		if regular && st.Mode&0o111 != 0 {
			r.fail("5.7.1", "file is executable")
			return false
		}
		return true
	case !regular && j.DSN == "4.2.0": // virtual(8)
		r.Special = true
		r.fail("5.3.5", "mail system configuration error")
		return false
	case !regular:
		r.fail("5.2.0", fmt.Sprintf("destination %s is not a regular file", path))
		return false
	case j.Strict && j.Owner >= 0 && int64(st.Uid) != j.Owner:
		r.warnf("specify \"strict_mailbox_ownership = no\" to ignore mailbox ownership mismatch")
		r.fail("4.2.0", fmt.Sprintf("destination %s is not owned by recipient", path))
		return false
	}
	return true
}

// append writes the message and syncs the file. What was written of one that
// cannot be written whole is cut off.
func (j *job) append(f *os.File, regular bool, content io.Reader, r *result) {
	w := &limited{fd: int(f.Fd())}
	if regular {
		end, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			r.fail(mailboxDSN(err, "5.3.0"), "error writing message: "+reason(err))
			return
		}
		w.at, w.limit = end, j.Limit
	}
	start := w.at
	err := j.Copy.Write(w, content, time.Now())
	if err == nil && regular {
		err = unix.Fsync(int(f.Fd()))
	}
	if err == nil {
		return
	}
	if regular {
		unix.Ftruncate(int(f.Fd()), start) //nolint:errcheck // the failure is reported already
	}
	copyFailed(err, r)
}

func copyFailed(err error, r *result) {
	var bad readError
	if errors.As(err, &bad) {
		r.fail("4.3.0", "error reading message: "+reason(err))
	} else {
		r.fail(mailboxDSN(err, "5.3.0"), "error writing message: "+reason(err))
	}
	r.Detail, r.Errno = ioError, int(errno(err))
}

// limited writes to a file as if the process had a file size limit (Postfix sets
// one; a Go process would die of it). It never waits for a FIFO's reader.
type limited struct {
	fd        int
	at, limit int64
}

func (w *limited) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if w.limit > 0 && w.at+int64(len(p)) > w.limit {
			return total - len(p), unix.EFBIG
		}
		n, err := unix.Write(w.fd, p)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return total - len(p), err
		}
		p = p[n:]
		w.at += int64(n)
	}
	return total, nil
}
