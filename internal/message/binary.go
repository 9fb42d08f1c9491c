package message

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime/quotedprintable"
	"strings"
)

// What [NewBinaryReader] cannot do.
var (
	ErrUnknownEncoding = errors.New("unknown Content-Transfer-Encoding")
	ErrBadEncoding     = errors.New("content is not in its Content-Transfer-Encoding")
)

// NewBinaryReader returns part p of the stored message body with its transfer encoding undone, and those
// of the parts in it, which say so in their headers (RFC 3516). With header the part's own header comes
// first. Lines end with CRLF where there was no encoding. decoded tells whether there was one. The error
// is ErrUnknownEncoding or one of body; reading ends with ErrBadEncoding at what cannot be decoded.
func NewBinaryReader(p *Part, header bool, body io.ReaderAt) (r io.Reader, decoded bool, err error) {
	b := binaryParts{body: body}
	if err := b.add(p, header); err != nil {
		return nil, false, err
	}
	return io.MultiReader(b.readers...), b.decoded, nil
}

// binaryParts puts a part together from pieces.
type binaryParts struct {
	body    io.ReaderAt
	readers []io.Reader
	decoded bool
}

// text adds a piece of the message as it is.
func (b *binaryParts) text(offset, size int64) { b.readers = append(b.readers, b.lines(offset, size)) }

func (b *binaryParts) lines(offset, size int64) io.Reader {
	return NewCRLFReader(io.NewSectionReader(b.body, offset, size))
}

func (b *binaryParts) header(p *Part) *HeaderReader {
	return NewHeaderReader(io.NewSectionReader(b.body, p.Offset, p.Header.Physical), int(p.Header.Physical)+1)
}

func (b *binaryParts) add(p *Part, header bool) error {
	encoding, err := b.encoding(p)
	if err != nil {
		return err
	}
	var decode func(r io.Reader) io.Reader
	switch encoding {
	case "", "7bit", "8bit", "binary":
	case "base64":
		decode = func(r io.Reader) io.Reader { return base64.NewDecoder(base64.StdEncoding, &blankFilter{r}) }
	case "quoted-printable":
		decode = func(r io.Reader) io.Reader { return quotedprintable.NewReader(&quotedCheck{r: r}) }
	default:
		return ErrUnknownEncoding
	}
	if len(p.Children) > 0 {
		decode = nil // RFC 2045 6.4: not for what has parts
	}
	switch {
	case header && decode != nil:
		b.readers = append(b.readers, &binaryHeader{h: b.header(p)})
	case header:
		b.text(p.Offset, p.Header.Physical)
	}
	if decode != nil {
		b.decoded = true
		source := &failingReader{r: b.lines(p.BodyOffset(), p.Body.Physical)}
		b.readers = append(b.readers, &strictReader{r: decode(source), source: source})
		return nil
	}
	at := p.BodyOffset()
	for _, child := range p.Children {
		b.text(at, child.Offset-at)
		if err := b.add(child, true); err != nil {
			return err
		}
		at = child.BodyOffset() + child.Body.Physical
	}
	b.text(at, p.BodyOffset()+p.Body.Physical-at)
	return nil
}

// encoding returns the transfer encoding of a part in lower case.
func (b *binaryParts) encoding(p *Part) (string, error) {
	h := b.header(p)
	for field, ok := h.Next(); ok; field, ok = h.Next() {
		if !isTransferEncoding(field) {
			continue
		}
		s := scanner{data: AppendUnfolded(nil, field.Value())}
		s.skipLWSP()
		var token []byte
		if s.token(&token) == atEnd {
			return strings.ToLower(string(token)), nil
		}
		return "", ErrUnknownEncoding
	}
	return "", h.Err()
}

func isTransferEncoding(f *Field) bool {
	return strings.EqualFold(string(f.Name), "Content-Transfer-Encoding")
}

// A binaryHeader reads a header whose part has been decoded.
type binaryHeader struct {
	h    *HeaderReader
	text []byte
	done bool
}

func (r *binaryHeader) Read(p []byte) (int, error) {
	for len(r.text) == 0 {
		if r.done {
			return 0, io.EOF
		}
		field, ok := r.h.Next()
		switch {
		case !ok && r.h.Err() != nil:
			return 0, r.h.Err()
		case !ok:
			r.text, r.done = append(r.text, "\r\n"...), true
		case isTransferEncoding(field):
			r.text = append(r.text, "Content-Transfer-Encoding: binary\r\n"...)
		default:
			for line := range bytes.Lines(field.Raw) {
				r.text = append(r.text, bytes.TrimRight(line, "\r\n")...)
				r.text = append(r.text, "\r\n"...)
			}
		}
	}
	n := copy(p, r.text)
	r.text = r.text[n:]
	return n, nil
}

// A failingReader remembers why it failed.
type failingReader struct {
	r   io.Reader
	err error
}

func (f *failingReader) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

// A strictReader tells what a decoder cannot decode from what cannot be read.
type strictReader struct {
	r      io.Reader
	source *failingReader
}

func (s *strictReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF && s.source.err == nil {
		err = ErrBadEncoding
	}
	return n, err
}

// A quotedCheck fails where quoted-printable text has an "=" that neither quotes a byte nor ends a
// line softly. The decoder would let it pass.
type quotedCheck struct {
	r     io.Reader
	state quotedState
}

type quotedState uint8

const (
	quotedText  quotedState = iota
	quotedFirst             // after "="
	quotedHex               // after "=" and a hexadecimal digit
	quotedBlank             // after "=" and white space: the line must end
)

func (q *quotedCheck) Read(p []byte) (int, error) {
	n, err := q.r.Read(p)
	for i, c := range p[:n] {
		_, hex := hexValue(c)
		switch {
		case q.state == quotedText && c == '=':
			q.state = quotedFirst
		case q.state == quotedText:
		case q.state != quotedBlank && hex:
			if q.state++; q.state > quotedHex {
				q.state = quotedText
			}
		case q.state != quotedHex && (c == ' ' || c == '\t' || c == '\r'):
			q.state = quotedBlank
		case q.state != quotedHex && c == '\n':
			q.state = quotedText
		default:
			return i, ErrBadEncoding
		}
	}
	if err == io.EOF && q.state != quotedText {
		err = ErrBadEncoding
	}
	return n, err
}

// A blankFilter drops white space.
type blankFilter struct{ r io.Reader }

func (f *blankFilter) Read(p []byte) (int, error) {
	for {
		n, err := f.r.Read(p)
		kept := 0
		for _, c := range p[:n] {
			if c != '\r' && c != '\n' && c != ' ' && c != '\t' {
				p[kept] = c
				kept++
			}
		}
		if kept > 0 || err != nil || len(p) == 0 {
			return kept, err
		}
	}
}
