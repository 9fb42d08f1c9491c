package imap

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// maxField is how much of one header field HEADER.FIELDS gives: what Dovecot 2.3.21.1 allows.
const maxField = 10 << 20

// lastPartial is where the last partial of a session ended, so that a client
// that reads a message in pieces does not have it read from the start for each.
type lastPartial struct {
	uid      uint32
	offset   int64 // of the section
	virtual  int64 // read so far
	physical int64
}

// writeSection writes one section of the message at hand. text is that of a section
// that is fields of the header.
func (f *fetcher) writeSection(s *section, text []byte) error {
	if err := f.write(s.label); err != nil {
		return err
	}
	if s.isFields() {
		return f.writeFieldText(s, text)
	}
	ext, ok, err := f.extent(s)
	if err != nil {
		return err
	}
	if !ok {
		f.count(s, 0)
		return f.write(" {0}\r\n")
	}
	if s.text == textFields || s.text == textFieldsNot {
		return f.writeFields(s, ext)
	}
	from, n := s.cut(ext.virtual)
	f.count(s, n)
	if err := f.writeLiteralSize(n); err != nil {
		return err
	}
	return f.writeText(ext, from, n)
}

// extent finds the section. For the whole message the structure is not needed.
func (f *fetcher) extent(s *section) (extent, bool, error) {
	if s.whole() {
		virtual, err := f.msg.VirtualSize()
		return extent{0, f.body.Size(), virtual}, true, err
	}
	ext, ok := s.extent(f.structure)
	return ext, ok, nil
}

// cut returns which piece of a section of the given size is wanted.
func (s *section) cut(size int64) (from, n int64) {
	if !s.partial {
		return 0, size
	}
	from = min(s.start, size)
	return from, min(s.length, size-from)
}

// count counts for the session's log line.
func (f *fetcher) count(s *section, n int64) {
	if s.isHeader() {
		f.stats.hdrCount++
		f.stats.hdrBytes += n
	} else {
		f.stats.bodyCount++
		f.stats.bodyBytes += n
	}
}

func (f *fetcher) writeLiteralSize(n int64) error {
	b := append(f.buf(), " {"...)
	b = strconv.AppendInt(b, n, 10)
	return f.put(append(b, "}\r\n"...))
}

// writeText writes n bytes of ext from virtual position from on.
func (f *fetcher) writeText(ext extent, from, n int64) error {
	pos := seekPos{physical: ext.offset}
	if from > 0 {
		if ext.size == ext.virtual {
			pos.physical += from
		} else if err := f.seekVirtual(&pos, ext, from); err != nil {
			return err
		}
	}
	var r io.Reader = io.NewSectionReader(f.body, pos.physical, ext.offset+ext.size-pos.physical)
	if ext.size != ext.virtual {
		crlf := crlfPool.Get().(*message.CRLFReader)
		defer func() {
			crlf.Reset(nil)
			crlfPool.Put(crlf)
		}()
		crlf.Reset(r)
		r = crlf
	}
	if pos.inCRLF && n > 0 {
		n--
		if err := f.write("\n"); err != nil {
			return err
		}
	}
	return f.copyText(r, n)
}

