package attachment

import (
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/message"
)

// Extract writes the message of size bytes, whose lines end in LF, to w without the parts that
// are large and not text. These it makes files of; guid makes the unique part of their names. After
// an error it has removed what it made.
func (s *Store) Extract(msg io.ReaderAt, size int64, w io.Writer, guid func() [16]byte) ([]Ref, error) {
	structure, err := message.Parse(io.NewSectionReader(msg, 0, size), message.Limits{})
	if err != nil {
		return nil, err
	}
	x := &extraction{s: s, msg: msg, w: w, guid: guid}
	err = x.part(&structure.Root)
	if err == nil {
		err = x.copyTo(size)
	}
	if err != nil {
		return nil, fmt.Errorf("save attachments: %w", withCleanup(err, s.RemoveAll(x.refs, "")))
	}
	return x.refs, nil
}

func withCleanup(err, other error) error {
	if other == nil {
		return err
	}
	return fmt.Errorf("%w (%w)", err, other)
}

// An extraction is the state of Extract.
type extraction struct {
	s    *Store
	msg  io.ReaderAt
	w    io.Writer
	guid func() [16]byte
	at   int64 // the message is dealt with up to here
	refs []Ref
}

// copyTo writes the message up to end as it is.
func (x *extraction) copyTo(end int64) error {
	n, err := io.Copy(x.w, io.NewSectionReader(x.msg, x.at, end-x.at))
	x.at += n
	return err
}

func (x *extraction) part(p *message.Part) error {
	for _, c := range p.Children {
		if err := x.part(c); err != nil {
			return err
		}
	}
	if p.Flags&message.Multipart != 0 || len(p.Children) > 0 || p.Body.Physical < max(x.s.opt.MinSize, 1) || len(x.refs) == maxRefs || !wanted(p) {
		return nil
	}
	start := p.BodyOffset()
	if start < x.at {
		return nil
	}
	if err := x.copyTo(start); err != nil {
		return err
	}
	return x.cut(start, p.Body.Physical)
}

// wanted tells whether a part is an attachment by its type, which it must have.
func wanted(p *message.Part) bool {
	return len(p.Field("Content-Type")) > 0 && !strings.HasPrefix(strings.ToLower(p.MediaType()), "text/")
}

// cut makes a file of a part's body.
func (x *extraction) cut(start, size int64) error {
	body := io.NewSectionReader(x.msg, start, size)
	ref := Ref{Start: start, Size: size}
	open := func() io.Reader { return io.NewSectionReader(x.msg, start, ref.Size) }
	if b, err := scanBase64(body); err != nil {
		return err
	} else if b.size > 0 && b.size >= x.s.opt.MinSize && size <= b.size+maxExtra {
		encoded := Ref{Start: start, Size: b.size, Line: b.line, CRLF: b.crlf}
		same, err := encoded.reversible(x.msg)
		if err != nil {
			return err
		}
		if same {
			ref = encoded
			open = func() io.Reader { return encoded.decoded(x.msg) }
		}
	}
	sum := x.s.hash.start()
	if _, err := io.Copy(sum, open()); err != nil {
		return err
	}
	var err error
	if ref.Path, err = x.s.add(&reopened{open: open}, sum.String(), x.guid()); err != nil {
		return err
	}
	x.refs = append(x.refs, ref)
	x.at = start + ref.Size
	return nil
}

// maxExtra is how much of a part may follow its base64.
const maxExtra = 1024

// A base64Shape is what of a part's begin is base64 in lines of one length.
type base64Shape struct {
	size int64 // without the last line end; 0 for none
	line int
	crlf bool
}

// scanBase64 looks at the characters and lines of base64 text.
func scanBase64(r io.Reader) (base64Shape, error) {
	var b base64Shape
	var pos, col int64 // col counts the characters of the line
	var pad, cr bool   // padding was seen; a CR was
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		for _, c := range buf[:n] {
			pos++
			switch {
			case cr && c != '\n', pad && c != '=' && col%4 != 0:
				return base64Shape{}, nil
			case c == '\n':
				if (b.line > 0 && cr != b.crlf) || col%4 != 0 || (b.line == 0 && col == 0) {
					return base64Shape{}, nil
				}
				if b.line > 0 && col < int64(b.line) || pad {
					return b, nil // the last line
				}
				if b.line == 0 {
					if col > maxLine {
						return base64Shape{}, nil
					}
					b.line, b.crlf = int(col), cr
				}
				cr, col = false, 0
			case c == '\r':
				cr = true
			case c == '=':
				if col%4 < 2 {
					return base64Shape{}, nil
				}
				pad = true
				fallthrough
			case isBase64(c):
				if col++; b.line > 0 && col > int64(b.line) {
					return base64Shape{}, nil
				}
				if col%4 == 0 {
					b.size = pos
					if pad {
						return b.ended(col), nil
					}
				}
			default:
				return base64Shape{}, nil
			}
		}
		if err == io.EOF {
			if cr || col%4 != 0 {
				return base64Shape{}, nil
			}
			return b.ended(col), nil
		}
		if err != nil {
			return base64Shape{}, err
		}
	}
}

// ended returns the shape of text whose last line has col characters. A single line is as
// long as it is.
func (b base64Shape) ended(col int64) base64Shape {
	if b.line == 0 {
		if col > maxLine {
			return base64Shape{}
		}
		b.line = int(col)
	}
	return b
}

func isBase64(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/'
}

// decoded returns the bytes of a part in base64.
func (r *Ref) decoded(msg io.ReaderAt) io.Reader {
	return base64.NewDecoder(base64.StdEncoding.Strict(), io.NewSectionReader(msg, r.Start, r.Size))
}

// reversible tells whether the decoded bytes, encoded again, are the part.
func (r *Ref) reversible(msg io.ReaderAt) (bool, error) {
	var n int64
	d := r.decoded(msg)
	buf := make([]byte, 32<<10)
	for {
		m, err := d.Read(buf)
		n += int64(m)
		if err == io.EOF {
			return r.encodedSize(n) == r.Size, nil
		}
		if _, bad := err.(base64.CorruptInputError); bad || err == io.ErrUnexpectedEOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// A reopened reads something from its begin again.
type reopened struct {
	open func() io.Reader
	r    io.Reader
}

func (o *reopened) Read(p []byte) (int, error) {
	if o.r == nil {
		o.r = o.open()
	}
	return o.r.Read(p)
}

// Seek goes to the begin, nowhere else.
func (o *reopened) Seek(int64, int) (int64, error) {
	o.r = nil
	return 0, nil
}
