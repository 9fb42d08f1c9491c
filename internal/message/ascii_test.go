package message

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/transform"
	"golang.org/x/text/unicode/norm"
)

// Text that begins as ASCII is decoded as if the decoder had seen its beginning, however it comes in.
func TestASCIIReader(t *testing.T) {
	ascii := strings.Repeat("plain text, longer than any buffer. ", 300)
	for charset, body := range map[string]string{
		"us-ascii":     ascii,
		"utf-8":        ascii + "Gr\xc3\xbc\xc3\x9fe " + ascii + "broken \xc3",
		"iso-8859-1":   ascii + "Gr\xfc\xdfe " + ascii,
		"windows-1252": "\x80 first" + ascii,
		"iso-2022-jp":  ascii + "\x1b$B$3$s\x1b(B",
		"utf-16":       "\x00a\x00b",
	} {
		decoder, _ := decoderOf(charset)
		want, err := io.ReadAll(transform.NewReader(strings.NewReader(body), decoder))
		if err != nil {
			t.Fatal(err)
		}
		header := "Content-Type: text/plain; charset=" + charset + "\r\n\r\n"
		s, err := Parse(strings.NewReader(header+body), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []io.Reader{strings.NewReader(body), iotest.OneByteReader(strings.NewReader(body)), iotest.DataErrReader(strings.NewReader(body))} {
			if got, err := io.ReadAll(NewTextReader(&s.Root, r)); !bytes.Equal(got, want) || err != nil {
				t.Errorf("%s: %.100q, %v; want %.100q", charset, got, err, want)
			}
		}
		broken := io.MultiReader(strings.NewReader(body), iotest.ErrReader(errBroken))
		if _, err := io.ReadAll(NewTextReader(&s.Root, broken)); !errors.Is(err, errBroken) {
			t.Errorf("%s: the error of the body: %v", charset, err)
		}
	}
}

var errBroken = errors.New("broken")

// FuzzCasemap: upper case of many bytes at once is that of each.
func FuzzCasemap(f *testing.F) {
	for _, s := range []string{"", "abcXYZ`{@[", "0123456789abcdefghij", "Stra\xc3\x9fe", "\xff\xfe", strings.Repeat("az", 20) + "\xc3\xa9" + "zzzzzzzzz"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var want []byte
		for rest := text; len(rest) > 0; {
			r, size := utf8.DecodeRune(rest)
			rest = rest[size:]
			if r < utf8.RuneSelf {
				want = append(want, byte(unicode.ToUpper(r)))
				continue
			}
			want = norm.NFKD.AppendString(want, string(unicode.ToTitle(r)))
		}
		if got := AppendCasemap(nil, text); !bytes.Equal(got, want) {
			t.Errorf("AppendCasemap(%q) = %q, want %q", text, got, want)
		}
	})
}
