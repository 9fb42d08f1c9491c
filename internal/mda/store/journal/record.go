package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Kinds of records.
const (
	kindData   = 1
	kindPlace  = 2
	kindRemove = 3
	kindVoid   = 4
)

// Bits of a data record.
const (
	bitNew = 1 << iota // the file is recorded from its begin
	bitLog             // the file has no gaps
)

// A record is one of those in a batch. Strings and data are valid as long as the batch is.
type record struct {
	kind  byte
	flags byte
	dir   string // below the directory with the journal's
	name  string
	to    string // place: the new name
	id    identity
	off   int64
	data  []byte
}

// An identity tells a file from others that get its name or its inode number later.
type identity struct {
	ino  uint64
	born int64  // nanoseconds since 1970; 0 if the file system does not say
	log  uint64 // of a log what its header has at offset 4: the index it belongs to, and its number
}

// identify returns the identity of an open file.
func identify(fd int, log bool) (id identity, err error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return id, err
	}
	id.ino = st.Ino
	if st.Mask&unix.STATX_BTIME != 0 {
		id.born = st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
	}
	if log {
		var b [8]byte
		if err := readFull(fd, b[:], 4); err != nil {
			return id, err
		}
		id.log = binary.LittleEndian.Uint64(b[:])
	}
	return id, nil
}

// appendHead appends all of a record but the data, which is to follow.
func (r *record) appendHead(b []byte, size int) []byte {
	b = append(b, r.kind, r.flags)
	for _, s := range [...]string{r.dir, r.name, r.to} {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(s)))
		b = append(b, s...)
	}
	b = binary.LittleEndian.AppendUint64(b, r.id.ino)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.id.born))
	b = binary.LittleEndian.AppendUint64(b, r.id.log)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.off))
	return binary.LittleEndian.AppendUint32(b, uint32(size))
}

// errRecord is about a batch whose checksum is right and whose records are not.
var errRecord = errors.New("journal record makes no sense")

// nextRecord decodes the first record of b.
func nextRecord(b []byte) (r record, rest []byte, err error) {
	if len(b) < 2 {
		return r, nil, errRecord
	}
	r.kind, r.flags, b = b[0], b[1], b[2:]
	for _, s := range [...]*string{&r.dir, &r.name, &r.to} {
		if len(b) < 2 {
			return r, nil, errRecord
		}
		n := int(binary.LittleEndian.Uint16(b))
		if len(b) < 2+n {
			return r, nil, errRecord
		}
		*s, b = string(b[2:2+n]), b[2+n:]
	}
	if len(b) < 36 {
		return r, nil, errRecord
	}
	r.id = identity{binary.LittleEndian.Uint64(b), int64(binary.LittleEndian.Uint64(b[8:])), binary.LittleEndian.Uint64(b[16:])}
	r.off = int64(binary.LittleEndian.Uint64(b[24:]))
	n := int(binary.LittleEndian.Uint32(b[32:]))
	if b = b[36:]; n > len(b) {
		return r, nil, errRecord
	}
	r.data, rest = b[:n:n], b[n:]
	return r, rest, r.check()
}

// maxOffset is far above what any mail file has.
const maxOffset = 1 << 40

// check refuses what this package never writes, whoever wrote it.
func (r *record) check() error {
	names := []string{r.name}
	if r.kind == kindPlace {
		names = append(names, r.to)
	}
	for _, name := range names {
		if !validName(name) {
			return fmt.Errorf("%w: name %q", errRecord, name)
		}
	}
	switch {
	case r.kind < kindData || r.kind > kindVoid, !filepath.IsLocal(r.dir), r.off < 0 || r.off > maxOffset:
		return fmt.Errorf("%w: kind %d, directory %q, offset %d", errRecord, r.kind, r.dir, r.off)
	}
	return nil
}

// validName tells whether name is one in a directory.
func validName(name string) bool {
	if name == "" || name == "." || name == ".." || len(name) > 255 {
		return false
	}
	for i := range len(name) {
		if name[i] == '/' || name[i] == 0 {
			return false
		}
	}
	return true
}
