package dbox

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/attachment"
	"github.com/dovetail-mail/dovetail/internal/mda/store/compress"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

const (
	// MessageHeaderSize is the M of files written here.
	MessageHeaderSize = 30
	// bufSize is what a writer gathers before it makes a file. Most messages
	// fit, and are written by one system call.
	bufSize = 64 << 10
)

var errWriter = errors.New("dbox: write after Finish or Abort")

// Fields are what the metadata of a new file contains besides sizes.
type Fields struct {
	Received  time.Time
	GUID      string
	Mailbox   string // where it is saved first; mdbox only
	POP3UIDL  string
	POP3Order uint32
}

// A Writer writes one mail file under a temporary name.
type Writer struct {
	dir      *index.Dir
	name     string // "" before the file exists
	fd       int
	buf      []byte
	part     bool           // of a file with others
	bodyAt   int            // where the body begins in the file
	flushed  int64          // bytes of the file written
	stored   int64          // bytes of the body as it is stored
	size     int64          // of the body
	virtual  int64          // additional bytes with CRLF line ends
	cr       bool           // a CR was read that may belong to a line end
	storedCR bool           // the last stored byte is a CR
	packer   io.WriteCloser // compresses; nil for none
	spool    *spool         // of a message whose attachments are to be cut out; nil for none
	refs     []attachment.Ref
	guard    bool                    // refuse what looks compressed
	head     [compress.HeadSize]byte // the first bytes of the body, if guard
	err      error
}

var bufPool = sync.Pool{New: func() any { b := make([]byte, 0, bufSize); return &b }}

// NewWriter begins a file in dir. Nothing is created before there is more to
// write than a buffer holds.
func NewWriter(dir *index.Dir, now time.Time) *Writer {
	w := newWriter(dir)
	w.buf = AppendFileHeader(w.buf, now)
	w.begin()
	return w
}

// NewMessage begins a message that is to be put into a file with others. Until
// then it is in memory or, if it is large, in a file in dir; see
// [Writer.Stored].
func NewMessage(dir *index.Dir) *Writer {
	w := newWriter(dir)
	w.part = true
	w.begin()
	return w
}

func newWriter(dir *index.Dir) *Writer {
	return &Writer{dir: dir, fd: -1, buf: (*bufPool.Get().(*[]byte))[:0]}
}

// begin makes room for the message header.
func (w *Writer) begin() {
	w.buf = appendMessageHeader(w.buf, 0)
	w.bodyAt = len(w.buf)
}

func appendMessageHeader(b []byte, size int64) []byte {
	const digits = "0123456789ABCDEF"
	b = append(b, "\x01\x02N          "...)
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, digits[size>>shift&0xf])
	}
	return append(b, '\n')
}

// Write adds to the body. CRLF becomes LF; a CR elsewhere stays.
func (w *Writer) Write(p []byte) (int, error) {
	n := len(p)
	if w.err != nil {
		return 0, w.err
	}
	if w.cr && len(p) > 0 {
		w.cr = false
		if p[0] != '\n' {
			w.store([]byte{'\r'})
		}
	}
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\r')
		if i < 0 {
			w.store(p)
			break
		}
		if i+1 == len(p) {
			w.cr = true
			w.store(p[:i])
			break
		}
		if p[i+1] == '\n' {
			w.store(p[:i])
		} else {
			w.store(p[:i+1])
		}
		p = p[i+1:]
	}
	return n, w.err
}

// store adds bytes as they are.
func (w *Writer) store(p []byte) {
	if len(p) == 0 {
		return
	}
	if w.guard && w.size < int64(compress.HeadSize) {
		copy(w.head[w.size:], p)
	}
	w.size += int64(len(p))
	w.virtual += int64(bytes.Count(p, newline) - bytes.Count(p, crlf))
	if w.storedCR && p[0] == '\n' {
		w.virtual--
	}
	w.storedCR = p[len(p)-1] == '\r'
	switch {
	case w.spool != nil:
		if _, err := w.spool.Write(p); err != nil {
			w.fail(err)
		}
	case w.packer != nil:
		w.pack(p)
	default:
		w.put(p)
	}
}

// put adds bytes of the body as it is stored.
func (w *Writer) put(p []byte) {
	w.stored += int64(len(p))
	for len(p) > 0 && w.err == nil {
		n := min(len(p), bufSize-len(w.buf))
		w.buf = append(w.buf, p[:n]...)
		p = p[n:]
		if len(w.buf) == bufSize {
			w.flush()
		}
	}
}

var (
	newline = []byte{'\n'}
	crlf    = []byte{'\r', '\n'}
)

