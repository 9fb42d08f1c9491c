package mailbox

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store/cache"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// AppendFields appends the fields of the message's header with these names, in the order of the message,
// their lines ended by CRLF, and an empty line.
func (msg *Message) AppendFields(_ context.Context, b []byte, names []string) ([]byte, error) {
	ids, ok := msg.headerIDs(names)
	if !ok { // names that are none, or too many different ones
		header, err := msg.readHeader()
		return appendFields(b, header, names), err
	}
	from := len(b)
	if b, ok = msg.appendCached(b, ids); ok {
		return append(b, "\r\n"...), nil
	}
	header, err := msg.readHeader()
	if err != nil {
		return b[:from], err
	}
	msg.addHeaders(header, ids)
	return appendFields(b[:from], header, names), nil
}

func (msg *Message) headerIDs(names []string) (ids []cache.HeaderField, ok bool) {
	if msg.m == nil {
		return nil, false
	}
	ids = make([]cache.HeaderField, 0, len(names))
	for _, name := range names {
		id, ok := msg.b.values.Header(name)
		if !ok {
			return nil, false
		}
		if !slices.ContainsFunc(ids, func(f cache.HeaderField) bool { return f.ID == id }) {
			ids = append(ids, cache.HeaderField{ID: id, Name: name})
		}
	}
	return ids, true
}

// A cachedField is one field found in the cache.
type cachedField struct {
	line       uint32
	start, end int // where the text was appended
}

// appendCached appends the fields if all are cached.
func (msg *Message) appendCached(b []byte, ids []cache.HeaderField) (_ []byte, ok bool) {
	from := len(b)
	found := make([]cachedField, 0, len(ids)+4)
	bad := false
	msg.withValues(func(v *cache.View) {
		ok = true
		for _, f := range ids { // of all, so that it is known that they were asked for
			data, has := v.Get(f.ID, msg.uid, msg.st.Hdr.FirstNewUID())
			ok = ok && has
			if has {
				b, found, has = appendField(b, found, data)
				bad = bad || !has
			}
		}
	})
	if bad {
		msg.b.forgetCached(msg.uid, "broken header field")
		msg.reload()
	}
	if !ok || bad {
		return b[:from], false
	}
	if slices.IsSortedFunc(found, byLine) {
		return b, true
	}
	text := slices.Clone(b[from:])
	slices.SortStableFunc(found, byLine)
	b = b[:from]
	for _, f := range found {
		b = append(b, text[f.start-from:f.end-from]...)
	}
	return b, true
}

func byLine(a, b cachedField) int { return int(int64(a.line) - int64(b.line)) }

// appendField appends the lines of a field, which may occur more than once, with CRLF.
func appendField(b []byte, found []cachedField, data []byte) ([]byte, []cachedField, bool) {
	if len(data) == 0 {
		return b, found, true // there is none
	}
	n := 0
	for 4*n+4 <= len(data) && binary.LittleEndian.Uint32(data[4*n:]) != 0 {
		n++
	}
	if 4*n+4 > len(data) {
		return b, found, false
	}
	text := data[4*n+4:]
	for i := range n {
		end := endOfField(text)
		start := len(b)
		b = appendCRLF(b, text[:end])
		found = append(found, cachedField{binary.LittleEndian.Uint32(data[4*i:]), start, len(b)})
		text = text[end:]
	}
	return b, found, len(text) == 0 && n > 0
}

// endOfField returns where the first field of text ends.
func endOfField(text []byte) int {
	for at := 0; ; {
		i := bytes.IndexByte(text[at:], '\n')
		if i < 0 {
			return len(text)
		}
		if at += i + 1; at == len(text) || text[at] != ' ' && text[at] != '\t' {
			return at
		}
	}
}

// addHeaders caches fields that were asked for, and others that are wanted.
func (msg *Message) addHeaders(header []byte, asked []cache.HeaderField) {
	if !msg.b.cacheable(msg.st) {
		return
	}
	v := msg.builder()
	var fields []cache.HeaderField
	for _, f := range asked {
		if v.c.Accepts(f.ID) && v.missing(f.ID) {
			fields = append(fields, f)
		}
	}
	for _, f := range v.plan.Headers {
		if v.missing(f.ID) && !slices.ContainsFunc(fields, func(g cache.HeaderField) bool { return g.ID == f.ID }) {
			fields = append(fields, f)
		}
	}
	v.headers(header, fields)
	msg.b.add(msg.uid, v.b)
}

// maxHeader is how much of a header is read for its fields: what Dovecot 2.3.21.1 allows.
const maxHeader = 10 << 20

// readHeader reads the message's header with the empty line after it.
func (msg *Message) readHeader() ([]byte, error) {
	f, err := msg.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, 0, 4<<10)
	for {
		n, err := f.ReadAt(buf[len(buf):cap(buf)], int64(len(buf)))
		from := max(len(buf)-2, 0)
		buf = buf[:len(buf)+n]
		if end := headerEnd(buf, from); end > 0 {
			return buf[:end], nil
		}
		if errors.Is(err, io.EOF) || err == nil && n == 0 || len(buf) >= maxHeader {
			return buf, nil
		}
		if err != nil {
			return nil, wrap("read message in "+msg.b.loc.Name, err)
		}
		buf = slices.Grow(buf, len(buf))
	}
}

// headerEnd returns where the header that b begins with ends, 0 if that is not in b. What
// is before from was looked at.
func headerEnd(b []byte, from int) int {
	if len(b) > 0 && b[0] == '\n' {
		return 1
	}
	if bytes.HasPrefix(b, []byte("\r\n")) {
		return 2
	}
	for at := from; ; {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return 0
		}
		at += i + 1
		if rest := b[at:]; len(rest) > 0 && rest[0] == '\n' {
			return at + 1
		} else if bytes.HasPrefix(rest, []byte("\r\n")) {
			return at + 2
		}
	}
}

// appendFields appends fields of a header, and an empty line.
func appendFields(b, header []byte, names []string) []byte {
	h := message.NewHeaderReader(bytes.NewReader(header), len(header)+1)
	for f, ok := h.Next(); ok; f, ok = h.Next() {
		if slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, string(f.Name)) }) {
			b = appendCRLF(b, f.Raw)
		}
	}
	return append(b, "\r\n"...)
}
