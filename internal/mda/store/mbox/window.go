package mbox

import (
	"bytes"
	"io"
	"sync"
)

const (
	windowSize = 128 << 10
	firstRead  = 8 << 10 // of a place that was not read up to
)

var windowPool = sync.Pool{New: func() any { b := make([]byte, windowSize); return &b }}

// A window reads a file anywhere, and in large pieces where it is read from begin to end.
type window struct {
	f    io.ReaderAt
	size int64

	mem *[]byte
	off int64 // of what is in mem
	n   int
}

func newWindow(f io.ReaderAt, size int64) *window {
	return &window{f: f, size: size, mem: windowPool.Get().(*[]byte)}
}

func (w *window) close() {
	windowPool.Put(w.mem)
	w.mem = nil
}

// at returns bytes from an offset on: want of them, or what there is before the end of the
// file. They are valid until the next call.
func (w *window) at(off int64, want int) ([]byte, error) {
	want = int(min(int64(want), w.size-off, windowSize))
	if want <= 0 {
		return nil, nil
	}
	if end := w.off + int64(w.n); off < w.off || off+int64(want) > end {
		size := int64(firstRead)
		if off >= w.off && off <= end && w.n > 0 {
			size = windowSize
		}
		size = min(max(size, int64(want)), w.size-off)
		n, err := w.f.ReadAt((*w.mem)[:size], off)
		w.off, w.n = off, n
		if n < want {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF // cut off by a program that takes no lock
			}
			w.n = 0
			return nil, err
		}
	}
	return (*w.mem)[off-w.off : w.n], nil
}

// line returns a line with its end, or the begin of one that is longer than the window. It
// is empty at the end of the file.
func (w *window) line(off int64) ([]byte, error) {
	for want := 1; ; want = max(8*want, 512) {
		b, err := w.at(off, want)
		if err != nil {
			return nil, err
		}
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			return b[:i+1], nil
		}
		if want >= windowSize || off+int64(len(b)) >= w.size {
			return b, nil
		}
	}
}

// virtual returns the size of a part of the file with every line end counted as CRLF.
func (w *window) virtual(from, to int64) (int64, error) {
	size := to - from
	cr := false
	for from < to {
		b, err := w.at(from, int(min(windowSize, to-from)))
		if err != nil {
			return 0, err
		}
		b = b[:min(int64(len(b)), to-from)]
		size += bareLines(b, &cr)
		from += int64(len(b))
	}
	return size, nil
}

// bareLines counts the line ends without CR. cr tells whether the byte before was one.
func bareLines(b []byte, cr *bool) int64 {
	if len(b) == 0 {
		return 0
	}
	n := bytes.Count(b, []byte("\n")) - bytes.Count(b, []byte("\r\n"))
	if *cr && b[0] == '\n' {
		n--
	}
	*cr = b[len(b)-1] == '\r'
	return int64(n)
}
