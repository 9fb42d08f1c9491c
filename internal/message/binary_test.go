package message

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// FuzzBinary decodes messages that need not be any. Where nothing is encoded the text must
// come back as it is, with CRLF line ends.
func FuzzBinary(f *testing.F) {
	f.Add([]byte("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\nYQ==\n--b\n\nx\n--b--\n"))
	f.Add([]byte("Content-Transfer-Encoding: quoted-printable\r\n\r\na=\r\nb=3D=\r\n"))
	f.Add([]byte("Content-Transfer-Encoding: x\n\n"))
	f.Add([]byte("Content-Type: message/rfc822\n\nContent-Transfer-Encoding: base64\n\n!"))
	f.Add([]byte("A: b"))
	f.Fuzz(func(t *testing.T, text []byte) {
		body := bytes.NewReader(text)
		s, err := Parse(body, Limits{})
		if err != nil {
			return // not a message within the limits
		}
		r, decoded, err := NewBinaryReader(&s.Root, true, bytes.NewReader(text))
		if errors.Is(err, ErrUnknownEncoding) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil && !errors.Is(err, ErrBadEncoding) {
			t.Fatal(err)
		}
		want, err := io.ReadAll(NewCRLFReader(bytes.NewReader(text)))
		if err != nil {
			t.Fatal(err)
		}
		if !decoded && !bytes.Equal(got, want) {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	})
}