func (w *Writer) flush() {
	if w.err != nil {
		return
	}
	if w.fd < 0 {
		name := TempName()
		fd, err := w.dir.Create(name)
		if err != nil {
			w.err = sysError("open", w.dir.File(name), err)
			return
		}
		w.fd, w.name = fd, name
	}
	if err := index.WriteAll(w.fd, w.buf); err != nil {
		w.err = sysError("write", w.dir.File(w.name), err)
		return
	}
	w.flushed += int64(len(w.buf))
	w.buf = w.buf[:0]
}

// Size returns the size of the body so far.
func (w *Writer) Size() int64 { return w.size }

// VirtualSize returns the size of the body so far with every line end counted
// as CRLF.
func (w *Writer) VirtualSize() int64 { return w.size + w.virtual }

// Finish completes the file. It exists then under [Writer.Name]; it is open
// until Close and not flushed to disk.
func (w *Writer) Finish(f *Fields) error {
	if w.err != nil {
		return w.err
	}
	if w.cr {
		w.cr = false
		w.store([]byte{'\r'})
	}
	if w.finishBody(); w.err != nil {
		return w.err
	}
	if w.flushed == 0 {
		appendMessageHeader(w.buf[:w.bodyAt-MessageHeaderSize], w.stored)
	}
	flushed := w.flushed > 0
	w.buf = w.appendMetadata(w.buf, f)
	if w.part && !flushed {
		return w.err // it stays in memory
	}
	w.flush()
	if flushed && w.err == nil {
		h := appendMessageHeader(make([]byte, 0, MessageHeaderSize), w.stored)
		if _, err := unix.Pwrite(w.fd, h, int64(w.bodyAt-MessageHeaderSize)); err != nil {
			w.err = sysError("pwrite", w.dir.File(w.name), err)
		}
	}
	w.release()
	return w.err
}

// Stored returns the finished message begun with [NewMessage], valid until
// Close: all of it in memory, or size bytes of the file with the descriptor
// [Writer.FD].
func (w *Writer) Stored() (memory []byte, size int64) {
	return w.buf, w.flushed + int64(len(w.buf))
}

// Name returns the temporary name of the finished file.
func (w *Writer) Name() string { return w.name }

// FD returns the descriptor of the finished file, to flush it.
func (w *Writer) FD() int { return w.fd }

// Close closes the finished file and leaves it where it is.
func (w *Writer) Close() {
	w.err = errWriter
	w.release()
	w.releaseCoders()
	if w.fd >= 0 {
		unix.Close(w.fd)
		w.fd = -1
	}
}

// Abort closes and removes the file.
func (w *Writer) Abort() {
	w.Close()
	if w.name != "" {
		_ = w.dir.Remove(w.name) // a later scan for temporary files gets it
		w.name = ""
	}
	w.dropAttachments()
}

func (w *Writer) release() {
	if w.buf != nil {
		b := w.buf[:0]
		w.buf = nil
		if cap(b) <= 2*bufSize {
			bufPool.Put(&b)
		}
	}
}

// appendMetadata appends the end of the file.
func (w *Writer) appendMetadata(b []byte, f *Fields) []byte {
	physical := int64(-1)
	if w.stored != w.size {
		physical = w.size
	}
	return appendMetadata(b, f, physical, w.VirtualSize(), w.refs)
}

// appendMetadata appends the end of a file. physical is negative for a message that is
// stored as it is.
func appendMetadata(b []byte, f *Fields, physical, virtual int64, refs []attachment.Ref) []byte {
	b = append(b, metadataMagic...)
	if physical >= 0 {
		b = append(b, KeyPhysicalSize)
		b = strconv.AppendInt(b, physical, 16)
		b = append(b, '\n')
	}
	b = append(b, KeyReceived)
	b = strconv.AppendInt(b, f.Received.Unix(), 16)
	b = append(b, '\n', KeyVirtualSize)
	b = strconv.AppendInt(b, virtual, 16)
	b = append(b, '\n')
	if f.POP3UIDL != "" {
		b = appendText(b, KeyPOP3UIDL, f.POP3UIDL)
	}
	if f.POP3Order != 0 {
		b = append(b, KeyPOP3Order)
		b = strconv.AppendUint(b, uint64(f.POP3Order), 10)
		b = append(b, '\n')
	}
	b = append(b, KeyGUID)
	if f.GUID == "" {
		g := NewGUID()
		b = hex.AppendEncode(b, g[:])
	} else {
		b = append(b, strings.ReplaceAll(f.GUID, "\n", "")...)
	}
	b = append(b, '\n')
	if f.Mailbox != "" {
		b = appendText(b, KeyOrigMailbox, f.Mailbox)
	}
	if len(refs) > 0 {
		b = append(b, KeyAttachments)
		b = attachment.AppendRefs(b, refs)
		b = append(b, '\n')
	}
	return append(b, '\n')
}

func appendText(b []byte, key byte, value string) []byte {
	b = append(b, key)
	b = append(b, strings.ReplaceAll(value, "\n", "")...)
	return append(b, '\n')
}
