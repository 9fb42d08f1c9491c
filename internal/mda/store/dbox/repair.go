package dbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/compress"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// maxRepair bounds the files that are repaired, since they are read whole.
const maxRepair = 1 << 30

// maxSalvage bounds what is decompressed of one.
const maxSalvage = 256 << 20

// Repair replaces a damaged file by one with whatever text can be found in it,
// and keeps the original as name.broken. If there is none, kept is false and
// only the original remains. The mailbox must be locked.
func Repair(dir *index.Dir, name string) (kept bool, err error) {
	b, st, err := readWhole(dir, name)
	if errors.Is(err, ErrCorrupt) {
		return false, dir.SetAside(name)
	}
	if err != nil {
		return false, err
	}
	body, meta := findBody(b)
	if body == nil {
		return false, dir.SetAside(name)
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
	fd, err := openFile(dir, name)
	if err != nil {
		return nil, nil, err
	}
	f := os.NewFile(uintptr(fd), dir.File(name))
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, nil, sysError("fstat", dir.File(name), err)
	}
	if err := IsFile(&st); err != nil {
		return nil, nil, err
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
	begin := b[:min(len(b), maxFileHeader)]
	start, size := 0, int64(-1)
	if h, err := parseHeader(begin); err == nil {
		start, size = h.bodyAt, h.size
	} else if i := bytes.Index(begin, []byte("\x01\x02N")); i >= 0 {
		start = i + MessageHeaderSize
	} else if i := bytes.IndexByte(begin, '\n'); i >= 0 && i < 64 {
		start = i + 1 + MessageHeaderSize
	} else if len(b) < MessageHeaderSize {
		return nil, nil // the begin of a header
	}
	if start >= len(b) {
		return nil, nil
	}
	body = b[start:]
	switch i := bytes.LastIndex(body, []byte(metadataMagic)); {
	case i >= 0:
		body, meta = body[:i], body[i+len(metadataMagic):]
	case size >= 0 && size <= int64(len(body)):
		// What separates metadata from the text is damaged; the size tells where it is.
		meta = body[min(size+int64(len(metadataMagic)), int64(len(body))):]
		body = body[:size]
	}
	if end := bytes.Index(meta, []byte("\n\n")); end >= 0 {
		meta = meta[:end+1]
	} else {
		meta = meta[:bytes.LastIndexByte(meta, '\n')+1]
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
	header := len(b)
	b = appendMessageHeader(b, int64(len(body)))
	b = append(b, body...)
	m := Metadata(meta)
	if m.Get(KeyReceived) != "" && m.Get(KeyGUID) != "" {
		b = append(b, metadataMagic...)
		b = append(b, meta...)
		return append(b, '\n')
	}
	// The end of the file is lost, and with it that of a compressed text.
	if plain := salvage(body); plain != nil {
		b = appendMessageHeader(b[:header], int64(len(plain)))
		b, body = append(b, plain...), plain
	}
	f := Fields{Received: time.Unix(st.Mtim.Sec, 0), GUID: m.Get(KeyGUID)}
	if t, ok := m.Received(); ok {
		f.Received = t
	}
	return appendMetadata(b, &f, -1, virtualSize(body), nil)
}

// salvage decompresses what can be decompressed of a text that was cut; nil if it is not
// compressed, or nothing can be.
func salvage(body []byte) []byte {
	m := compress.Detect(body)
	if m == nil {
		return nil
	}
	r, err := m.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil
	}
	defer r.Close()
	plain, _ := io.ReadAll(io.LimitReader(r, maxSalvage)) // the error is the cut
	return plain
}

// virtualSize returns the size of text with every line end counted as CRLF.
func virtualSize(text []byte) int64 {
	return int64(len(text) + bytes.Count(text, newline) - bytes.Count(text, crlf))
}

// VirtualSize computes the size of the body with every line end counted as
// CRLF, for a file that does not say it.
func (f *File) VirtualSize() (int64, error) { return VirtualSize(f) }