// copyText copies n bytes from r to the client. NULs, which a literal must not
// have (RFC 3501 9), become 0x80, as in Dovecot.
func (f *fetcher) copyText(r io.Reader, n int64) error {
	for n > 0 {
		b := f.buf()
		free := b[len(b):cap(b)]
		free = free[:min(int64(len(free)), n)]
		k, err := r.Read(free)
		for i := bytes.IndexByte(free[:k], 0); i >= 0; i = bytes.IndexByte(free[:k], 0) {
			free[i] = 0x80
		}
		if err := f.put(b[:len(b)+k]); err != nil {
			return err
		}
		n -= int64(k)
		if n > 0 && k == 0 && err != nil {
			if err == io.EOF {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// seekPos is a position in the stored text. inCRLF says that it is in the middle of
// a line end: the LF is to be written, and physical is after it.
type seekPos struct {
	physical int64
	inCRLF   bool
}

// seekVirtual moves pos, which is at the start of ext, to a virtual position.
func (f *fetcher) seekVirtual(pos *seekPos, ext extent, from int64) error {
	last := &f.session.partial
	virtual := int64(0)
	if last.uid == f.uid && last.offset == ext.offset && last.virtual <= from {
		virtual, pos.physical = last.virtual, last.physical
	}
	p := chunkPool.Get().(*[]byte)
	defer chunkPool.Put(p)
	cr := false // the byte before is CR
	if pos.physical > ext.offset {
		if _, err := f.body.ReadAt((*p)[:1], pos.physical-1); err != nil && err != io.EOF {
			return err
		}
		cr = (*p)[0] == '\r'
	}
	for virtual < from {
		chunk := (*p)[:min(int64(len(*p)), ext.offset+ext.size-pos.physical)]
		k, err := f.body.ReadAt(chunk, pos.physical)
		if k == 0 {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		used, wide := skipVirtual(chunk[:k], from-virtual, cr)
		pos.physical += int64(used)
		virtual += wide
		cr = chunk[used-1] == '\r'
	}
	if virtual > from { // one too far: between CR and LF of a bare LF
		pos.inCRLF = true
		*last = lastPartial{}
		return nil
	}
	*last = lastPartial{uid: f.uid, offset: ext.offset, virtual: virtual, physical: pos.physical}
	return nil
}

// skipVirtual returns how many bytes of p make up at least n virtual bytes, and how
// many they make. cr says that the byte before p is CR.
func skipVirtual(p []byte, n int64, cr bool) (used int, virtual int64) {
	for used < len(p) && virtual < n {
		i := bytes.IndexByte(p[used:], '\n')
		if i < 0 {
			i = len(p) - used
		}
		if int64(i) >= n-virtual {
			return used + int(n-virtual), n
		}
		used += i
		virtual += int64(i)
		if used == len(p) {
			break
		}
		if used > 0 && p[used-1] != '\r' || used == 0 && !cr {
			virtual++
		}
		used++
		virtual++
	}
	return used, virtual
}

var crlfPool = sync.Pool{New: func() any { return message.NewCRLFReader(nil) }}

var chunkPool = sync.Pool{New: func() any { b := make([]byte, 16<<10); return &b }}

// writeFields writes HEADER.FIELDS and HEADER.FIELDS.NOT: the fields in the order
// of the message and an empty line.
func (f *fetcher) writeFields(s *section, ext extent) error {
	p := chunkPool.Get().(*[]byte)
	defer chunkPool.Put(p)
	text, err := appendFields((*p)[:0], s, f.body, ext)
	if err != nil {
		return err
	}
	return f.writeFieldText(s, text)
}

// writeFieldText writes the literal of a section that is fields.
func (f *fetcher) writeFieldText(s *section, text []byte) error {
	from, n := s.cut(int64(len(text)))
	f.count(s, n)
	if err := f.writeLiteralSize(n); err != nil {
		return err
	}
	return f.copyText(bytes.NewReader(text[from:]), n)
}

// copyBytes copies text as it is.
func (f *fetcher) copyBytes(text []byte) error {
	for len(text) > 0 {
		n := min(outSize, len(text))
		if err := f.put(append(f.buf(), text[:n]...)); err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}

func appendFields(b []byte, s *section, body mailbox.Body, ext extent) ([]byte, error) {
	h := message.NewHeaderReader(io.NewSectionReader(body, ext.offset, ext.size), maxField)
	for field, ok := h.Next(); ok; field, ok = h.Next() {
		wanted := slices.ContainsFunc(s.fields, func(name string) bool { return equalFold(name, field.Name) })
		if wanted == (s.text == textFields) {
			b = appendCRLF(b, field.Raw)
		}
	}
	if ended, err := headerEnds(body, ext); err != nil || !ended {
		return b, errors.Join(h.Err(), err)
	}
	return append(b, "\r\n"...), h.Err()
}

// headerEnds tells whether a header has the empty line at its end.
func headerEnds(body mailbox.Body, ext extent) (bool, error) {
	var buf [3]byte
	last := buf[:min(int64(len(buf)), ext.size)]
	n, err := body.ReadAt(last, ext.offset+ext.size-int64(len(last)))
	if n < len(last) {
		return false, err
	}
	text, ok := strings.CutSuffix(string(last), "\n")
	text = strings.TrimSuffix(text, "\r")
	return ok && (text == "" || strings.HasSuffix(text, "\n")), nil
}

// appendCRLF appends text with every line ended by CRLF.
func appendCRLF(b, text []byte) []byte {
	for {
		i := bytes.IndexByte(text, '\n')
		if i < 0 {
			return append(b, text...)
		}
		b = append(b, bytes.TrimSuffix(text[:i], []byte("\r"))...)
		b = append(b, "\r\n"...)
		text = text[i+1:]
	}
}
