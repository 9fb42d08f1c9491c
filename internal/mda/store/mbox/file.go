package mbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// ErrMoved says that a message is not where the index says: the file was changed, and the
// index does not know that yet.
var ErrMoved = errors.New("message is not where it was")

// maxInMemory is how large a message may be to be read at once when it is opened.
const maxInMemory = 256 << 10

// A Place is what the index knows of a message.
type Place struct {
	UID       uint32
	From, End int64 // End may be 0
	MD5       [16]byte
}

// is reports whether a message is the one of the place: one that has its uid or, since that
// may not be written yet, the same hash.
func (pl *Place) is(m *Message) bool { return m.UID == pl.UID || m.MD5 == pl.MD5 }

// A File is the text of a message, without what belongs to the mailbox. What it reads does not change, whatever
// becomes of the file: other programs move messages about in it.
type File struct {
	*Message
	dir  *index.Dir
	runs []span // of the file that are the message's
	size int64

	mu     sync.Mutex
	text   io.ReaderAt // from Message.Header on; nil before a large message is read
	file   *os.File
	fd     int // locked, until a large message is read
	unlock func()
}

// OpenFile opens a message. ErrMoved. Anybody may call it.
func (b *Box) OpenFile(ctx context.Context, pl Place) (*File, error) {
	fd, unlock, err := b.lockForReading(ctx)
	if err != nil {
		return nil, err
	}
	f := &File{dir: b.opt.Dir, fd: fd, unlock: unlock}
	if err := f.open(b, pl); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// lockForReading opens and locks the file.
func (b *Box) lockForReading(ctx context.Context) (fd int, unlock func(), err error) {
	h := &held{b: b, methods: b.opt.ReadLocks, deadline: time.Now().Add(b.opt.LockTimeout)}
	fd = -1
	err = h.take(ctx, func() (int, error) {
		var err error
		if fd < 0 {
			fd, _, err = openFile(b.opt.Path, unix.O_RDONLY)
		}
		return fd, err
	})
	unlock = func() {
		if fd >= 0 {
			unix.Close(fd)
		}
		h.release()
	}
	if err != nil {
		unlock()
		return -1, nil, err
	}
	return fd, unlock, nil
}

// An fdReader reads an open file.
type fdReader int

func (r fdReader) ReadAt(p []byte, off int64) (int, error) { return index.ReadAt(int(r), p, off) }

func (f *File) open(b *Box, pl Place) error {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return fmt.Errorf("fstat(%s): %w", b.opt.Path, err)
	}
	if b.HasJournal() {
		return fmt.Errorf("%s: %w", b.opt.Path, ErrMoved) // somebody was killed changing it
	}
	p := &parser{w: newWindow(fdReader(f.fd), st.Size), digest: b.opt.Digest}
	defer p.w.close()
	m, err := p.parse(pl.From, pl.End)
	if err == nil && (!pl.is(m) || m.Pseudo) {
		err = ErrMoved
	}
	if errors.Is(err, errLost) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = ErrMoved
	}
	if err != nil {
		return fmt.Errorf("%s: UID=%d, offset %d: %w", b.opt.Path, pl.UID, pl.From, err)
	}
	f.setMessage(m)
	if m.End-m.Header > maxInMemory {
		return nil
	}
	text := make([]byte, m.End-m.Header)
	if _, err := index.ReadAt(f.fd, text, m.Header); err != nil {
		return fmt.Errorf("read(%s): %w", b.opt.Path, err)
	}
	f.text = bytes.NewReader(text)
	f.release()
	return nil
}

func (f *File) setMessage(m *Message) {
	f.Message = m
	at := m.Header
	add := func(end int64) {
		if at < end {
			f.runs = append(f.runs, span{at, end})
			f.size += end - at
		}
	}
	for _, h := range m.hidden {
		add(h.start)
		at = h.end
	}
	add(m.End)
}

func (f *File) release() {
	if f.unlock != nil {
		f.unlock()
		f.unlock = nil
	}
}

// Close closes the message.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.release()
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}

// Size returns the size of the message.
func (f *File) Size() int64 { return f.size }

// ReadAt reads from the message.
func (f *File) ReadAt(p []byte, off int64) (n int, err error) {
	text, err := f.load()
	if err != nil {
		return 0, err
	}
	for _, r := range f.runs {
		if off >= r.len() {
			off -= r.len()
			continue
		}
		part := p[n:min(len(p), n+int(min(r.len()-off, int64(len(p)))))]
		m, err := text.ReadAt(part, r.start+off-f.Header)
		n += m
		if m < len(part) {
			return n, errOr(err, io.ErrUnexpectedEOF)
		}
		if n == len(p) {
			return n, nil
		}
		off = 0
	}
	return n, io.EOF
}

// load copies a large message, so that the file need not be locked for as long as a client
// takes to read it.
func (f *File) load() (io.ReaderAt, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.text != nil {
		return f.text, nil
	}
	if f.unlock == nil {
		return nil, os.ErrClosed
	}
	file, err := tempFile(f.dir)
	if err == nil {
		_, err = io.Copy(file, io.NewSectionReader(fdReader(f.fd), f.Header, f.End-f.Header))
	}
	if err != nil {
		if file != nil {
			file.Close()
		}
		return nil, err
	}
	f.file, f.text = file, file
	f.release()
	return f.text, nil
}

// VirtualSize returns the size with every line end counted as CRLF.
func (f *File) VirtualSize() (int64, error) {
	w := newWindow(f, f.size)
	defer w.close()
	return w.virtual(0, f.size)
}
