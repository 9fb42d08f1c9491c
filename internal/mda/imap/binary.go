package imap

import (
	"errors"
	"io"
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/message"
)

// Failures of BINARY (RFC 3516 4.3). What else was asked for is answered.
var (
	errUnknownCTE = &reply{cond: condNo, code: "[UNKNOWN-CTE] ", text: "Unknown Content-Transfer-Encoding"}
	errBadCTE     = &reply{cond: condNo, code: "[PARSE] ", text: "Invalid data in MIME part"}
)

// decodes reports whether the section is content without its transfer encoding.
func (s *section) decodes() bool { return s.binary && (s.text == textAll || s.text == textBody) }

// A decoding is what is known of a section of BINARY before it is written.
type decoding struct {
	size    int64
	decoded bool // something was encoded
	refused bool // it cannot be decoded, and is left out
}

// decoding reads the section once, for its size.
func (f *fetcher) decoding(s *section) (d decoding, err error) {
	r, decoded, err := f.decoder(s)
	if err == nil {
		d.decoded = decoded
		d.size, err = io.Copy(io.Discard, r)
	}
	switch {
	case errors.Is(err, message.ErrUnknownEncoding):
		f.refused, d.refused, err = errUnknownCTE, true, nil
	case errors.Is(err, message.ErrBadEncoding):
		f.refused, d.refused, err = errBadCTE, true, nil
	}
	return d, err
}

// decoder returns the section's content. A part that there is not is empty.
func (f *fetcher) decoder(s *section) (r io.Reader, decoded bool, err error) {
	part, ok := f.structure.Part(s.path)
	if ok && s.text == textBody && len(s.path) > 0 {
		if ok = part.Flags&message.RFC822 != 0 && len(part.Children) > 0; ok {
			part = part.Children[0]
		}
	}
	if !ok {
		return eofReader{}, false, nil
	}
	return message.NewBinaryReader(part, s.text == textAll && len(s.path) == 0, f.body)
}

type eofReader struct{}

func (eofReader) Read([]byte) (int, error) { return 0, io.EOF }

// writeBinary writes BINARY or BINARY.SIZE. A literal8 is one that may have NULs.
func (f *fetcher) writeBinary(s *section, d decoding) error {
	b := append(f.buf(), s.label...)
	if s.sizeOnly {
		b = append(b, ' ')
		return f.put(strconv.AppendInt(b, d.size, 10))
	}
	from, n := s.cut(d.size)
	f.count(s, n)
	if b = append(b, " {"...); d.decoded {
		b = append(b[:len(b)-1], "~{"...)
	}
	b = strconv.AppendInt(b, n, 10)
	if err := f.put(append(b, "}\r\n"...)); err != nil {
		return err
	}
	r, _, err := f.decoder(s)
	if err == nil {
		_, err = io.CopyN(io.Discard, r, from)
	}
	for n > 0 && err == nil {
		b := f.buf()
		free := b[len(b):cap(b)]
		free = free[:min(int64(len(free)), n)]
		var k int
		k, err = io.ReadFull(r, free)
		if n -= int64(k); err == nil {
			err = f.put(b[:len(b)+k])
		}
	}
	return err
}
