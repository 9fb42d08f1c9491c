package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A segment is one file of the log. Its mutable fields other than pos and
// synced, which belong to the tail's lock, are guarded by the store's lock.
type segment struct {
	seq  uint64
	tag  uint64
	name string
	f    file
	size int64

	pos    int64 // where the next record goes
	synced int64 // up to here everything is known to be durable

	count     int    // records in it that are needed
	live      int64  // their bytes
	tombs     []tomb // removed records in it about other segments
	cuts      []cut  // cut records in it
	readers   int    // reads under way; it is not given up meanwhile
	sealed    bool   // not written anymore
	condemned bool   // to be emptied as soon as possible
	moved     bool   // may hold old copies of messages that lie elsewhere
	stuck     bool   // could not be emptied
	punched   int64  // bytes alive when its dead contents were given back last
}

// A tomb is a removed record about a message whose record lies in segment seq.
type tomb struct {
	seq, serial uint64
}

// A cut says that segment seq counts only up to end.
type cut struct {
	seq uint64
	end int64
}

func appendCut(b []byte, c cut) []byte {
	b = binary.LittleEndian.AppendUint64(b, c.seq)
	return binary.LittleEndian.AppendUint64(b, uint64(c.end))
}

func parseCut(b []byte) (cut, error) {
	d := decoder{b: b}
	c := cut{d.uint64(), int64(d.uint64())}
	return c, d.err
}

// A place is where a record lies. Its zero value is nowhere.
type place struct {
	seg *segment
	off uint32
	len uint32
}

// take counts p as needed, drop ends that. The caller holds the store's lock.
func (p place) take() {
	if p.seg != nil {
		p.seg.count++
		p.seg.live += int64(p.len)
	}
}

func (p place) drop() {
	if p.seg != nil {
		p.seg.count--
		p.seg.live -= int64(p.len)
	}
}

// putSegmentHead returns the first block of a segment.
func putSegmentHead(seq, tag, nextSerial uint64) []byte {
	b := make([]byte, blockSize)
	copy(b, segmentMagic)
	le := binary.LittleEndian
	le.PutUint64(b[16:], seq)
	le.PutUint64(b[24:], tag)
	le.PutUint64(b[32:], nextSerial)
	le.PutUint32(b[40:], crc32.Checksum(b[:40], castagnoli))
	return b
}

// parseSegmentHead reads the first block of a segment.
func parseSegmentHead(b []byte) (seq, tag, nextSerial uint64, ok bool) {
	le := binary.LittleEndian
	if len(b) < segmentHead || string(b[:16]) != segmentMagic || crc32.Checksum(b[:40], castagnoli) != le.Uint32(b[40:]) {
		return 0, 0, 0, false
	}
	return le.Uint64(b[16:]), le.Uint64(b[24:]), le.Uint64(b[32:]), true
}

// A scanner reads the records of a segment in order.
type scanner struct {
	f     io.ReaderAt
	tag   uint64
	size  int64
	off   int64 // of the next record to look for
	end   int64 // behind the last record found
	gaps  int   // places where records were looked for behind damage
	win   []byte
	winAt int64
}

// scanWindow is read at once: the heads of several messages of usual size.
const scanWindow = 128 << 10

func newScanner(f io.ReaderAt, tag uint64, size int64) *scanner {
	return &scanner{f: f, tag: tag, size: size, off: blockSize, end: blockSize}
}

// errEnd is returned by next behind the last record.
var errEnd = errors.New("end of segment")

// A record is one record as found by a scanner. Its head is valid until the
// next call of next.
type record struct {
	header
	off  int64
	head []byte
}

// bodyAt returns where the body begins.
func (r *record) bodyAt() int64 { return r.off + headerSize + int64(r.header.head) }

// next returns the next intact record, or errEnd, or an error of the disk.
func (s *scanner) next() (record, error) {
	r, ok, err := s.at(s.off)
	if err != nil || ok {
		return r, err
	}
	// A batch begins on a block of its own: the ordinary way on.
	if at := align(s.off, blockSize); at != s.off {
		if r, ok, err = s.at(at); err != nil || ok {
			return r, err
		}
	}
	return s.search()
}

// search looks for a record behind damage.
func (s *scanner) search() (record, error) {
	var tag [8]byte
	binary.LittleEndian.PutUint64(tag[:], s.tag)
	for off := align(s.off, 8); off+headerSize <= s.size; {
		if _, err := s.bytes(off, headerSize); err != nil {
			return record{}, err
		}
		b := s.win[off-s.winAt:]
		i := bytes.Index(b, tag[:])
		if i < 0 {
			off += align(int64(len(b))-15, 8)
			continue
		}
		off = align(off+int64(i), 8)
		if r, ok, err := s.at(off); err != nil || ok {
			s.gaps++
			return r, err
		}
		off += 8
	}
	return record{}, errEnd
}

// at returns the record at off, if there is one.
func (s *scanner) at(off int64) (record, bool, error) {
	if off+headerSize > s.size {
		return record{}, false, nil
	}
	b, err := s.bytes(off, headerSize)
	if err != nil {
		return record{}, false, err
	}
	h, ok := parseHeader(b)
	if !ok || h.tag != s.tag || off+h.size() > s.size {
		return record{}, false, nil
	}
	b, err = s.bytes(off, headerSize+int64(h.head))
	if err != nil {
		return record{}, false, err
	}
	if !intact(b) {
		return record{}, false, nil
	}
	s.off = off + h.size()
	s.end = s.off
	return record{header: h, off: off, head: b[headerSize:]}, true, nil
}

// bytes returns n bytes at off, which lie within the segment.
func (s *scanner) bytes(off, n int64) ([]byte, error) {
	if off >= s.winAt && off+n <= s.winAt+int64(len(s.win)) {
		return s.win[off-s.winAt:][:n], nil
	}
	want := min(max(n, scanWindow), s.size-off)
	if int64(cap(s.win)) < want {
		s.win = make([]byte, want)
	}
	s.win = s.win[:want]
	s.winAt = off
	got, err := s.f.ReadAt(s.win, off)
	if err != nil && (err != io.EOF || int64(got) < n) {
		s.win = s.win[:0]
		return nil, err
	}
	clear(s.win[got:])
	return s.win[:n], nil
}

// bodyIntact says whether the body of r is as it was written.
func (s *scanner) bodyIntact(r *record) (bool, error) {
	if r.body == 0 {
		return true, nil
	}
	b := make([]byte, r.body)
	if _, err := s.f.ReadAt(b, r.bodyAt()); err != nil {
		if err == io.EOF {
			return false, nil
		}
		return false, err
	}
	return crc32.Checksum(b, castagnoli) == r.bodyCRC, nil
}

// readAt reads a whole record, of which the head must be intact; b is reused.
func (p place) read(b []byte, n int64) (header, []byte, error) {
	if int64(cap(b)) < n {
		b = make([]byte, n)
	}
	b = b[:n]
	if _, err := p.seg.f.ReadAt(b, int64(p.off)); err != nil {
		return header{}, nil, fmt.Errorf("read %s at %d: %w", p.seg.name, p.off, err)
	}
	h, ok := parseHeader(b)
	if !ok || h.tag != p.seg.tag || int64(h.head) > n-headerSize || !intact(b[:headerSize+h.head]) {
		return header{}, nil, fmt.Errorf("read %s at %d: %w", p.seg.name, p.off, errRecord)
	}
	return h, b, nil
}
