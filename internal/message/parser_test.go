package message

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
)

// A golden is a message and Dovecot's answer.
type golden struct{ message, want []byte }

// goldens reads a file of pairs of quoted lines.
func goldens(tb testing.TB, name string) []golden {
	tb.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	var texts [][]byte
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if !strings.HasPrefix(lines.Text(), `"`) {
			continue
		}
		text, err := strconv.Unquote(lines.Text())
		if err != nil {
			tb.Fatalf("%s: %v: %s", name, err, lines.Text())
		}
		texts = append(texts, []byte(text))
	}
	var list []golden
	for i := 0; i+1 < len(texts); i += 2 {
		list = append(list, golden{texts[i], texts[i+1]})
	}
	return list
}

func mustParse(tb testing.TB, m []byte) *Structure {
	tb.Helper()
	s, err := Parse(bytes.NewReader(m), Limits{})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestEnvelope(t *testing.T) {
	for _, g := range goldens(t, "envelope.txt") {
		if got := mustParse(t, g.message).AppendEnvelope(nil); !bytes.Equal(got, g.want) {
			t.Errorf("%q\n got %q\nwant %q", g.message, got, g.want)
		}
	}
}

func TestBodyStructure(t *testing.T) {
	for _, g := range goldens(t, "bodystructure.txt") {
		if got := mustParse(t, g.message).AppendBodyStructure(nil); !bytes.Equal(got, g.want) {
			t.Errorf("%q\n got %q\nwant %q", g.message, got, g.want)
		}
	}
}

// The way in which a message is cut into writes must not matter.
func TestWritesOfAnySize(t *testing.T) {
	for _, g := range append(goldens(t, "bodystructure.txt"), goldens(t, "envelope.txt")...) {
		whole := mustParse(t, g.message)
		want := whole.AppendParts(describe(whole))
		for _, size := range []int{1, 2, 3, 7} {
			s := parseInPieces(g.message, size)
			if got := s.AppendParts(describe(s)); !bytes.Equal(got, want) {
				t.Fatalf("pieces of %d: %q\n got %q\nwant %q", size, g.message, got, want)
			}
		}
	}
}

func parseInPieces(m []byte, size int) *Structure {
	p := NewParser(Limits{})
	for len(m) > 0 {
		n := min(size, len(m))
		p.Write(m[:n])
		m = m[n:]
	}
	s, _ := p.Close()
	return s
}

// Messages that no person would write, made by chance from those that some did,
// described by Dovecot and by us.
func TestAgainstDovecot(t *testing.T) {
	var messages [][]byte
	all := append(goldens(t, "bodystructure.txt"), goldens(t, "envelope.txt")...)
	random := rand.New(rand.NewPCG(1, 2))
	for range 1500 {
		messages = append(messages, mutate(random, all))
	}
	for i, want := range dovecotFetch(t, messages, describeItems) {
		if got := describe(mustParse(t, messages[i])); !bytes.Equal(got, want) {
			t.Errorf("%q\n got %q\nwant %q", messages[i], got, want)
		}
	}
	items := "BODY.PEEK[" + strings.Join(sections, "] BODY.PEEK[") + "]"
	for i, want := range dovecotFetch(t, messages, items) {
		if got := appendSections(nil, mustParse(t, messages[i]), messages[i]); !bytes.Equal(got, want) {
			t.Errorf("%q\n got %q\nwant %q", messages[i], got, want)
		}
	}
}

// pieces are what mutate puts into messages.
var pieces = strings.Split("\n|\r\n|\r| |\t|\"|\\|(|)|<|>|@|,|;|:|=|--b|--b--|\n--b\n|\n--b--\n|\n--c--\n|\n\n|*|*0|*1*|.|..|a|"+
	"\xe4|\u00e4|\x00|/|[|]|Content-Type: text/plain\n|Content-Type: message/rfc822\n\n|--|-|\x7f|\x01|%|'|?|  |\n |\n\t|"+
	"boundary=b|charset=|Subject: x\n|From: y@z\n|Content-Type: multipart/mixed; boundary=c\n\n", "|")

func mutate(random *rand.Rand, from []golden) []byte {
	m := bytes.Clone(from[random.IntN(len(from))].message)
	for range 1 + random.IntN(6) {
		at := random.IntN(len(m) + 1)
		end := min(len(m), at+1<<random.IntN(6))
		var middle []byte
		switch random.IntN(4) {
		case 0: // delete
		case 1: // insert
			middle, end = []byte(pieces[random.IntN(len(pieces))]), at
		case 2: // replace
			middle = []byte(pieces[random.IntN(len(pieces))])
		case 3: // copy from another
			other := from[random.IntN(len(from))].message
			i := random.IntN(len(other) + 1)
			middle, end = other[i:min(len(other), i+5<<random.IntN(5))], at
		}
		m = append(m[:at:at], append(bytes.Clone(middle), m[end:]...)...)
	}
	return m
}

// sections are the BODY sections compared with Dovecot's.
var sections = strings.Split("1|1.1|2|1.MIME|2.MIME|1.HEADER|1.TEXT|1.1.MIME|1.2|1.2.MIME|1.1.1|2.1|HEADER|TEXT|1.1.HEADER|1.1.TEXT", "|")

func appendSections(b []byte, s *Structure, m []byte) []byte {
	for i, section := range sections {
		if i > 0 {
			b = append(b, ' ')
		}
		b = fmt.Appendf(b, "BODY[%s] ", section)
		text := sectionText(s, m, section)
		b = fmt.Appendf(b, "{%d}\r\n%s", len(text), text)
	}
	return b
}

// sectionText returns what IMAP serves for a section.
func sectionText(s *Structure, m []byte, section string) []byte {
	var path []int
	kind := ""
	for word := range strings.SplitSeq(section, ".") {
		if n, err := strconv.Atoi(word); err == nil {
			path = append(path, n)
		} else {
			kind = word
		}
	}
	p, ok := s.Part(path)
	if !ok {
		return nil
	}
	if len(path) > 0 && kind != "MIME" && kind != "" {
		if p.Flags&RFC822 == 0 || len(p.Children) != 1 {
			return nil
		}
		p = p.Children[0]
	}
	at, size := p.BodyOffset(), p.Body.Physical
	if kind == "MIME" || kind == "HEADER" {
		at, size = p.Offset, p.Header.Physical
	}
	text, _ := io.ReadAll(NewCRLFReader(bytes.NewReader(m[at : at+size])))
	return bytes.ReplaceAll(text, []byte{0}, []byte{0x80}) // as IMAP must
}

// Limits keep hostile messages small and say so.
func TestLimits(t *testing.T) {
	var many strings.Builder
	many.WriteString("Content-Type: multipart/mixed; boundary=b\n\n")
	for range 100 {
		many.WriteString("--b\n\nx\n")
	}
	s, _ := Parse(strings.NewReader(many.String()), Limits{Parts: 10})
	if s.Parts != 10 || s.Root.Children[8].Flags&Overflow == 0 {
		t.Errorf("%d parts, flags of the last %#x", s.Parts, s.Root.Children[8].Flags)
	}
	deep := strings.Repeat("Content-Type: message/rfc822\n\n", 200)
	s, _ = Parse(strings.NewReader(deep), Limits{})
	if s.Parts != defaultDepth {
		t.Errorf("depth %d, want %d", s.Parts, defaultDepth)
	}
	s, _ = Parse(strings.NewReader("Subject: "+strings.Repeat("x", 5000)+"\nFrom: a@b\n\n"), Limits{HeaderSize: 1000})
	if len(s.text) > 1000 || string(s.Field("From")) != "a@b" {
		t.Errorf("kept %d bytes, From %q", len(s.text), s.Field("From"))
	}
	long := "Subject: " + strings.Repeat("x", 3*maxHeaderLine) + "\nFrom: a@b\n\nbody\n"
	s, _ = Parse(strings.NewReader(long), Limits{})
	if s.PhysicalSize() != int64(len(long)) || s.Root.Header.Lines != 3 || string(s.Field("From")) != "a@b" {
		t.Errorf("size %d of %d, %d lines, From %q", s.PhysicalSize(), len(long), s.Root.Header.Lines, s.Field("From"))
	}
}

func FuzzParser(f *testing.F) {
	for _, g := range goldens(f, "bodystructure.txt") {
		f.Add(g.message)
	}
	for _, g := range goldens(f, "envelope.txt") {
		f.Add(g.message)
	}
	f.Fuzz(func(t *testing.T, m []byte) {
		s := mustParse(t, m)
		if s.PhysicalSize() != int64(len(m)) {
			t.Fatalf("size %d of %d", s.PhysicalSize(), len(m))
		}
		crlf, _ := io.ReadAll(NewCRLFReader(bytes.NewReader(m)))
		if s.VirtualSize() != int64(len(crlf)) {
			t.Fatalf("virtual size %d, want %d", s.VirtualSize(), len(crlf))
		}
		checkInside(t, &s.Root)
		all := s.AppendParts(describe(s))
		pieces := parseInPieces(m, 5)
		if got := pieces.AppendParts(describe(pieces)); !bytes.Equal(got, all) {
			t.Fatalf("in pieces %q\nas a whole %q", got, all)
		}
		if _, err := ParseParts(s.AppendParts(nil)); err != nil {
			t.Fatal(err)
		}
	})
}

// checkInside verifies that the parts of a part lie in its body.
func checkInside(t *testing.T, p *Part) {
	end := p.BodyOffset() + p.Body.Physical
	for _, c := range p.Children {
		if c.Offset < p.BodyOffset() || c.BodyOffset()+c.Body.Physical > end {
			t.Fatalf("part %d+%d+%d is not inside %d..%d", c.Offset, c.Header.Physical, c.Body.Physical, p.BodyOffset(), end)
		}
		checkInside(t, c)
	}
}

// tenKilobytes is a message as the benchmarks of the whole server use them.
func tenKilobytes() []byte {
	head := "Received: from a.example.org (a.example.org [192.0.2.1])\n\tby b.example.org (Postfix) with ESMTPS id 4Abc\n" +
		"\tfor <bob@example.org>; Mon,  1 Jan 2024 10:00:00 +0000 (UTC)\nFrom: Alice <alice@example.org>\nTo: Bob <bob@example.org>\n" +
		"Subject: Quarterly report\nDate: Mon, 1 Jan 2024 10:00:00 +0000\nMessage-ID: <1@example.org>\nMIME-Version: 1.0\n" +
		"X-Mailer: test\nX-Spam-Status: No, score=-1.0\nContent-Type: multipart/mixed; boundary=\"=_frontier\"\n\n"
	var b bytes.Buffer
	b.WriteString(head + "--=_frontier\nContent-Type: text/plain; charset=utf-8\n\n")
	for b.Len() < 5<<10 {
		b.WriteString("The quick brown fox jumps over the lazy dog and does it again, and again.\n")
	}
	b.WriteString("--=_frontier\nContent-Type: image/png; name=x.png\nContent-Transfer-Encoding: base64\n\n")
	for b.Len() < 10<<10 {
		b.WriteString("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA6Q==\n")
	}
	b.WriteString("--=_frontier--\n")
	return b.Bytes()
}

func BenchmarkParse10K(b *testing.B) {
	m := tenKilobytes()
	p := NewParser(Limits{})
	b.SetBytes(int64(len(m)))
	b.ReportAllocs()
	for b.Loop() {
		p.Reset()
		p.Write(m)
		p.Close()
	}
}

func BenchmarkDescribe(b *testing.B) {
	s := mustParse(b, tenKilobytes())
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = s.AppendEnvelope(buf[:0])
		buf = s.AppendBodyStructure(buf)
	}
}
