package dump

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	logHeaderSize    = 40
	logOldHeaderSize = 24
	maxLogRecord     = 1 << 28 // more than a mailbox can fill
)

func isLog(path string) bool {
	name := path[strings.LastIndexByte(path, '/')+1:]
	_, rest, ok := strings.Cut(name, ".log")
	if !ok || rest != "" && rest[0] != '.' {
		return false
	}
	b := prefix(path, logHeaderSize)
	return len(b) >= logOldHeaderSize && b[0] == 1 && le16(b[2:]) >= logOldHeaderSize
}

// A logReader shows a dovecot.index.log.
type logReader struct {
	*dumper
	in         *bufio.Reader
	off        int64
	modseq     uint64
	minor      byte
	recordSize int // of the extension introduced last
}

func (d *dumper) log(path string, _ []string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read() failed: open(%s) failed: %s", path, reason(err))
	}
	defer f.Close()
	r := &logReader{dumper: d, in: bufio.NewReaderSize(f, 64<<10)}
	if err := r.header(); err != nil {
		return err
	}
	for {
		if more, err := r.record(); err != nil || !more {
			return err
		}
	}
}

// read fills b; n is less than its length only with an error.
func (r *logReader) read(b []byte) (n int, err error) {
	n, err = io.ReadFull(r.in, b)
	if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
		return n, fmt.Errorf("read() failed: %s", reason(err))
	}
	if err != nil {
		err = io.EOF
	}
	return n, err
}

func (r *logReader) header() error {
	var b [logHeaderSize]byte
	n, err := r.read(b[:])
	if err == io.EOF {
		return fmt.Errorf("file hdr read() %d != %d", n, len(b))
	}
	if err != nil {
		return err
	}
	size := int64(le16(b[2:]))
	if size > logHeaderSize {
		if _, err := r.in.Discard(int(size) - logHeaderSize); err != nil {
			return fmt.Errorf("file hdr read() %d != %d", n, size)
		}
	} else {
		// A shorter header is followed by records at once, which this is part of.
		r.in = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(append([]byte(nil), b[size:]...)), r.in), 64<<10)
		clear(b[size:])
	}
	r.off, r.minor, r.modseq = size, b[1], le64(b[24:])
	r.printf("version = %d.%d\nhdr size = %d\nindex id = %d\nfile seq = %d\n", b[0], b[1], size, le32(b[4:]), le32(b[8:]))
	r.printf("prev file = %d/%d\ncreate stamp = %d\ninitial modseq = %d\ncompat flags = %x\n",
		le32(b[12:]), le32(b[16:]), le32(b[20:]), le64(b[24:]), b[32])
	return nil
}

var recordNames = map[uint32]string{
	guardExpunge: "expunge", guardExpunge2: "expunge-guid", recAppend: "append", recFlagUpdate: "flag-update",
	recHeaderUpdate: "header-update", recExtIntro: "ext-intro", recExtReset: "ext-reset", recExtHeader: "ext-hdr",
	recExtHeader32: "ext-hdr32", recExtRecords: "ext-rec", recKeywordUpdate: "keyword-update", recKeywordReset: "keyword-reset",
	recAtomicInc: "ext-atomic-inc", recModSeq: "modseq-update", recDeleted: "index-deleted", recUndeleted: "index-undeleted",
	recBoundary: "boundary", recAttribute: "attribute-update",
}

func recordName(typ uint32) string {
	name, ok := recordNames[typ&typeMask]
	if !ok {
		name = fmt.Sprintf("unknown: %x", typ)
	}
	if typ&typeExternal != 0 {
		name += " (ext)"
	}
	if typ&typeSync != 0 {
		name += " (sync)"
	}
	return name
}

// record shows the next record. more is false behind the last.
func (r *logReader) record() (more bool, err error) {
	var h [recordHeader]byte
	n, err := r.read(h[:])
	if n == 0 && err == io.EOF {
		return false, nil
	}
	if err == io.EOF {
		return false, fmt.Errorf("rec hdr read() %d != %d", n, len(h))
	}
	if err != nil {
		return false, err
	}
	rec := record{typ: le32(h[4:]), size: encodedSize(h[:])}
	if rec.size < recordHeader {
		r.printf("record: offset=%d, type=%s, size=broken (%x)\n", r.off, recordName(rec.typ), le32(h[:]))
		return false, nil
	}
	r.printf("record: offset=%d, type=%s, size=%d", r.off, recordName(rec.typ), rec.size)
	if rec.payload, err = r.payload(rec.size - recordHeader); err != nil {
		r.printf("\n")
		return false, err
	}
	before := r.modseq
	if r.modseq = rec.modSeqAfter(before, r.minor); r.modseq > before {
		r.printf(", modseq=%d", r.modseq)
	}
	r.printf("\n")
	r.off += int64(rec.size)
	r.content(&rec)
	return true, nil
}

