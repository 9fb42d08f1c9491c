package smtp

import (
	"bytes"
	"io"
	"strings"
)

// A downgrader turns 8-bit MIME content into quoted-printable (RFC 2045 6.7) for servers without
// 8BITMIME (RFC 6152 3). It takes lines that end in CRLF, and holds no more
// than a line, or what of it matters.
//
// Only parts whose Content-Transfer-Encoding says that they are 8bit or binary are
// converted; other content is passed on as it is, since nothing says what it means.
type downgrader struct {
	w    io.Writer
	line []byte // beginning of a line whose end has not come yet
	mid  bool   // the beginning of the present line was handled already

	header   bool
	field    []byte // a Content-* field, as far as it has come
	contType string // value of Content-Type
	eightBit bool   // Content-Transfer-Encoding says so
	encode   bool   // the body at hand is to be encoded
	digest   bool   // the default type of the part is message/rfc822
	stack    []boundary

	qp  []byte // encoded line, as far as it has come
	out []byte // what is written next
}

// A boundary separates the parts of a multipart body.
type boundary struct {
	text   string
	digest bool
}

// Limits as those of Postfix's parser (mime_nesting_limit, mime_boundary_length_limit,
// header_size_limit), and of a line that is looked at as a whole.
const (
	maxNesting  = 100
	maxBoundary = 2048
	maxField    = 16 << 10
	maxLine     = 4096
)

func newDowngrader(w io.Writer) *downgrader { return &downgrader{w: w, header: true} }

// Write takes a piece of content.
func (d *downgrader) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		n := bytes.IndexByte(p, '\n')
		if n < 0 {
			d.line = append(d.line, p...)
			if len(d.line) > maxLine {
				cr := cutCR(d.line)
				d.piece(d.line[:len(d.line)-cr], false)
				d.line = append(d.line[:0], d.line[len(d.line)-cr:]...)
				d.mid = true
			}
			break
		}
		line := p[:n]
		if len(d.line) > 0 {
			d.line = append(d.line, line...)
			line = d.line
		}
		d.piece(line[:len(line)-cutCR(line)], true)
		d.line, d.mid = d.line[:0], false
		p = p[n+1:]
		if len(d.out) > maxLine {
			if err := d.flush(); err != nil {
				return 0, err
			}
		}
	}
	return total, d.flush()
}

// Close takes what is left as a last line.
func (d *downgrader) Close() error {
	if len(d.line) > 0 || d.mid {
		d.piece(d.line, true)
	}
	if d.header {
		d.endHeader()
	}
	return d.flush()
}

func (d *downgrader) flush() error {
	_, err := d.w.Write(d.out)
	d.out = d.out[:0]
	return err
}

// cutCR is 1 for a line that ends in CR.
func cutCR(line []byte) int {
	if len(line) > 0 && line[len(line)-1] == '\r' {
		return 1
	}
	return 0
}

// piece takes a line without its end, or a piece of one.
func (d *downgrader) piece(line []byte, end bool) {
	switch {
	case d.mid:
	case len(d.stack) > 0 && bytes.HasPrefix(line, []byte("--")) && d.separates(line):
		d.put(line, end)
		return
	case d.header && d.headerLine(line, end):
		return
	}
	if d.header || !d.encode {
		d.put(line, end)
		return
	}
	d.quote(line, end)
}

func (d *downgrader) put(line []byte, end bool) {
	d.out = append(d.out, line...)
	if end {
		d.out = append(d.out, '\r', '\n')
	}
}

// separates says whether a line is a boundary of one of the multiparts that it is
// in, and if so begins what follows it.
func (d *downgrader) separates(line []byte) bool {
	for i := len(d.stack) - 1; i >= 0; i-- {
		rest, ok := bytes.CutPrefix(line[2:], []byte(d.stack[i].text))
		if !ok {
			continue
		}
		if d.header {
			d.endHeader()
		}
		if bytes.HasPrefix(rest, []byte("--")) {
			d.stack = d.stack[:i]
			d.header, d.encode = false, false
			return true
		}
		d.digest = d.stack[i].digest
		d.stack = d.stack[:i+1]
		d.begin()
		return true
	}
	return false
}

// begin begins a header.
func (d *downgrader) begin() {
	d.header, d.encode, d.eightBit = true, false, false
	d.contType, d.field = "", d.field[:0]
}

