package dbox

import (
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/attachment"
	"github.com/dovetail-mail/dovetail/internal/mda/store/compress"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// Compress has the body compressed. It is called before anything is written.
func (w *Writer) Compress(m *compress.Method, level int) {
	var err error
	if w.packer, err = m.NewWriter((*packed)(w), level); err != nil {
		w.fail(err)
	}
}

// RefuseCompressed has Finish fail with [compress.ErrRefused] if the body would be taken for a
// compressed one. It is called before anything is written.
func (w *Writer) RefuseCompressed() { w.guard = true }

// Extract has large attachments made files of. It is called before anything is
// written.
func (w *Writer) Extract(s *attachment.Store) {
	w.spool = &spool{w: w, store: s}
}

// Attachments returns what was cut out of the finished message.
func (w *Writer) Attachments() []attachment.Ref { return w.refs }

// A packed Writer takes compressed bytes.
type packed Writer

func (p *packed) Write(b []byte) (int, error) {
	w := (*Writer)(p)
	w.put(b)
	return len(b), w.err
}

func (w *Writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// pack compresses bytes of the body.
func (w *Writer) pack(p []byte) {
	if w.err != nil {
		return
	}
	if _, err := w.packer.Write(p); err != nil {
		w.fail(err)
	}
}

// An unpacked Writer takes bytes of the body that may have to be compressed.
type unpacked Writer

func (u *unpacked) Write(b []byte) (int, error) {
	w := (*Writer)(u)
	if w.packer != nil {
		w.pack(b)
	} else {
		w.put(b)
	}
	return len(b), w.err
}

// finishBody writes what is left of the body.
func (w *Writer) finishBody() {
	if w.guard && compress.Detect(w.head[:min(w.size, int64(len(w.head)))]) != nil {
		w.fail(compress.ErrRefused)
	}
	if w.spool != nil && w.err == nil {
		var err error
		if w.refs, err = w.spool.finish((*unpacked)(w)); err != nil {
			w.fail(err)
		}
	}
	if w.packer != nil && w.err == nil {
		if err := w.packer.Close(); err != nil {
			w.fail(err)
		}
		w.packer = nil
	}
}

// releaseCoders gives up what a finished or failed Writer does not need any more. As w.err is
// set or everything written, closing the coder stores nothing.
func (w *Writer) releaseCoders() {
	if w.packer != nil {
		_ = w.packer.Close() // only to give it back
		w.packer = nil
	}
	if w.spool != nil {
		w.spool.close()
	}
}

// Keep has the attachments stay when the Writer is closed: a message that is stored has
// them.
func (w *Writer) Keep() { w.refs = nil }

// dropAttachments removes the files of a message that is given up.
func (w *Writer) dropAttachments() {
	if len(w.refs) > 0 {
		_ = w.spool.store.RemoveAll(w.refs, "") // what remains only takes space
		w.refs = nil
	}
}

// spoolMemory is how much of a message is kept in memory until it is known where its
// attachments are.
const spoolMemory = 256 << 10

// A spool holds a message until it is complete: in memory or, if it is large, in a
// temporary file.
type spool struct {
	w     *Writer
	store *attachment.Store
	mem   []byte
	file  *os.File // has what came before mem; nil for none
	size  int64
}

func (s *spool) Write(p []byte) (int, error) {
	s.size += int64(len(p))
	s.mem = append(s.mem, p...)
	if len(s.mem) < spoolMemory {
		return len(p), nil
	}
	if s.file == nil {
		f, err := s.w.tempFile()
		if err != nil {
			return 0, err
		}
		s.file = f
	}
	_, err := s.file.Write(s.mem)
	s.mem = s.mem[:0]
	if err != nil {
		return 0, sysError("write", s.file.Name(), err)
	}
	return len(p), nil
}

// tempFile makes a file in the directory of the message that has no name any more.
func (w *Writer) tempFile() (*os.File, error) {
	name := TempName()
	fd, err := w.dir.Create(name)
	if err != nil {
		return nil, sysError("open", w.dir.File(name), err)
	}
	f := os.NewFile(uintptr(fd), w.dir.File(name))
	if err := unix.Unlinkat(w.dir.FD, name, 0); err != nil {
		f.Close()
		return nil, sysError("unlink", w.dir.File(name), err)
	}
	return f, nil
}

// ReadAt reads from the message.
func (s *spool) ReadAt(p []byte, off int64) (n int, err error) {
	before := s.size - int64(len(s.mem))
	if off < before {
		n, err = index.ReadAt(int(s.file.Fd()), p[:min(int64(len(p)), before-off)], off)
		if err != nil {
			return n, err
		}
	}
	if n < len(p) && off+int64(n) < s.size {
		n += copy(p[n:], s.mem[off+int64(n)-before:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// finish writes the message to w, without its attachments.
func (s *spool) finish(w io.Writer) ([]attachment.Ref, error) {
	if s.size < s.store.MinSize() {
		_, err := w.Write(s.mem)
		if s.file != nil {
			_, err = io.Copy(w, io.NewSectionReader(s, 0, s.size))
		}
		return nil, err
	}
	return s.store.Extract(s, s.size, w, NewGUID)
}

func (s *spool) close() {
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
	s.mem = nil
}