func (r *logReader) payload(size int) ([]byte, error) {
	if size > maxLogRecord {
		return nil, fmt.Errorf("record of %d bytes at %d is too long", size, r.off)
	}
	var b bytes.Buffer
	n, err := io.CopyN(&b, r.in, int64(size))
	if err == io.EOF {
		return nil, fmt.Errorf("rec data read() %d != %d", n, size)
	}
	if err != nil {
		return nil, fmt.Errorf("read() failed: %s", reason(err))
	}
	return b.Bytes(), nil
}

// content shows what a record says.
func (r *logReader) content(rec *record) {
	p, ok := rec.payload, true
	switch rec.kind() {
	case guardExpunge, recKeywordReset:
		end := ","
		if rec.kind() == recKeywordReset {
			end = ", "
		}
		r.printf(" - uids=")
		ok = ranges(p, 8, func(first, last uint32, _ []byte) { r.printf("%d-%d%s", first, last, end) })
		r.printf("\n")
	case guardExpunge2:
		for ; len(p) >= 20; p = p[20:] {
			r.printf(" - uid=%d (guid %x)\n", le32(p), p[4:20])
		}
		ok = len(p) == 0
	case recAppend:
		ok = r.appended(p)
	case recFlagUpdate:
		ok = ranges(p, 12, func(first, last uint32, u []byte) {
			r.printf(" - uids=%d-%d (flags +%x-%x, modseq_inc_flag=%d)\n", first, last, u[8], u[9], u[10])
		})
	case recHeaderUpdate:
		ok = r.headerUpdate(p)
	case recExtIntro:
		ok = r.intro(p)
	case recExtReset:
		if ok = len(p) >= 4; ok {
			r.printf(" - new_reset_id = %d\n - preserve_data = %d\n", le32(p), byteAt(p, 4))
		}
	case recExtHeader:
		ok = r.extHeader(p, 2)
	case recExtHeader32:
		ok = r.extHeader(p, 4)
	case recExtRecords:
		ok = r.extRecords(p)
	case recAtomicInc:
		ok = r.atomicInc(p)
	case recKeywordUpdate:
		ok = r.keywords(p)
	case recModSeq:
		for ; len(p) >= 12; p = p[12:] {
			r.printf(" - uid=%d modseq=%d\n", le32(p), uint64(le32(p[8:]))<<32|uint64(le32(p[4:])))
		}
		ok = len(p) == 0
	case recBoundary:
		if ok = len(p) >= 4; ok {
			r.printf(" - size=%d\n", le32(p))
		}
	case recAttribute:
		ok = r.attributes(p)
	}
	if !ok {
		r.printf(" - broken entry\n")
	}
}

func byteAt(b []byte, i int) byte {
	if i < len(b) {
		return b[i]
	}
	return 0
}

// data shows bytes, and as a number if they are four.
func (r *logReader) data(b []byte) {
	r.printf("%x", b)
	if len(b) == 4 {
		r.printf(" (dec=%d)", le32(b))
	}
}

func (r *logReader) appended(p []byte) bool {
	r.printf(" - uids=")
	for ; len(p) >= 8; p = p[8:] {
		r.printf("%d", le32(p))
		if p[4] != 0 {
			r.printf(" (flags=%x)", p[4])
		}
		r.printf(",")
	}
	r.printf("\n")
	return len(p) == 0
}

// headerFields are the fields of dovecot.index's header that are shown by name.
var headerFields = []struct {
	name      string
	off, size int
}{
	{"minor_version", 1, 1}, {"base_header_size", 2, 2}, {"header_size", 4, 4}, {"record_size", 8, 4}, {"compat_flags", 12, 1},
	{"indexid", 16, 4}, {"flags", 20, 4}, {"uid_validity", 24, 4}, {"next_uid", 28, 4}, {"messages_count", 32, 4},
	{"unused_old_recent_messages_count", 36, 4}, {"seen_messages_count", 40, 4}, {"deleted_messages_count", 44, 4},
	{"first_recent_uid", 48, 4}, {"first_unseen_uid_lowwater", 52, 4}, {"first_deleted_uid_lowwater", 56, 4},
	{"log_file_seq", 60, 4}, {"log_file_tail_offset", 64, 4}, {"log_file_head_offset", 68, 4}, {"day_stamp", 84, 4},
}