// headerLine handles a line of a header. It reports false for one that belongs
// to the body.
func (d *downgrader) headerLine(line []byte, end bool) bool {
	if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
		if len(d.field) > 0 && len(d.field)+len(line) < maxField {
			d.field = append(append(d.field, '\n'), line...)
			return true
		}
		d.endField()
		d.put(line, end)
		return true
	}
	d.endField()
	switch {
	case len(line) == 0:
		d.endHeader()
		d.put(line, end)
		return true
	case !isField(line):
		d.endHeader()
		return false
	case hasFieldName(line, "Content-Type"), hasFieldName(line, "Content-Transfer-Encoding"):
		d.field = append(d.field, line...)
		return true
	}
	d.put(line, end)
	return true
}

// isField says whether a line begins a header field.
func isField(line []byte) bool {
	colon := bytes.IndexByte(line, ':')
	return colon > 0 && bytes.IndexFunc(bytes.TrimRight(line[:colon], " \t"), func(r rune) bool { return r <= ' ' || r >= 0x7f }) < 0
}

func hasFieldName(line []byte, name string) bool {
	return len(line) > len(name) && strings.EqualFold(string(line[:len(name)]), name) &&
		strings.HasPrefix(strings.TrimLeft(string(line[len(name):]), " \t"), ":")
}

// endField looks at a complete Content-* field. An encoding that is not 7-bit
// is left out: another one will stand at the end of the header.
func (d *downgrader) endField() {
	if len(d.field) == 0 {
		return
	}
	field := string(d.field)
	d.field = d.field[:0]
	name, value, _ := strings.Cut(field, ":")
	value = strings.TrimSpace(strings.ReplaceAll(value, "\n", " "))
	if strings.EqualFold(strings.TrimRight(name, " \t"), "Content-Type") {
		d.contType = value
	} else {
		encoding, _, _ := strings.Cut(strings.ToLower(value), " ")
		d.eightBit = encoding == "8bit" || encoding == "binary"
		if d.eightBit {
			return
		}
	}
	d.put([]byte(strings.ReplaceAll(field, "\n", "\r\n")), true)
}

// endHeader decides how the body goes on.
func (d *downgrader) endHeader() {
	d.endField()
	kind, params, _ := strings.Cut(d.contType, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	if kind == "" && d.digest {
		kind = "message/rfc822"
	}
	d.header, d.digest = false, false
	encoding := "quoted-printable"
	switch {
	case strings.HasPrefix(kind, "multipart/"):
		encoding = "7bit"
		if text := boundaryParam(params); text != "" && len(text) <= maxBoundary && len(d.stack) < maxNesting {
			d.stack = append(d.stack, boundary{text, kind == "multipart/digest"})
		}
	case strings.HasPrefix(kind, "message/"):
		encoding = "7bit"
	default:
		d.encode = d.eightBit
	}
	if d.eightBit {
		d.put([]byte("Content-Transfer-Encoding: "+encoding), true)
	}
	if kind == "message/rfc822" || kind == "message/global" {
		d.begin()
	}
}

// boundaryParam finds the parameter of a Content-Type.
func boundaryParam(params string) string {
	for params != "" {
		var name string
		name, params, _ = strings.Cut(params, "=")
		_, name, _ = cutLast(name, ";")
		params = strings.TrimLeft(params, " ")
		var value string
		if strings.HasPrefix(params, `"`) {
			value, params = unquote(params[1:])
		} else if i := strings.IndexAny(params, "; \t("); i >= 0 {
			value, params = params[:i], params[i:]
		} else {
			value, params = params, ""
		}
		if strings.EqualFold(strings.TrimSpace(name), "boundary") {
			return strings.TrimRight(value, " ")
		}
	}
	return ""
}

// cutLast returns what stands behind the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return "", s, false
}

// unquote reads a quoted string whose first quote is gone.
func unquote(s string) (value, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:]
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

const upperHex = "0123456789ABCDEF"

// quote encodes a line, or a piece of one, and breaks it where it gets too long.
func (d *downgrader) quote(text []byte, end bool) {
	for _, c := range text {
		if len(d.qp) > 72 {
			d.out = append(append(d.out, d.qp...), "=\r\n"...)
			d.qp = d.qp[:0]
		}
		if c < ' ' && c != '\t' || c == '=' || c > '~' {
			d.qp = append(d.qp, '=', upperHex[c>>4], upperHex[c&15])
			continue
		}
		d.qp = append(d.qp, c)
	}
	if !end {
		return
	}
	if n := len(d.qp); n > 0 && (d.qp[n-1] == ' ' || d.qp[n-1] == '\t') { // RFC 2045 6.7 (3)
		c := d.qp[n-1]
		d.qp = append(d.qp[:n-1], '=', upperHex[c>>4], upperHex[c&15])
	}
	d.put(d.qp, true)
	d.qp = d.qp[:0]
}
