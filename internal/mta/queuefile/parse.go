package queuefile

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"time"
)

const (
	// maxField bounds a record outside the content: an address, an attribute.
	maxField = 1 << 20
	// maxBack bounds the pointers that lead back, so that no file goes on forever.
	maxBack = 10000
	// maxAttributes bounds those that are kept.
	maxAttributes = 1000
)

// The types of records that each segment may have. The queue manager takes those
// of the envelope behind the content and the other way round.
const (
	fieldTypes   = "CTcFILSDRO/WVA>K<ionPre"
	contentTypes = "LNw"
)

// A parser reads a file with its pointers.
type parser struct {
	src  io.ReaderAt
	size int64
	r    *Reader
	back int
	m    *Message
	next Recipient // what is known of the next one
}

// Parse reads a queue file or a file in the maildrop, of which size bytes are
// there, and checks it to its end. The message reads its content from src again.
// Errors about what the file says wrap [ErrCorrupt].
func Parse(src io.ReaderAt, size int64) (*Message, error) {
	p := parser{src: src, size: size, m: &Message{NoSender: true}}
	p.seek(0)
	if err := p.fields(TypeMessage); err != nil {
		return nil, err
	}
	if err := p.skipContent(); err != nil {
		return nil, err
	}
	if err := p.fields(TypeEnd); err != nil {
		return nil, err
	}
	return p.m, nil
}

// seek goes on at an offset.
func (p *parser) seek(off int64) {
	section := io.NewSectionReader(p.src, off, p.size-off)
	if p.r == nil {
		p.r = NewReader(section)
	} else {
		p.r.r.Reset(section)
	}
	p.r.next = off
}

// record returns the next record that is not a pointer. There is always one, as
// nothing may follow E.
func (p *parser) record(limit int) (Record, error) {
	p.r.limit = limit
	for {
		rec, err := p.r.Next()
		if err == io.EOF {
			return rec, corrupt("it ends at offset %d without an end record", p.r.start)
		}
		if err != nil || rec.Type != TypePointer {
			return rec, err
		}
		if err := p.follow(rec.Data); err != nil {
			return rec, err
		}
	}
}

// follow goes where a pointer says; nowhere for one that is 0.
func (p *parser) follow(data []byte) error {
	to, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil || to < 0 || to >= p.size {
		return corrupt("pointer %q at offset %d", data, p.r.start)
	}
	if to == 0 {
		return nil
	}
	if to <= p.r.start {
		if p.back++; p.back > maxBack {
			return corrupt("its pointers go in a circle at offset %d", p.r.start)
		}
	}
	p.seek(to)
	return nil
}

// fields reads the records of a segment other than the content, up to its end.
func (p *parser) fields(end byte) error {
	for {
		rec, err := p.record(maxField)
		if err != nil {
			return err
		}
		if rec.Type == end {
			return nil
		}
		if strings.IndexByte(fieldTypes, rec.Type) < 0 {
			return corrupt("unexpected record type %q at offset %d", rec.Type, p.r.start)
		}
		if err := p.field(rec, end == TypeEnd); err != nil {
			return err
		}
	}
}

func (p *parser) field(rec Record, extracted bool) (err error) {
	m, text := p.m, string(rec.Data)
	switch rec.Type {
	case TypeSize:
		if m.Size == nil {
			m.Size, err = parseSize(rec.Data)
		}
	case TypeTime:
		if m.Arrival.IsZero() {
			m.Arrival, err = parseTime(rec.Data)
		}
	case TypeFullName:
		m.FullName = text
	case TypeFilter:
		m.Filter = text
	case TypeRedirect:
		m.Redirect = text
	case TypeSender:
		if m.NoSender {
			m.Sender, m.NoSender = text, false
		}
	case TypeWarn:
		if m.Warn, err = strconv.ParseInt(strings.TrimSpace(text), 10, 64); err != nil {
			err = corrupt("time of the warning %q", text)
		}
	case TypeVERP:
		m.VERP = text
	case TypeOriginal:
		p.next.Original = text
	case TypeRecipient, TypeDone, TypeCanceled:
		p.recipient(rec.Type, text, extracted)
	case TypeAttribute:
		name, value, ok := bytes.Cut(rec.Data, []byte{'='})
		if !ok {
			return corrupt("attribute without a value at offset %d", p.r.start)
		}
		err = p.attribute(string(bytes.TrimSpace(name)), string(bytes.TrimSpace(value)))
	case TypeCreated, TypeNotify, TypeOrcpt, TypeRet, TypeEnvID:
		err = p.attribute(direct[rec.Type], text)
	}
	return err
}

// direct are the attributes that have a record type.
var direct = map[byte]string{
	TypeCreated: attrCreated, TypeNotify: attrNotify, TypeOrcpt: attrOrcpt, TypeRet: attrRet, TypeEnvID: attrEnvID,
}

func (p *parser) recipient(typ byte, addr string, extracted bool) {
	r := p.next
	r.Address, r.Type, r.Extracted, r.Offset = addr, typ, extracted, p.r.start
	p.m.Recipients = append(p.m.Recipients, r)
	p.next = Recipient{}
}

// attribute takes a named value. A number that is none counts as not said, as
// with the queue manager.
func (p *parser) attribute(name, value string) error {
	m := p.m
	switch name {
	case attrNotify:
		if n := number(value); n == NotifyNever || n > 0 && n&^(NotifySuccess|NotifyFailure|NotifyDelay) == 0 {
			p.next.Notify = n
		}
	case attrOrcpt:
		p.next.Orcpt = value
	case attrCreated:
		if n := number(value); n > 0 {
			m.Created = time.Unix(int64(n), 0)
		}
	case attrEncoding:
		m.Encoding = value
	case attrRet:
		if n := number(value); n == 1 || n == 2 {
			m.Ret = n
		}
	case attrEnvID:
		m.EnvID = value
	case attrContext:
		m.Context = value
	case attrTrace:
		m.Trace = number(value)
	default:
		if len(m.Attributes) == maxAttributes {
			return corrupt("more than %d attributes", maxAttributes)
		}
		m.Attributes = append(m.Attributes, Attribute{name, value})
	}
	return nil
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0
	}
	return n
}