// headerUpdate shows the first update of the record; Dovecot writes one in each.
func (r *logReader) headerUpdate(p []byte) bool {
	if len(p) < 4 {
		return false
	}
	off, size := int(le16(p)), int(le16(p[2:]))
	if 4+size > len(p) {
		r.printf(" - offset = %d, size = %d (too large)\n", off, size)
		return true
	}
	p = p[4 : 4+size]
next:
	for len(p) > 0 {
		for _, f := range headerFields {
			if f.off == off && f.size <= len(p) {
				r.printf(" - %s = %d\n", f.name, number(p[:f.size]))
				off, p = off+f.size, p[f.size:]
				continue next
			}
		}
		r.printf(" - offset = %d, size = %d: ", off, len(p))
		r.data(p)
		r.printf("\n")
		return true
	}
	return true
}

// number is a little-endian number of up to eight bytes.
func number(b []byte) (n uint64) {
	for i := len(b) - 1; i >= 0; i-- {
		n = n<<8 | uint64(b[i])
	}
	return n
}

func (r *logReader) intro(p []byte) bool {
	if len(p) < 20 {
		return false
	}
	name := int(le16(p[18:]))
	r.recordSize = int(le16(p[12:]))
	r.printf(" - ext_id = %d\n - reset_id = %d\n - hdr_size = %d\n", le32(p), le32(p[4:]), le32(p[8:]))
	r.printf(" - record_size = %d\n - record_align = %d\n - flags = %d\n - name_size = %d\n", r.recordSize, le16(p[14:]), le16(p[16:]), name)
	if name > len(p)-20 {
		return false
	}
	if name > 0 {
		r.printf(" - name = '%s'\n", cString(p[20:20+name]))
	}
	return true
}

func (r *logReader) extHeader(p []byte, width int) bool {
	if len(p) < 2*width {
		return false
	}
	off, size := number(p[:width]), number(p[width:2*width])
	r.printf(" - offset = %d, size = %d", off, size)
	if size <= uint64(len(p)-2*width) {
		r.printf(": ")
		r.data(p[2*width : 2*width+int(size)])
	} else {
		r.printf(" (too large)")
	}
	r.printf("\n")
	return true
}

func (r *logReader) extRecords(p []byte) bool {
	for len(p) >= 4 {
		r.printf(" - uid=%d: ", le32(p))
		if 4+r.recordSize > len(p) {
			r.printf("(record_size too large)\n")
			return true
		}
		r.data(p[4 : 4+r.recordSize])
		r.printf("\n")
		p = p[min(pad(4+r.recordSize, 4), len(p)):]
	}
	return len(p) == 0
}

func (r *logReader) atomicInc(p []byte) bool {
	for ; len(p) >= 8; p = p[8:] {
		diff, sign := int32(le32(p[4:])), ""
		if diff > 0 {
			sign = "+"
		}
		r.printf(" - uid=%d: %s%d\n", le32(p), sign, diff)
	}
	return len(p) == 0
}

func (r *logReader) keywords(p []byte) bool {
	op, name, uids, ok := keywordUpdate(p)
	if !ok {
		return false
	}
	r.printf(" - modify=%d, name=%s, uids=", op, cString([]byte(name)))
	ok = ranges(uids, 8, func(first, last uint32, _ []byte) { r.printf("%d-%d,", first, last) })
	r.printf("\n")
	return ok
}

// attributes shows an ATTRIBUTE_UPDATE: changed keys, each ending in NUL, then for
// each the time and, if it was set, the length of its value.
func (r *logReader) attributes(p []byte) bool {
	var keys []string
	numbers, i := 0, 0
	for i < len(p) && p[i] != 0 {
		key := cString(p[i:])
		if i += len(key) + 1; i > len(p) || len(key) < 2 {
			return false
		}
		if numbers++; key[0] == '+' {
			numbers++
		}
		keys = append(keys, key)
	}
	i = pad(i, 4)
	if len(p)-i != 4*numbers {
		return false
	}
	extra := p[i:]
	next := func() uint32 { v := le32(extra); extra = extra[4:]; return v }
	for _, key := range keys {
		op, kind := "?", "?error?"
		switch key[0] {
		case '+':
			op = "add"
		case '-':
			op = "remove"
		}
		switch key[1] {
		case 'p':
			kind = "private"
		case 's':
			kind = "shared"
		}
		r.printf(" - %s: %s/%s : timestamp=%s", op, kind, key[2:], date(next()))
		if key[0] == '+' {
			r.printf(" value_len=%d", next())
		}
		r.printf("\n")
	}
	return true
}
