package mailbox

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/cache"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// A valueBuilder makes the values that are cached of a message.
type valueBuilder struct {
	c    *cache.Cache
	plan *cache.Plan         // what is wanted
	has  func(cache.ID) bool // what is there already; nil for nothing
	b    []byte
}

func (v *valueBuilder) missing(id cache.ID) bool { return v.has == nil || !v.has(id) }

func (v *valueBuilder) wants(id cache.ID) bool { return v.plan.Wants(id) && v.missing(id) }

func (v *valueBuilder) put(id cache.ID, data []byte) { v.b = v.c.AppendValue(v.b, id, data) }

func (v *valueBuilder) putU32(id cache.ID, n int64) {
	if n >= 0 && n <= math.MaxUint32 {
		v.put(id, binary.LittleEndian.AppendUint32(nil, uint32(n)))
	}
}

func (v *valueBuilder) putU64(id cache.ID, n int64) {
	v.put(id, binary.LittleEndian.AppendUint64(nil, uint64(n)))
}

// structureFields are those made of a parsed message.
var structureFields = []cache.ID{cache.Flags, cache.Parts, cache.Body, cache.BodyStructure}

// structure adds what is made of the structure, which is of the text as it is stored. asked
// is the field that it was parsed for, or -1. As with Dovecot, the structure of a plain text
// is not cached as such: it follows from its parts.
func (v *valueBuilder) structure(s *message.Structure, asked cache.ID) {
	wantBody := v.wants(cache.Body) || asked == cache.Body && v.c.Accepts(asked)
	wantBodyStructure := v.wants(cache.BodyStructure) || asked == cache.BodyStructure && v.c.Accepts(asked)
	wantParts := v.wants(cache.Parts) || asked == cache.Parts && v.c.Accepts(asked)
	wantFlags := v.wants(cache.Flags)
	flags := structureFlags(s)
	if wantBody || wantBodyStructure || wantFlags {
		text := s.AppendBodyStructure(nil)
		switch {
		case v.c.Accepts(cache.Flags) && v.c.Accepts(cache.Parts) && bytes.Equal(text, appendPlain(nil, s, true)):
			flags |= cache.PlainText
			wantFlags, wantParts = v.missing(cache.Flags), v.missing(cache.Parts)
		case wantBodyStructure:
			v.put(cache.BodyStructure, inner(text))
		case wantBody && v.missing(cache.BodyStructure):
			v.put(cache.Body, inner(s.AppendBody(nil)))
		}
	}
	if wantFlags {
		v.putU32(cache.Flags, int64(flags))
	}
	if wantParts {
		v.put(cache.Parts, s.AppendParts(nil))
	}
}

// inner returns a list without its parentheses.
func inner(list []byte) []byte { return list[1 : len(list)-1] }

func structureFlags(s *message.Structure) (flags uint32) {
	root := &s.Root
	if root.Header.Physical == root.Header.Virtual {
		flags |= cache.BinaryHeader
	}
	if root.Body.Physical == root.Body.Virtual {
		flags |= cache.BinaryBody
	}
	if hasNUL(root) {
		return flags | cache.HasNULs
	}
	return flags | cache.NoNULs
}

func hasNUL(p *message.Part) bool {
	if p.Flags&message.NUL != 0 {
		return true
	}
	for _, child := range p.Children {
		if hasNUL(child) {
			return true
		}
	}
	return false
}

// appendPlain appends the BODY or BODYSTRUCTURE of a message of one part text/plain, 7bit,
// us-ascii.
func appendPlain(b []byte, s *message.Structure, extended bool) []byte {
	b = append(b, `("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" `...)
	b = strconv.AppendInt(b, s.Root.Body.Virtual, 10)
	b = append(b, ' ')
	b = strconv.AppendUint(b, uint64(s.Root.Body.Lines), 10)
	if extended {
		b = append(b, " NIL NIL NIL NIL"...)
	}
	return append(b, ')')
}

// sentDate adds the date of the Date field; none is 0.
func (v *valueBuilder) sentDate(s *message.Structure) {
	var data [8]byte
	if t, ok := s.Date(); ok {
		unix := t.Unix()
		if unix < 0 || unix > math.MaxUint32 {
			return
		}
		_, offset := t.Zone()
		binary.LittleEndian.PutUint32(data[:], uint32(unix))
		binary.LittleEndian.PutUint32(data[4:], uint32(int32(offset/60)))
	}
	v.put(cache.SentDate, data[:])
}

// decodeSentDate is the reverse. It is false for a message without valid date.
func decodeSentDate(data []byte) (time.Time, bool) {
	sec := binary.LittleEndian.Uint32(data)
	minutes := int(int32(binary.LittleEndian.Uint32(data[4:])))
	if sec == 0 && minutes == 0 || minutes < -24*60 || minutes > 24*60 {
		return time.Time{}, false
	}
	return time.Unix(int64(sec), 0).In(time.FixedZone("", minutes*60)), true
}

// headers adds header fields, or that there are none, of the text that the header has.
// A header that has no end is left alone: it may have been cut off.
func (v *valueBuilder) headers(header []byte, fields []cache.HeaderField) {
	if len(fields) == 0 || !hasEnd(header) {
		return
	}
	type lines struct {
		numbers []uint32
		text    []byte
	}
	found := make([]lines, len(fields))
	h := message.NewHeaderReader(bytes.NewReader(header), len(header)+1)
	for f, ok := h.Next(); ok; f, ok = h.Next() {
		for i := range fields {
			if strings.EqualFold(fields[i].Name, string(f.Name)) {
				found[i].numbers = append(found[i].numbers, uint32(f.Line))
				found[i].text = appendLF(found[i].text, f.Raw)
			}
		}
	}
	for i := range fields {
		v.b = v.c.AppendLines(v.b, fields[i].ID, found[i].numbers, found[i].text)
	}
}

// hasEnd tells whether the empty line that ends a header is there.
func hasEnd(header []byte) bool {
	return bytes.HasSuffix(header, []byte("\n\n")) || bytes.HasSuffix(header, []byte("\n\r\n")) ||
		bytes.Equal(header, []byte("\n")) || bytes.Equal(header, []byte("\r\n"))
}

// appendLF appends text with every line ended by LF.
func appendLF(b, text []byte) []byte {
	for {
		i := bytes.Index(text, []byte("\r\n"))
		if i < 0 {
			return append(b, text...)
		}
		b = append(b, text[:i]...)
		text = text[i+1:]
	}
}

// appendCRLF appends text with every line ended by CRLF. A CR at the end of the message counts as a part of one.
func appendCRLF(b, text []byte) []byte {
	for {
		i := bytes.IndexByte(text, '\n')
		if i < 0 {
			return append(b, bytes.TrimSuffix(text, []byte("\r"))...)
		}
		b = append(b, bytes.TrimSuffix(text[:i], []byte("\r"))...)
		b = append(b, "\r\n"...)
		text = text[i+1:]
	}
}
