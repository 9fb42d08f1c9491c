package message

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime/quotedprintable"

	"golang.org/x/text/transform"
)

// Charset returns the charset parameter of a text part, "us-ascii" if it has none.
func (p *Part) Charset() string {
	_, params := p.mediaType()
	for _, param := range params {
		if bytes.EqualFold(param.name, []byte("charset")) && len(param.value) > 0 {
			return string(param.value)
		}
	}
	return "us-ascii"
}

// MediaType returns type and subtype in lower case, "text/plain" by default.
func (p *Part) MediaType() string {
	mediaType, _ := p.mediaType()
	switch {
	case mediaType != nil:
		return string(bytes.ToLower(mediaType))
	case p.Flags&RFC822 != 0:
		return "message/rfc822"
	}
	return "text/plain"
}

// NewTextReader returns the body of a part as UTF-8: the content transfer
// encoding is undone, and the charset for text. body gives the body as stored.
// What is not valid in either is passed on as far as it can be read.
func NewTextReader(p *Part, body io.Reader) io.Reader {
	r := NewDecodedReader(p, body)
	if p.Flags&Text == 0 && p.MediaType() != "text/plain" {
		return r
	}
	charset := p.Charset()
	decode := func(r io.Reader) io.Reader {
		t, ok := decoderOf(charset)
		if !ok {
			t, _ = decoderOf("utf-8")
		}
		return transform.NewReader(r, t)
	}
	if extendsASCII(charset) {
		return &lenientReader{r: &asciiReader{r, decode}}
	}
	return &lenientReader{r: decode(r)}
}

// NewDecodedReader returns the body of a part with its content transfer encoding undone.
func NewDecodedReader(p *Part, body io.Reader) io.Reader {
	encoding, _ := p.transferEncoding()
	switch string(bytes.ToLower(encoding)) {
	case "quoted-printable":
		return &lenientReader{r: quotedprintable.NewReader(body)}
	case "base64":
		return &lenientReader{r: base64.NewDecoder(base64.StdEncoding, &base64Filter{r: body})}
	}
	return body
}

// A lenientReader ends where its reader cannot go on because of what it read.
type lenientReader struct{ r io.Reader }

func (l *lenientReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	switch err.(type) {
	case nil:
	case base64.CorruptInputError:
		err = io.EOF
	default:
		if err == io.ErrUnexpectedEOF {
			err = io.EOF
		}
	}
	return n, err
}

// A base64Filter drops what is not base64, so that line ends and stray bytes do
// not end the text.
type base64Filter struct{ r io.Reader }

func (f *base64Filter) Read(p []byte) (int, error) {
	for {
		n, err := f.r.Read(p)
		kept := 0
		for _, c := range p[:n] {
			if isBase64(c) || c == '=' {
				p[kept] = c
				kept++
			}
		}
		if kept > 0 || err != nil || len(p) == 0 {
			return kept, err
		}
	}
}
