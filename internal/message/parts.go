package message

import (
	"encoding/binary"
	"errors"
)

// AppendParts appends the tree as the mime.parts field of dovecot.index.cache:
// depth first, for each part
//
//	u32 flags
//	u64 physical position          not for the message itself
//	u64 × 4 header physical, header virtual, body physical, body virtual
//	u32 lines of the body          text and message/rfc822 only
//	u32 number of children         multipart and message/rfc822 only
//
// in the byte order of the machines Dovetail runs on, little endian.
func (s *Structure) AppendParts(b []byte) []byte { return appendPart(b, &s.Root) }

func appendPart(b []byte, p *Part) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, uint32(p.Flags))
	if p.Parent != nil {
		b = le.AppendUint64(b, uint64(p.Offset))
	}
	for _, n := range [...]int64{p.Header.Physical, p.Header.Virtual, p.Body.Physical, p.Body.Virtual} {
		b = le.AppendUint64(b, uint64(n))
	}
	if p.Flags&(Text|RFC822) != 0 {
		b = le.AppendUint32(b, p.Body.Lines)
	}
	if p.Flags&(Multipart|RFC822) != 0 {
		b = le.AppendUint32(b, uint32(len(p.Children)))
		for _, child := range p.Children {
			b = appendPart(b, child)
		}
	}
	return b
}

var errParts = errors.New("invalid mime.parts")

// ParseParts reads a tree written by [Structure.AppendParts] or Dovecot. It has
// offsets and sizes but no field values, and no virtual offsets.
func ParseParts(b []byte) (*Structure, error) {
	d := partsDecoder{b: b, s: &Structure{}}
	if err := d.part(&d.s.Root, 0); err != nil {
		return nil, err
	}
	if len(d.b) != 0 {
		return nil, errParts
	}
	return d.s, nil
}

type partsDecoder struct {
	b []byte
	s *Structure
}

func (d *partsDecoder) part(p *Part, depth int) error {
	le := binary.LittleEndian
	need := 4 + 4*8
	if p.Parent != nil {
		need += 8
	}
	if len(d.b) < need || depth > defaultDepth || d.s.Parts >= defaultParts {
		return errParts
	}
	d.s.Parts++
	p.s = d.s
	p.Flags = Flags(le.Uint32(d.b))
	d.b = d.b[4:]
	if p.Parent != nil {
		p.Offset = int64(le.Uint64(d.b))
		d.b = d.b[8:]
	}
	for _, n := range [...]*int64{&p.Header.Physical, &p.Header.Virtual, &p.Body.Physical, &p.Body.Virtual} {
		if *n = int64(le.Uint64(d.b)); *n < 0 {
			return errParts
		}
		d.b = d.b[8:]
	}
	if p.Flags&(Text|RFC822) != 0 {
		if len(d.b) < 4 {
			return errParts
		}
		p.Body.Lines = le.Uint32(d.b)
		d.b = d.b[4:]
	}
	if p.Flags&(Multipart|RFC822) == 0 {
		return nil
	}
	if len(d.b) < 4 {
		return errParts
	}
	children := le.Uint32(d.b)
	d.b = d.b[4:]
	for range children {
		child := &Part{Parent: p}
		if err := d.part(child, depth+1); err != nil {
			return err
		}
		p.Children = append(p.Children, child)
	}
	return nil
}
