package dbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// maxRepair bounds the files that are repaired, since they are read whole.
const maxRepair = 1 << 30

// Repair replaces a damaged file by one with whatever text can be found in it,
// and keeps the original as name.broken. If there is none, kept is false and
// only the original remains. The mailbox must be locked.
func Repair(dir *index.Dir, name string) (kept bool, err error) {
	b, st, err := readWhole(dir, name)
	if err != nil {
		return false, err
	}
	body, meta := findBody(b)
	if body == nil {
		return false, dir.Rename(name, name+BrokenSuffix)
	}
	temp := TempName()
	fd, err := dir.Create(temp)
	if err != nil {
		return false, sysError("open", dir.File(temp), err)
	}
	err = index.WriteAll(fd, rebuilt(body, meta, st))
	if err == nil {
		err = unix.Fdatasync(fd)
	}
	unix.Close(fd)
	if err == nil {
		err = unix.Linkat(dir.FD, name, dir.FD, name+BrokenSuffix, 0)
		if errors.Is(err, unix.EEXIST) {
			err = nil // from an earlier attempt
		}
	}
	if err == nil {
		err = dir.Rename(temp, name)
	}
	if err != nil {
		_ = dir.Remove(temp)
		return false, fmt.Errorf("repair %s: %w", dir.File(name), err)
	}
	return true, nil
}

func readWhole(dir *index.Dir, name string) ([]byte, *unix.Stat_t, error) {
	fd, err := dir.Open(name, unix.O_RDONLY)
	if err != nil {
		return nil, nil, sysError("open", dir.File(name), err)
	}
	f := os.NewFile(uintptr(fd), dir.File(name))
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, nil, sysError("fstat", dir.File(name), err)
	}
	if st.Size > maxRepair {
		return nil, nil, fmt.Errorf("repair %s: %d bytes are too much", dir.File(name), st.Size)
	}
	b, err := io.ReadAll(f)
	return b, &st, err
}

// findBody returns what is left of text and metadata lines; body is nil if
// there is none.
func findBody(b []byte) (body, meta []byte) {
	start := 0
	if h, err := parseHeader(b[:min(len(b), maxFileHeader)]); err == nil {
		start = h.bodyAt
	} else if i := bytes.Index(b[:min(len(b), maxFileHeader)], []byte("\x01\x02N")); i >= 0 {
		start = i + MessageHeaderSize
	} else if i := bytes.IndexByte(b[:min(len(b), maxFileHeader)], '\n'); i >= 0 && i < 64 {
		start = i + 1 + MessageHeaderSize
	}
	if start >= len(b) {
		return nil, nil
	}
	body = b[start:]
	if i := bytes.LastIndex(body, []byte(metadataMagic)); i >= 0 {
		meta = body[i+len(metadataMagic):]
		body = body[:i]
		if end := bytes.Index(meta, []byte("\n\n")); end >= 0 {
			meta = meta[:end+1]
		} else {
			meta = meta[:bytes.LastIndexByte(meta, '\n')+1]
		}
	}
	if len(body) == 0 {
		return nil, nil
	}
	return body, meta
}

// rebuilt returns a file with the body and the metadata lines that are left.
func rebuilt(body, meta []byte, st *unix.Stat_t) []byte {
	b := make([]byte, 0, len(body)+len(meta)+256)
	b = fmt.Appendf(b, "2 M1e C%x\n", st.Mtim.Sec)
	b = appendMessageHeader(b, int64(len(body)))
	b = append(b, body...)
	m := Metadata(meta)
	if m.Get(KeyReceived) != "" && m.Get(KeyGUID) != "" {
		b = append(b, metadataMagic...)
		b = append(b, meta...)
		return append(b, '\n')
	}
	f := Fields{Received: time.Unix(st.Mtim.Sec, 0), GUID: m.Get(KeyGUID)}
	if t, ok := m.Received(); ok {
		f.Received = t
	}
	return appendMetadata(b, &f, virtualSize(body))
}

// virtualSize returns the size of text with every line end counted as CRLF.
func virtualSize(text []byte) int64 {
	return int64(len(text) + bytes.Count(text, newline) - bytes.Count(text, crlf))
}

// VirtualSize computes the size of the body with every line end counted as
// CRLF, for a file that does not say it.
func (f *File) VirtualSize() (int64, error) {
	buf := make([]byte, bufSize)
	size, last := f.size, byte(0)
	for off := int64(0); off < f.size; {
		n, err := f.ReadAt(buf, off)
		if n == 0 {
			return 0, err
		}
		size += virtualSize(buf[:n]) - int64(n)
		if last == '\r' && buf[0] == '\n' {
			size--
		}
		last = buf[n-1]
		off += int64(n)
	}
	return size, nil
}
