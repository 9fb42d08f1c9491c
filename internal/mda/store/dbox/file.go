package dbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// Metadata keys.
const (
	KeyPhysicalSize = 'Z' // of the text when what is stored differs (compressed)
	KeyReceived     = 'R'
	KeyVirtualSize  = 'V'
	KeyPOP3UIDL     = 'P'
	KeyPOP3Order    = 'O'
	KeyGUID         = 'G'
	KeyOrigMailbox  = 'B'
	KeyAttachments  = 'X'
)

const metadataMagic = "\n\x01\x03\n"

// Limits on what is read besides the body.
const (
	maxFileHeader = 512
	maxMetadata   = 1 << 20
)

// Errors that callers tell apart.
var (
	ErrNotExist = errors.New("mail file does not exist")
	ErrCorrupt  = errors.New("mail file is corrupt")
)

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}

func sysError(op, path string, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%s(%s): %w (%w)", op, path, index.ErrNoSpace, err)
	}
	return fmt.Errorf("%s(%s): %w", op, path, err)
}

// A File is an open mail file.
type File struct {
	f      *os.File
	path   string
	offset int64 // of the body
	size   int64 // of the body
	end    int64 // of the file
	ctime  time.Time
	head   []byte   // the first bytes of the body, as many as are needed to see how it is stored
	meta   Metadata // nil until it was read
	ahead  ahead
}

// Open opens the file of a message in dir. ErrNotExist, ErrCorrupt.
func Open(dir *index.Dir, name string) (*File, error) {
	fd, err := openFile(dir, name)
	if err != nil {
		return nil, err
	}
	f := &File{f: os.NewFile(uintptr(fd), name), path: dir.File(name)}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil {
		f.end, f.ctime = st.Size, time.Unix(st.Ctim.Unix())
		if err = IsFile(&st); err == nil {
			err = f.readHeader()
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	return f, nil
}

func (f *File) readHeader() error {
	b, err := f.ahead.read(f.f, 0, f.end)
	if err != nil {
		return err
	}
	h, err := parseHeader(b[:min(len(b), maxFileHeader)])
	if err != nil {
		return err
	}
	f.offset, f.size = int64(h.bodyAt), h.size
	if f.size > f.end-f.offset {
		return corrupt("body of %d bytes, but only %d are there", f.size, f.end-f.offset)
	}
	f.head = headOf(b[h.bodyAt:], f.size)
	return nil
}

// A header is file and message header.
type header struct {
	bodyAt int
	size   int64
}

// parseHeader reads the begin of a file.
func parseHeader(b []byte) (h header, err error) {
	f, err := parseFileHeader(b)
	if err != nil {
		return h, err
	}
	at := f.Size + f.MessageHeader
	if at > len(b) {
		return h, corrupt("message header of %d bytes", f.MessageHeader)
	}
	size, err := parseMessageHeader(b[f.Size:at])
	return header{bodyAt: at, size: size}, err
}

// Size returns the size of the body.
func (f *File) Size() int64 { return f.size }

// ChangeTime returns when the file came to where it is.
func (f *File) ChangeTime() time.Time { return f.ctime }

// File returns the file and where the body begins in it.
func (f *File) File() (file *os.File, offset int64) { return f.f, f.offset }

// ReadAt reads from the body.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("%s: read at %d", f.path, off)
	}
	if off >= f.size {
		return 0, io.EOF
	}
	if max := f.size - off; int64(len(p)) > max {
		n, err := f.readAt(p[:max], f.offset+off)
		if err == nil {
			err = io.EOF
		}
		return n, err
	}
	return f.readAt(p, f.offset+off)
}

// Close closes the file.
func (f *File) Close() error {
	f.ahead.drop()
	f.head = nil
	return f.f.Close()
}

// Metadata reads the metadata, once.
func (f *File) Metadata() (Metadata, error) {
	if f.meta != nil {
		return f.meta, nil
	}
	at := f.offset + f.size
	if f.end-at > maxMetadata {
		return nil, fmt.Errorf("%s: %w", f.path, corrupt("metadata of %d bytes", f.end-at))
	}
	b := make([]byte, f.end-at)
	n, err := f.readAt(b, at)
	if err != nil && err != io.EOF {
		return nil, err
	}
	m, err := parseMetadata(b[:n])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	f.meta = m
	return m, nil
}

// Metadata are the lines at the end of a file.
type Metadata []byte

func parseMetadata(b []byte) (Metadata, error) {
	rest, ok := bytes.CutPrefix(b, []byte(metadataMagic))
	if !ok {
		return nil, corrupt("metadata magic")
	}
	// The empty line may be the very first.
	if bytes.HasPrefix(rest, newline) {
		return nil, nil
	}
	end := bytes.Index(rest, []byte("\n\n"))
	if end < 0 {
		return nil, corrupt("metadata has no end")
	}
	return Metadata(rest[:end+1]), nil
}

// Get returns the value of a key, "" if it is missing.
func (m Metadata) Get(key byte) string {
	for b := []byte(m); len(b) > 0; {
		line, rest, _ := bytes.Cut(b, newline)
		if len(line) > 0 && line[0] == key {
			return string(line[1:])
		}
		b = rest
	}
	return ""
}

// Hex returns the value of a key with a hexadecimal number.
func (m Metadata) Hex(key byte) (v int64, ok bool) {
	u, err := strconv.ParseUint(m.Get(key), 16, 63)
	return int64(u), err == nil
}

// Received returns the INTERNALDATE.
func (m Metadata) Received() (time.Time, bool) {
	v, ok := m.Hex(KeyReceived)
	return time.Unix(v, 0), ok
}

// CopyFile is CopyTo for a file whatever it contains, with its times. ErrNotExist.
func CopyFile(from *index.Dir, file string, to *index.Dir, flush func(fd int) error) (name string, err error) {
	fd, err := from.Open(file, unix.O_RDONLY)
	if errors.Is(err, unix.ENOENT) {
		return "", fmt.Errorf("open(%s): %w", from.File(file), ErrNotExist)
	}
	if err != nil {
		return "", sysError("open", from.File(file), err)
	}
	f := &File{f: os.NewFile(uintptr(fd), file), path: from.File(file)}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", sysError("fstat", f.path, err)
	}
	f.end = st.Size
	return f.CopyTo(to, func(fd int) error {
		// For programs that look at them; nothing here does.
		_ = unix.Futimes(fd, []unix.Timeval{unix.NsecToTimeval(unix.TimespecToNsec(st.Atim)), unix.NsecToTimeval(unix.TimespecToNsec(st.Mtim))})
		return flush(fd)
	})
}

// CopyTo makes a temporary file in dir with everything this file contains, and
// has flush called with its descriptor.
func (f *File) CopyTo(dir *index.Dir, flush func(fd int) error) (name string, err error) {
	name = TempName()
	fd, err := dir.Create(name)
	if err != nil {
		return "", sysError("open", dir.File(name), err)
	}
	out := os.NewFile(uintptr(fd), dir.File(name))
	_, err = io.Copy(out, io.NewSectionReader(f.f, 0, f.end))
	if err == nil {
		err = flush(int(out.Fd()))
	}
	if err2 := out.Close(); err == nil {
		err = err2
	}
	if err != nil {
		_ = dir.Remove(name)
		return "", sysError("write", dir.File(name), err)
	}
	return name, nil
}
