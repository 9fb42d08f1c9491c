package message

import "time"

// A Size is the extent of a header or body.
type Size struct {
	Physical int64  // bytes as given to the parser
	Virtual  int64  // bytes with every line ended by CRLF
	Lines    uint32 // line feeds
}

// Flags say what kind of part a [Part] is. The values are those of the
// mime.parts field in dovecot.index.cache.
type Flags uint8

// The kinds of parts.
const (
	Multipart Flags = 0x01 // multipart/*: has children
	Digest    Flags = 0x02 // multipart/digest: children default to message/rfc822
	RFC822    Flags = 0x04 // message/rfc822 (or message/global): has one child, the message
	Text      Flags = 0x08 // text/*
	NUL       Flags = 0x20 // NUL bytes occur
	MIME      Flags = 0x40 // has a MIME-Version field, or is inside a part that has
	Overflow  Flags = 0x80 // parts are missing because a limit was reached
)

// A Part is one node of the MIME tree. Its header begins at Offset and is
// followed at once by its body.
type Part struct {
	Flags         Flags
	Offset        int64 // physical position of the first header byte
	VirtualOffset int64 // the same where every line ends in CRLF
	Header        Size  // includes the empty line
	Body          Size  // without the line end that belongs to the next boundary
	Children      []*Part
	Parent        *Part // nil for the message itself

	fields fields
	s      *Structure
}

// BodyOffset returns the physical position of the first body byte.
func (p *Part) BodyOffset() int64 { return p.Offset + p.Header.Physical }

// VirtualBodyOffset returns the position of the first body byte in a message
// whose lines all end in CRLF.
func (p *Part) VirtualBodyOffset() int64 { return p.VirtualOffset + p.Header.Virtual }

// A Structure is what one pass over a message yields.
type Structure struct {
	Root Part
	// Parts counts all parts, the message included.
	Parts int

	text []byte // the values of fields
}

// PhysicalSize returns the number of bytes that were parsed.
func (s *Structure) PhysicalSize() int64 { return s.Root.Header.Physical + s.Root.Body.Physical }

// VirtualSize returns the size with every line ended by CRLF: RFC822.SIZE.
func (s *Structure) VirtualSize() int64 { return s.Root.Header.Virtual + s.Root.Body.Virtual }

// Field returns the value of one of the fields kept of the message's header
// (those of ENVELOPE, Content-* and References), unfolded, or nil. The last one
// counts where a field occurs several times.
func (s *Structure) Field(name string) []byte { return s.Root.Field(name) }

// Part finds a part by its IMAP part number: {1, 2} for BODY[1.2]. An empty
// path is the message itself. A message/rfc822 part is looked through, and the
// number 1 of a part without parts is the part itself (RFC 3501 6.4.5).
func (s *Structure) Part(path []int) (*Part, bool) {
	p := &s.Root
	named := false // the leaf p was named by a 1 of its own
	for i, n := range path {
		if i > 0 && p.Flags&RFC822 != 0 && len(p.Children) == 1 {
			p, named = p.Children[0], false
		}
		switch {
		case p.Flags&Multipart != 0:
			if n < 1 || n > len(p.Children) {
				return nil, false
			}
			p = p.Children[n-1]
		case n != 1 || named:
			return nil, false
		default:
			named = true
		}
	}
	return p, true
}

// Date returns the time of the Date field with its zone. It is false if the
// field is missing or invalid.
func (s *Structure) Date() (time.Time, bool) {
	value, ok := s.Root.value(fieldDate)
	if !ok {
		return time.Time{}, false
	}
	return ParseDate(value)
}
