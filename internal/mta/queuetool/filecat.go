package queuetool

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/mta/queuefile"
)

// firstTypes are the records that a queue file may begin with.
const firstTypes = "MCTcFILSDRO/WVA>K<ion"

// maxBack bounds the pointers that lead back, so that no file goes on forever.
const maxBack = 10000

var (
	errRecord  = errors.New("record read error")
	errPointer = errors.New("bad pointer record, or input is not seekable")
)

// A queueFile is a file of Postfix's queue, or of the maildrop, that is shown.
type queueFile struct {
	name string
	in   io.Reader
	r    *queuefile.Reader
	base int64 // where in began to be read by r
	back int   // pointers that led back
}

// file shows a queue file from its beginning, or from option -s.
func (v *view) file(name string, in io.Reader) error {
	if err := skip(name, in, v.start); err != nil {
		return err
	}
	first := bufio.NewReader(in)
	if b, err := first.Peek(1); v.start == 0 && err == nil && strings.IndexByte(firstTypes, b[0]) < 0 {
		v.warn("%s: input is not a valid queue file", name)
		return nil
	}
	f := &queueFile{name: name, in: in, r: queuefile.NewReader(first), base: v.start}
	v.begin(name)
	for {
		rec, err := f.r.Next()
		switch {
		case err == io.EOF:
			return nil
		case errors.Is(err, queuefile.ErrCorrupt):
			v.warn("%s: %v", name, err)
			return errRecord
		case err != nil:
			return fmt.Errorf("%s: %w", name, err)
		}
		if v.record(f.base+f.r.Offset(), rec) {
			return nil
		}
		if rec.Type == queuefile.TypePointer && !(v.raw && v.verbose) {
			if err := f.follow(rec.Data); err != nil {
				return err
			}
		}
	}
}

// skip goes to an offset.
func skip(name string, in io.Reader, start int64) error {
	if s, ok := in.(io.Seeker); ok {
		if _, err := s.Seek(start, io.SeekStart); err == nil {
			return nil
		}
	}
	if n, err := io.CopyN(io.Discard, in, start); err != nil {
		return fmt.Errorf("%s: skip %d bytes failed after %d", name, start, n)
	}
	return nil
}

// follow goes on where a pointer says; nowhere for one that is 0.
func (f *queueFile) follow(pointer []byte) error {
	to, err := strconv.ParseInt(strings.TrimSpace(string(pointer)), 10, 64)
	if err != nil || to < 0 {
		return errPointer
	}
	if to == 0 {
		return nil
	}
	if to <= f.base+f.r.Offset() {
		f.back++
	}
	s, ok := f.in.(io.Seeker)
	if !ok || f.back > maxBack {
		return errPointer
	}
	if _, err := s.Seek(to, io.SeekStart); err != nil {
		return errPointer
	}
	f.r, f.base = queuefile.NewReader(f.in), to
	return nil
}

// files shows the files that are named, or standard input if none is.
func (v *view) files(names []string, stdin io.Reader) error {
	if len(names) == 0 {
		return v.file("stdin", stdin)
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			var errno syscall.Errno
			errors.As(err, &errno)
			return fmt.Errorf("open %s: %s", name, reason(errno))
		}
		err = v.file(name, f)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// dropped shows a message that waits in the maildrop, and reports whether there
// is one of this ID.
func (v *view) dropped(dir, id string) (bool, error) {
	f, _, err := openDropped(dir, id)
	if err != nil {
		return false, nil //nolint:nilerr // then it is elsewhere, or nowhere
	}
	defer f.Close()
	return true, v.file(maildrop+"/"+id, f)
}
