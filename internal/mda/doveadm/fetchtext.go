package doveadm

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/message"
)

// maxHeaderField is how much of one header field is printed.
const maxHeaderField = 10 << 20

// putHeader prints the header as it is stored.
func (f *fetched) putHeader() error {
	s, err := f.structure()
	if err != nil {
		return err
	}
	return f.stored(0, s.Root.Header.Physical)
}

func (f *fetched) putBody() error {
	s, err := f.structure()
	if err != nil {
		return err
	}
	return f.stored(s.Root.BodyOffset(), s.Root.Body.Physical)
}

func (f *fetched) putText() error {
	body, err := f.body()
	if err != nil {
		return err
	}
	return f.stored(0, body.Size())
}

func (f *fetched) stored(offset, size int64) error {
	r, err := f.section(offset, size)
	if err != nil {
		return err
	}
	return f.u.stream(r)
}

// headerField prints all fields of a name: "subject", decoded as "subject.utf8", or of
// addresses a part: "from.address", "from.address_name", "from.address_name.utf8".
func headerField(spec string) func(f *fetched) error {
	name, filter, _ := strings.Cut(spec, ".")
	return func(f *fetched) error {
		values, err := f.headers(name)
		if err != nil {
			return err
		}
		switch filter {
		case "":
			for i, v := range values {
				values[i] = strings.ReplaceAll(v, "\r\n", "\n")
			}
		case "utf8":
			for i, v := range values {
				values[i] = decodeHeader(v)
			}
		case "address", "address_name", "address_name.utf8":
			values = addressParts(strings.Join(values, "\n"), filter)
		default:
			return fatalf(exTempFail, "Unknown header filter: %s", filter)
		}
		return f.put(strings.Join(values, "\n"))
	}
}

func decodeHeader(value string) string {
	return string(message.DecodeHeader(nil, message.AppendUnfolded(nil, []byte(value))))
}

// maxAddresses bounds what is read of a field of addresses.
const maxAddresses = 100_000

func addressParts(value, part string) []string {
	var parts []string
	for _, a := range message.ParseAddresses([]byte(value), maxAddresses) {
		switch part {
		case "address":
			text := a.Mailbox
			if a.Domain != "" {
				text += "@" + a.Domain
			}
			parts = append(parts, text)
		case "address_name":
			parts = append(parts, a.Name)
		default:
			parts = append(parts, decodeHeader(a.Name))
		}
	}
	return parts
}

// headers returns the values of the fields of that name.
func (f *fetched) headers(name string) ([]string, error) {
	body, err := f.body()
	if err != nil {
		return nil, err
	}
	var values []string
	h := message.NewHeaderReader(io.NewSectionReader(body, 0, body.Size()), maxHeaderField)
	for field, ok := h.Next(); ok; field, ok = h.Next() {
		if name != "" && strings.EqualFold(string(field.Name), name) {
			values = append(values, string(field.Value()))
		}
	}
	return values, h.Err()
}

// putPreview prints the beginning of the text.
func (f *fetched) putPreview() error {
	text, err := f.msg.Preview(f.ctx)
	return f.text1(text, err)
}

// putUTF8 prints headers and bodies of all parts decoded, one after the other.
func (f *fetched) putUTF8() error {
	s, err := f.structure()
	if err != nil {
		return err
	}
	body, err := f.body()
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(writeUTF8(w, &s.Root, body)) }()
	defer r.Close()
	return f.u.stream(r)
}

func writeUTF8(w io.Writer, p *message.Part, body io.ReaderAt) error {
	if err := writeUTF8Header(w, p, body); err != nil {
		return err
	}
	for _, child := range p.Children {
		if err := writeUTF8(w, child, body); err != nil {
			return err
		}
	}
	if len(p.Children) > 0 {
		return nil
	}
	r := io.Reader(io.NewSectionReader(body, p.BodyOffset(), p.Body.Physical))
	if bytes.EqualFold(p.Field("content-transfer-encoding"), []byte("quoted-printable")) {
		r = message.NewCRLFReader(r) // Dovecot's decoder writes CRLF
	}
	_, err := io.Copy(w, message.NewTextReader(p, r))
	return err
}

func writeUTF8Header(w io.Writer, p *message.Part, body io.ReaderAt) error {
	h := message.NewHeaderReader(io.NewSectionReader(body, p.Offset, p.Header.Physical), maxHeaderField)
	for field, ok := h.Next(); ok; field, ok = h.Next() {
		line := append(append([]byte(nil), field.Name...), ": "...)
		line = message.DecodeHeader(line, oneLine(field.Value()))
		if _, err := w.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	if err := h.Err(); err != nil || !endsWithEmptyLine(p, body) {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// endsWithEmptyLine reports whether the header of a part is complete.
func endsWithEmptyLine(p *message.Part, body io.ReaderAt) bool {
	var end [3]byte
	n := min(p.Header.Physical, int64(len(end)))
	if _, err := body.ReadAt(end[:n], p.Offset+p.Header.Physical-n); err != nil && err != io.EOF {
		return false
	}
	last, ok := bytes.CutSuffix(end[:n], []byte("\n"))
	last = bytes.TrimSuffix(last, []byte("\r"))
	return ok && (len(last) == 0 || last[len(last)-1] == '\n')
}

// oneLine joins folded lines with one blank.
func oneLine(value []byte) []byte {
	lines := bytes.Split(value, []byte("\n"))
	for i := range lines {
		lines[i] = bytes.TrimSuffix(lines[i], []byte("\r"))
		if i > 0 {
			lines[i] = bytes.TrimLeft(lines[i], " \t")
		}
	}
	return bytes.Join(lines, []byte(" "))
}

// A textSection is what stands between the brackets of IMAP's BODY[].
type textSection struct {
	path   []int
	what   string // "", "header", "text", "mime"
	binary bool   // with the transfer encoding undone
}

// maxSectionPath is how many part numbers a section may have.
const maxSectionPath = 100

func parseSection(spec string) (s *textSection, ok bool) {
	s = new(textSection)
	for spec != "" && spec[0] >= '0' && spec[0] <= '9' {
		number, rest, more := strings.Cut(spec, ".")
		n, err := strconv.ParseUint(number, 10, 31)
		if err != nil || len(s.path) == maxSectionPath || more && rest == "" {
			return nil, false
		}
		s.path = append(s.path, int(n))
		spec = rest
	}
	s.what = spec
	switch spec {
	case "", "header", "text":
		return s, true
	case "mime":
		return s, len(s.path) > 0
	}
	return nil, false
}

// print prints the section with line ends as IMAP has them; nothing if there is no
// such part.
func (s *textSection) print(f *fetched) error {
	tree, err := f.structure()
	if err != nil {
		return err
	}
	body, err := f.body()
	if err != nil {
		return err
	}
	part, ok := tree.Part(s.path)
	if ok && len(s.path) > 0 && (s.what == "header" || s.what == "text") {
		if ok = part.Flags&message.RFC822 != 0 && len(part.Children) > 0; ok {
			part = part.Children[0]
		}
	}
	if !ok {
		return f.u.stream(strings.NewReader(""))
	}
	offset, size := part.BodyOffset(), part.Body.Physical
	switch {
	case s.what == "header" || s.what == "mime":
		offset, size = part.Offset, part.Header.Physical
	case s.what == "" && len(s.path) == 0:
		offset, size = 0, body.Size()
	}
	r := io.Reader(message.NewCRLFReader(io.NewSectionReader(body, offset, size)))
	if s.binary && s.what == "" && len(s.path) > 0 {
		r = message.NewDecodedReader(part, r)
	}
	if err := f.u.stream(r); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return nil
}
