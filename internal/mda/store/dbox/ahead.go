package dbox

import (
	"io"
	"os"
	"sync"
)

// readAhead is how much of a file is read at once when it is opened: most messages are read whole
// with their metadata then, and need no further system call.
const readAhead = 16 << 10

// An ahead is the part of a file that was read when it was opened.
type ahead struct {
	buf  *[readAhead]byte
	at   int64 // where it lies in the file
	size int
}

var aheads = sync.Pool{New: func() any { return new([readAhead]byte) }}

// read reads the file from at on, not beyond end. What it returns is valid until drop. It is no
// error if the file ends before.
func (a *ahead) read(f *os.File, at, end int64) ([]byte, error) {
	a.buf = aheads.Get().(*[readAhead]byte)
	n, err := f.ReadAt(a.buf[:max(0, min(readAhead, end-at))], at)
	if err == io.EOF {
		err = nil
	}
	a.at, a.size = at, n
	return a.buf[:n], err
}

func (a *ahead) drop() {
	if a.buf != nil {
		aheads.Put(a.buf)
		*a = ahead{}
	}
}

// readAt reads at an offset of the file.
func (f *File) readAt(p []byte, at int64) (n int, err error) {
	a := &f.ahead
	if start := at - a.at; a.buf != nil && start >= 0 && start < int64(a.size) {
		if n = copy(p, a.buf[start:a.size]); n == len(p) {
			return n, nil
		}
	}
	more, err := f.f.ReadAt(p[n:], at+int64(n))
	return n + more, err
}
