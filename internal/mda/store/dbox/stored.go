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

	"github.com/dovetail-mail/dovetail/internal/mda/store/compress"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// A FileHeader is the first line of a file.
type FileHeader struct {
	Size          int // of the line
	MessageHeader int // size of the header of each message
	Created       time.Time
}

// ReadFileHeader reads the first line of a file. ErrCorrupt.
func ReadFileHeader(r io.ReaderAt) (h FileHeader, err error) {
	b := make([]byte, maxFileHeader)
	n, err := r.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return h, err
	}
	return parseFileHeader(b[:n])
}

func parseFileHeader(b []byte) (h FileHeader, err error) {
	line, _, ok := bytes.Cut(b, newline)
	if !ok || len(line) < 2 || (line[0] != '1' && line[0] != '2') || line[1] != ' ' {
		return h, corrupt("file header")
	}
	for _, word := range bytes.Fields(line[2:]) {
		v, err := strconv.ParseUint(string(word[1:]), 16, 63)
		switch {
		case word[0] == 'M' && (err != nil || v > maxFileHeader):
			return h, corrupt("file header: message header size %q", word[1:])
		case word[0] == 'M':
			h.MessageHeader = int(v)
		case word[0] == 'C' && err != nil:
			return h, corrupt("file header: creation time %q", word[1:])
		case word[0] == 'C':
			h.Created = time.Unix(int64(v), 0)
		}
	}
	if h.MessageHeader < MessageHeaderSize {
		return h, corrupt("message header of %d bytes", h.MessageHeader)
	}
	h.Size = len(line) + 1
	return h, nil
}

// parseMessageHeader returns the size of the body.
func parseMessageHeader(m []byte) (size int64, err error) {
	if len(m) < MessageHeaderSize || m[0] != 1 || m[1] != 2 {
		return 0, corrupt("message header magic")
	}
	v, err := strconv.ParseUint(string(m[13:29]), 16, 63)
	if err != nil || m[29] != '\n' {
		return 0, corrupt("message size %q", m[13:29])
	}
	return int64(v), nil
}

// AppendFileHeader appends the first line of a new file.
func AppendFileHeader(b []byte, now time.Time) []byte {
	b = append(b, "2 M1e C"...)
	b = strconv.AppendInt(b, now.Unix(), 16)
	return append(b, '\n')
}

// A Stored message is where one lies in a file that holds several.
type Stored struct {
	At       int64 // of the message header
	Body     int64
	BodySize int64
	End      int64 // behind the metadata
	Metadata Metadata
}

// ReadStored reads the message whose header is at that place of a file, which
// must be complete before end. ErrCorrupt.
func ReadStored(r io.ReaderAt, h *FileHeader, at, end int64) (s Stored, err error) {
	var buf [maxFileHeader]byte
	m := buf[:h.MessageHeader]
	if at+int64(len(m)) > end {
		return s, corrupt("no message at %d", at)
	}
	if _, err := r.ReadAt(m, at); err != nil {
		return s, fileEnded(err)
	}
	size, err := parseMessageHeader(m)
	if err != nil {
		return s, err
	}
	s = Stored{At: at, Body: at + int64(len(m)), BodySize: size}
	if size > end-s.Body {
		return s, corrupt("body of %d bytes, but only %d are there", size, end-s.Body)
	}
	s.Metadata, s.End, err = readMetadata(r, s.Body+size, end)
	return s, err
}

// readMetadata reads the metadata at that place, of which little is usual.
func readMetadata(r io.ReaderAt, at, end int64) (m Metadata, last int64, err error) {
	for n := int64(512); ; n *= 8 {
		b := make([]byte, min(n, end-at))
		if _, err := r.ReadAt(b, at); err != nil {
			return nil, 0, fileEnded(err)
		}
		m, err = parseMetadata(b)
		if err == nil {
			return m, at + int64(len(metadataMagic)+len(m)+1), nil
		}
		if n > maxMetadata || n >= end-at {
			return nil, 0, err
		}
	}
}

func fileEnded(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return corrupt("file ends early")
	}
	if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ESPIPE) {
		return corrupt("not a regular file")
	}
	return err
}

// OpenAt opens a message of a file in dir that holds several: its header is at
// offset, and size bytes are its own. ErrNotExist, ErrCorrupt.
func OpenAt(dir *index.Dir, name string, offset, size int64) (*File, error) {
	fd, err := openFile(dir, name)
	if err != nil {
		return nil, err
	}
	f := &File{f: os.NewFile(uintptr(fd), name), path: dir.File(name), end: offset + size}
	if err = f.readMessageHeader(offset); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s, offset %d: %w", f.path, offset, err)
	}
	return f, nil
}

// readMessageHeader reads the message header at offset.
func (f *File) readMessageHeader(offset int64) error {
	h, err := ReadFileHeader(f.f)
	if err != nil {
		return fileEnded(err)
	}
	m, err := f.ahead.read(f.f, offset, f.end)
	if len(m) < h.MessageHeader {
		return fileEnded(err)
	}
	if f.size, err = parseMessageHeader(m[:min(len(m), h.MessageHeader+compress.HeadSize)]); err != nil {
		return err
	}
	f.offset = offset + int64(h.MessageHeader)
	if f.size > f.end-f.offset {
		return corrupt("body of %d bytes, but only %d are there", f.size, f.end-f.offset)
	}
	f.head = headOf(m[h.MessageHeader:], f.size)
	return nil
}
