package message

import (
	"bytes"
	"slices"
)

// A fieldID names one of the fields that are kept.
type fieldID uint8

const (
	fieldNone fieldID = iota
	fieldDate
	fieldSubject
	fieldFrom
	fieldSender
	fieldReplyTo
	fieldTo
	fieldCc
	fieldBcc
	fieldInReplyTo
	fieldMessageID
	fieldReferences
	fieldMIMEVersion
	fieldContentType
	fieldContentTransferEncoding
	fieldContentID
	fieldContentDescription
	fieldContentDisposition
	fieldContentMD5
	fieldContentLanguage
	fieldContentLocation
)

// envelope reports whether the field describes a message rather than a part.
func (id fieldID) envelope() bool { return id <= fieldReferences }

// list reports whether all fields of that name are kept.
func (id fieldID) list() bool {
	return id >= fieldFrom && id <= fieldBcc || id == fieldContentDisposition
}

// fieldNames are the names in an order in which equal lengths are easy to tell apart.
var fieldNames = [...]struct {
	name string
	id   fieldID
}{
	{"To", fieldTo},
	{"Cc", fieldCc},
	{"Bcc", fieldBcc},
	{"Date", fieldDate},
	{"From", fieldFrom},
	{"Sender", fieldSender},
	{"Subject", fieldSubject},
	{"Reply-To", fieldReplyTo},
	{"Message-ID", fieldMessageID},
	{"References", fieldReferences},
	{"Content-ID", fieldContentID},
	{"In-Reply-To", fieldInReplyTo},
	{"Content-MD5", fieldContentMD5},
	{"MIME-Version", fieldMIMEVersion},
	{"Content-Type", fieldContentType},
	{"Content-Language", fieldContentLanguage},
	{"Content-Location", fieldContentLocation},
	{"Content-Description", fieldContentDescription},
	{"Content-Disposition", fieldContentDisposition},
	{"Content-Transfer-Encoding", fieldContentTransferEncoding},
}

// fieldsByLength are the indexes in fieldNames where names of a length begin.
var fieldsByLength = func() (at [27]uint8) {
	n := 0
	for l := range at {
		for n < len(fieldNames) && len(fieldNames[n].name) < l {
			n++
		}
		at[l] = uint8(n)
	}
	return at
}()

// lookupField finds a name in any case. As in Dovecot, a NUL ends the name.
func lookupField(name []byte) fieldID {
	if i := bytes.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	n := len(name)
	if n+1 >= len(fieldsByLength) {
		return fieldNone
	}
	for i := fieldsByLength[n]; i < fieldsByLength[n+1]; i++ {
		if bytes.EqualFold(name, []byte(fieldNames[i].name)) {
			return fieldNames[i].id
		}
	}
	return fieldNone
}

// A fieldValue is where a value lies in Structure.text.
type fieldValue struct {
	id         fieldID
	start, end uint32
}

type fields []fieldValue

// add begins a value at offset at. Of envelope fields the last one counts,
// except that lists of addresses add up and dispositions compete.
func (f *fields) add(id fieldID, at int) {
	if !id.list() {
		*f = slices.DeleteFunc(*f, func(v fieldValue) bool { return v.id == id })
	}
	*f = append(*f, fieldValue{id: id, start: uint32(at), end: uint32(at)})
}

// setEnd sets the end of the value added last.
func (f fields) setEnd(at int) { f[len(f)-1].end = uint32(at) }

// dropContent forgets the fields that mean nothing outside of MIME.
func (f *fields) dropContent() {
	*f = slices.DeleteFunc(*f, func(v fieldValue) bool { return !v.id.envelope() })
}

// settled reports whether a further field of that name does not count. As in
// Dovecot, that is so for Content-* fields after the first, but not after an
// invalid encoding.
func (p *Part) settled(id fieldID) bool {
	if id.envelope() {
		return false
	}
	_, ok := p.value(id)
	switch {
	case !ok:
		return false
	case id == fieldContentDisposition:
		return false
	case id == fieldContentTransferEncoding:
		_, ok = p.transferEncoding()
		return ok
	}
	return true
}

// value returns a kept value with its folds, without the last line end.
func (p *Part) value(id fieldID) ([]byte, bool) {
	for i := range p.fields {
		if v := &p.fields[i]; v.id == id {
			return p.text(v), true
		}
	}
	return nil, false
}

func (p *Part) text(v *fieldValue) []byte {
	text := p.s.text[v.start:v.end:v.end]
	if n := len(text); n > 0 && text[n-1] == '\n' {
		text = text[:n-1]
	}
	return text
}

// Field returns the unfolded value of one of the fields kept of the part's
// header, or nil. Several fields of addresses are joined by commas.
func (p *Part) Field(name string) []byte {
	id := lookupField([]byte(name))
	if id == fieldNone {
		return nil
	}
	var b []byte
	for i := range p.fields {
		if p.fields[i].id != id {
			continue
		}
		if b != nil {
			b = append(b, ", "...)
		} else {
			b = []byte{}
		}
		b = AppendUnfolded(b, p.text(&p.fields[i]))
	}
	return b
}
