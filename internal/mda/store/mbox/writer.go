package mbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

const (
	// maxSpool is how much of a message being saved is kept in memory.
	maxSpool = 256 << 10
	// maxLine is how much of a header line is looked at together.
	maxLine = 8 << 10
)

var spoolPool = sync.Pool{New: func() any { b := make([]byte, 0, 32<<10); return &b }}

var errWriter = errors.New("mbox: write after Finish or Abort")

// A Writer takes a message and keeps it until it is appended. Its header loses what belongs
// to mailboxes.
type Writer struct {
	dir *index.Dir
	md5 digester

	mem  *[]byte
	file *os.File // what memory does not hold; nil for none
	size int64    // of what is kept
	head int64    // of it, the header without the empty line

	line    []byte // of the header, being read
	partial bool   // the line began before
	body    bool
	drop    bool // the field being read
	cr      bool // a CR was read that may belong to a line end
	last    byte // the last byte kept
	lines   int64
	tee     func([]byte)
	err     error
}

// Tee has fn called with the message as readers will see it.
func (w *Writer) Tee(fn func([]byte)) { w.tee = fn }

func (w *Writer) pass(p []byte) {
	if w.tee != nil {
		w.tee(p)
	}
}

// NewWriter begins a message. Anybody may call it.
func (b *Box) NewWriter() *Writer {
	w := &Writer{dir: b.opt.Dir, md5: newDigester(b.opt.Digest), mem: spoolPool.Get().(*[]byte)}
	*w.mem = (*w.mem)[:0]
	return w
}

// Write adds text. CRLF becomes LF.
func (w *Writer) Write(p []byte) (int, error) {
	if w.mem == nil && w.err == nil {
		w.err = errWriter
	}
	if w.err != nil {
		return 0, w.err
	}
	n := len(p)
	if w.cr && n > 0 {
		w.cr = false
		if p[0] != '\n' {
			w.text([]byte{'\r'})
		}
	}
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\r')
		if i < 0 {
			w.text(p)
			break
		}
		if i+1 == len(p) {
			w.cr = true
			w.text(p[:i])
			break
		}
		end := i
		if p[i+1] != '\n' {
			end++
		}
		w.text(p[:end])
		p = p[i+1:]
	}
	return n, w.err
}

// text adds what has LF as its line ends.
func (w *Writer) text(p []byte) {
	for len(p) > 0 && !w.body {
		i := bytes.IndexByte(p, '\n') + 1
		n := i
		if i == 0 {
			n = len(p)
		}
		w.line = append(w.line, p[:n]...)
		p = p[n:]
		if i > 0 || len(w.line) >= maxLine {
			w.header()
		}
	}
	w.keep(p)
}

// header takes a line of the header, or a part of a long one.
func (w *Writer) header() {
	line := w.line
	w.line = w.line[:0]
	ends := line[len(line)-1] == '\n'
	switch {
	case w.partial || line[0] == ' ' || line[0] == '\t':
		w.md5.value(line)
	case len(line) == 1 && ends:
		w.begin()
		return
	default:
		name, value := cutField(line)
		w.drop = fieldOf(name) != fieldNone || fold(name, "x-delivery-id") || bytes.HasPrefix(line, fromPrefix)
		w.md5.use = false
		if !w.drop {
			w.md5.field(name)
			w.md5.value(value)
		}
	}
	w.partial = !ends
	if !w.drop {
		w.keep(line)
	}
}

// begin begins the body.
func (w *Writer) begin() {
	w.body, w.head = true, w.size
	w.pass([]byte{'\n'})
}

// keep adds to what is kept.
func (w *Writer) keep(p []byte) {
	if len(p) == 0 || w.err != nil {
		return
	}
	w.pass(p)
	cr := w.last == '\r'
	w.lines += bareLines(p, &cr)
	w.last = p[len(p)-1]
	w.size += int64(len(p))
	if len(*w.mem)+len(p) > maxSpool {
		w.spill()
	}
	if w.file != nil && len(p) > maxSpool {
		if _, err := w.file.Write(p); err != nil {
			w.err = err
		}
		return
	}
	*w.mem = append(*w.mem, p...)
}

// spill moves what is in memory to a file.
func (w *Writer) spill() {
	if w.file == nil {
		w.file, w.err = tempFile(w.dir)
	}
	if w.err == nil {
		_, w.err = w.file.Write(*w.mem)
	}
	*w.mem = (*w.mem)[:0]
}

var tempCount atomic.Uint64

// tempFile returns a file without a name.
func tempFile(d *index.Dir) (*os.File, error) {
	fd, err := unix.Openat(d.FD, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		name := ".temp.dovetail." + strconv.Itoa(os.Getpid()) + "." + strconv.FormatUint(tempCount.Add(1), 10)
		if fd, err = d.Create(name); err == nil {
			err = d.Remove(name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open temporary file in %s: %w", d.Path, err)
	}
	return os.NewFile(uintptr(fd), d.File("temporary file")), nil
}

// VirtualSize returns the size so far, as readers will see it, with every line end counted as CRLF.
func (w *Writer) VirtualSize() int64 {
	n := w.Size() + w.lines
	if w.body {
		n++
	}
	return n
}

// Size returns the size so far, as readers will see it.
func (w *Writer) Size() int64 {
	n := w.size + int64(len(w.line))
	if w.body {
		n++ // the line between header and body
	}
	return n
}

// Finish completes the message.
func (w *Writer) Finish() error {
	if w.mem == nil {
		return errOr(w.err, errWriter)
	}
	if w.cr {
		w.cr = false
		w.text([]byte{'\r'})
	}
	if !w.body {
		if len(w.line) > 0 || w.partial {
			w.line = append(w.line, '\n')
			w.header()
		}
		if !w.body {
			w.begin()
		}
	}
	if w.size > w.head && w.last != '\n' {
		w.keep([]byte{'\n'}) // the file has no other end of a body
	}
	return w.err
}

// Close gives up what is kept. It may be called twice.
func (w *Writer) Close() {
	if w.mem != nil {
		if cap(*w.mem) <= maxSpool {
			spoolPool.Put(w.mem)
		}
		w.mem = nil
	}
	if w.file != nil {
		w.file.Close()
		w.file = nil
	}
	w.err = errWriter
}

// MD5 returns the hash of the header.
func (w *Writer) MD5() [16]byte { return w.md5.result() }

// read passes on a part of what is kept.
func (w *Writer) read(s span, put func([]byte) error) error {
	inFile := w.size - int64(len(*w.mem))
	if s.start < inFile {
		mem := windowPool.Get().(*[]byte)
		defer windowPool.Put(mem)
		for s.start < min(s.end, inFile) {
			part := (*mem)[:min(int64(len(*mem)), min(s.end, inFile)-s.start)]
			if n, err := w.file.ReadAt(part, s.start); n < len(part) {
				return err
			}
			if err := put(part); err != nil {
				return err
			}
			s.start += int64(len(part))
		}
	}
	if s.len() == 0 {
		return nil
	}
	return put((*w.mem)[s.start-inFile : s.end-inFile])
}
