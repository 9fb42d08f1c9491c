package message

import (
	"bytes"
	"strconv"
)

// AppendBody appends the IMAP BODY: the structure without extension data.
func (s *Structure) AppendBody(b []byte) []byte {
	d := describer{b: b}
	d.part(&s.Root)
	return d.b
}

// AppendBodyStructure appends the IMAP BODYSTRUCTURE.
func (s *Structure) AppendBodyStructure(b []byte) []byte {
	d := describer{b: b, extended: true}
	d.part(&s.Root)
	return d.b
}

// A describer writes the description of parts (RFC 3501 7.4.2).
type describer struct {
	b        []byte
	extended bool
}

func (d *describer) str(s string)    { d.b = append(d.b, s...) }
func (d *describer) num(n int64)     { d.b = strconv.AppendInt(append(d.b, ' '), n, 10) }
func (d *describer) string(s []byte) { d.b = appendNoLF(append(d.b, ' '), replaceNUL(s)) }

func (d *describer) part(p *Part) {
	d.str("(")
	if p.Flags&Multipart != 0 {
		d.multipart(p)
	} else {
		d.single(p)
	}
	d.str(")")
}

func (d *describer) multipart(p *Part) {
	for _, child := range p.Children {
		d.part(child)
	}
	if len(p.Children) == 0 {
		// There must be one.
		d.str(`("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0`)
		if d.extended {
			d.str(" NIL NIL NIL NIL")
		}
		d.str(")")
	}
	mediaType, params := p.mediaType()
	_, subtype, _ := bytes.Cut(mediaType, []byte("/"))
	d.string(subtype)
	if !d.extended {
		return
	}
	d.params(params)
	d.extension(p)
}

func (d *describer) single(p *Part) {
	params := d.mediaType(p)
	if p.Flags&Text != 0 && !hasParam(params, "charset") {
		params = append(params, param{[]byte("charset"), []byte("us-ascii")})
	}
	d.params(params)
	d.field(p, fieldContentID)
	d.field(p, fieldContentDescription)
	if encoding, ok := p.transferEncoding(); ok {
		d.string(encoding)
	} else {
		d.str(` "7bit"`)
	}
	d.num(p.Body.Virtual)
	switch {
	case p.Flags&Text != 0:
		d.num(int64(p.Body.Lines))
	case p.Flags&RFC822 != 0 && len(p.Children) == 1:
		d.str(" ")
		d.b = p.Children[0].appendEnvelope(d.b)
		d.str(" ")
		d.part(p.Children[0])
		d.num(int64(p.Body.Lines))
	}
	if d.extended {
		d.field(p, fieldContentMD5)
		d.extension(p)
	}
}

// mediaType writes type and subtype and returns the parameters.
func (d *describer) mediaType(p *Part) []param {
	mediaType, params := p.mediaType()
	_, given := p.value(fieldContentType)
	switch {
	case !given && p.Flags&RFC822 != 0:
		d.str(`"message" "rfc822"`)
		return nil
	case !given, len(params) == 0 && bytes.EqualFold(mediaType, []byte("text/plain")):
		d.str(`"text" "plain"`)
		return nil
	}
	kind, subtype, _ := bytes.Cut(mediaType, []byte("/"))
	if bytes.EqualFold(kind, []byte("multipart")) ||
		p.Flags&RFC822 == 0 && bytes.EqualFold(mediaType, []byte("message/rfc822")) {
		// Not parsed as such, so clients must not expect it.
		d.str(`"application" "octet-stream"`)
		return params
	}
	d.b = appendNoLF(d.b, replaceNUL(kind))
	d.string(subtype)
	return params
}

func hasParam(params []param, name string) bool {
	for _, p := range params {
		if bytes.EqualFold(p.name, []byte(name)) {
			return true
		}
	}
	return false
}

// params writes a parameter list.
func (d *describer) params(params []param) {
	if len(params) == 0 {
		d.str(" NIL")
		return
	}
	d.str(" (")
	for i, p := range params {
		if i > 0 {
			d.str(" ")
		}
		d.b = AppendString(d.b, replaceNUL(p.name))
		d.b = AppendString(append(d.b, ' '), replaceNUL(p.value))
	}
	d.str(")")
}

// field writes a field's value, or NIL.
func (d *describer) field(p *Part, id fieldID) {
	d.str(" ")
	d.b = p.appendText(d.b, id, appendNoLF)
}

// extension writes disposition, language and location.
func (d *describer) extension(p *Part) {
	d.disposition(p)
	d.language(p)
	d.field(p, fieldContentLocation)
}

func (d *describer) disposition(p *Part) {
	kind, params, ok := p.disposition()
	if !ok {
		d.str(" NIL")
		return
	}
	d.str(" (")
	d.b = appendNoLF(d.b, replaceNUL(kind))
	d.params(params)
	d.str(")")
}

// disposition returns the Content-Disposition (RFC 2183). Of several valid
// ones the first with parameters counts, else the last.
func (p *Part) disposition() (kind []byte, params []param, ok bool) {
	for i := range p.fields {
		v := &p.fields[i]
		if v.id != fieldContentDisposition || len(params) > 0 {
			continue
		}
		s := scanner{data: p.text(v)}
		s.skipLWSP()
		var word []byte
		if s.token(&word) == failed {
			continue
		}
		kind, params, ok = word, s.params(), true
	}
	return kind, params, ok
}

// language writes the list of RFC 3282 tags.
func (d *describer) language(p *Part) {
	value, _ := p.value(fieldContentLanguage)
	s := scanner{data: value}
	s.skipLWSP()
	n := 0
	for !s.end() {
		var tag []byte
		st := s.atom(&tag)
		if st == failed {
			break
		}
		if n == 0 {
			d.str(" (")
		} else {
			d.str(" ")
		}
		d.b = AppendString(d.b, tag)
		n++
		if st != more || s.peek() != ',' {
			break
		}
		s.i++
		s.skipLWSP()
	}
	if n == 0 {
		d.str(" NIL")
		return
	}
	d.str(")")
}

// transferEncoding returns the Content-Transfer-Encoding if it is valid.
func (p *Part) transferEncoding() ([]byte, bool) {
	value, ok := p.value(fieldContentTransferEncoding)
	if !ok {
		return nil, false
	}
	s := scanner{data: value}
	s.skipLWSP()
	var b []byte
	if s.token(&b) != atEnd || len(b) == 0 {
		return nil, false
	}
	return b, true
}
