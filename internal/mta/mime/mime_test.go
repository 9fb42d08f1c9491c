package mime

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// recorder writes down what it is told, a line each.
type recorder struct {
	b    strings.Builder
	size int
}

func (r *recorder) Header(class Class, header []byte) {
	fmt.Fprintf(&r.b, "%s %s\n", [...]string{"MAIN", "PART", "NEST"}[class], strings.ReplaceAll(string(header), "\n", "|"))
	r.size += len(header)
}
func (r *recorder) HeaderEnd() { r.b.WriteString("END\n") }
func (r *recorder) Body(line []byte, more bool, offset int64) {
	fmt.Fprintf(&r.b, "BODY %d %s%s\n", offset, line, map[bool]string{true: "+"}[more])
	r.size += len(line)
}
func (r *recorder) Problem(p Problem, text []byte) { fmt.Fprintf(&r.b, "PROBLEM %s: %.30s\n", p, text) }

var all = Options{Report: TooDeep | HeaderTooLong | Header8Bit | Body8Bit | EncodingDomain, HeaderLimit: 100, MaxDepth: 2, MaxBoundary: 10}

func record(o Options, text string, chunk int) *recorder {
	r := new(recorder)
	s := New(o, r)
	for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		for len(line) > chunk {
			s.Line([]byte(line[:chunk]), true)
			line = line[chunk:]
		}
		s.Line([]byte(line), false)
	}
	s.End()
	return r
}

func TestState(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"plain", "A: b\n c\nD : e\n\nx\ny\n", "MAIN A: b| c\nMAIN D: e\nEND\nBODY 0 \nBODY 1 x\nBODY 3 y\n"},
		{"only header", "A: b", "MAIN A: b\nEND\n"},
		{"no header", "xyz\n", "END\nBODY 0 \nBODY 0 xyz\n"},
		{"multipart", "Content-Type: multipart/mixed; boundary=\"b c\"\n\npre\n--b c\nX: y\n\ntext\n--b c--\nepi\n",
			"MAIN Content-Type: multipart/mixed; boundary=\"b c\"\nEND\nBODY 0 \nBODY 1 pre\nBODY 5 --b c\nPART X: y\nBODY 0 \nBODY 1 text\nBODY 0 --b c--\nBODY 8 epi\n"},
		{"message", "content-type: message/rfc822\n\nS: t\n\nx\n", "MAIN content-type: message/rfc822\nEND\nBODY 0 \nNEST S: t\nBODY 0 \nBODY 1 x\n"},
		{"digest", "Content-Type: multipart/digest; boundary=x\n\n--x\n\nS: t\n\nx\n--x--\n",
			"MAIN Content-Type: multipart/digest; boundary=x\nEND\nBODY 0 \nBODY 1 --x\nBODY 0 \nNEST S: t\nBODY 0 \nBODY 1 x\nBODY 0 --x--\n"},
		{"inner part not closed", "Content-Type: multipart/a; boundary=o\n\n--o\nContent-Type: multipart/b; boundary=i\n\n--i\nA: b\n\n--o\nC: d\n\n",
			"MAIN Content-Type: multipart/a; boundary=o\nEND\nBODY 0 \nBODY 1 --o\nPART Content-Type: multipart/b; boundary=i\nBODY 0 \nBODY 1 --i\nPART A: b\nBODY 0 \nBODY 1 --o\nPART C: d\nBODY 0 \n"},
		{"header ends in a part without a blank line", "Content-Type: multipart/a; boundary=o\n\n--o\nA: b\ntext\n",
			"MAIN Content-Type: multipart/a; boundary=o\nEND\nBODY 0 \nBODY 1 --o\nPART A: b\nBODY 0 text\n"},
		{"long boundary", "Content-Type: multipart/a; boundary=0123456789abc\n\n--0123456789zzz\nA: b\n",
			"MAIN Content-Type: multipart/a; boundary=0123456789abc\nEND\nBODY 0 \nBODY 1 --0123456789zzz\nPART A: b\n"},
		{"8 bit", "S: \xff\n\n\xfe\n", "PROBLEM improper use of 8-bit data in message header: S: \xff\nMAIN S: \xff\nEND\nBODY 0 \nPROBLEM improper use of 8-bit data in message body: \xfe\nBODY 1 \xfe\n"},
		{"8bit", "Content-Transfer-Encoding: (c) 8BIT\n\n\xfe\n", "MAIN Content-Transfer-Encoding: (c) 8BIT\nEND\nBODY 0 \nBODY 1 \xfe\n"},
		{"domain", "Content-Type: multipart/x\nContent-Transfer-Encoding: base64\n\n", "MAIN Content-Type: multipart/x\nMAIN Content-Transfer-Encoding: base64\nEND\n" +
			"PROBLEM invalid message/* or multipart/* encoding domain: base64\nBODY 0 \n"},
		{"too deep", "Content-Type: multipart/x; boundary=a; boundary=b; boundary=c; boundary=d; boundary=e\n\n",
			"PROBLEM MIME nesting exceeds safety limit: Content-Type: multipart/x; bou\nMAIN Content-Type: multipart/x; boundary=a; boundary=b; boundary=c; boundary=d; boundary=e\nEND\nBODY 0 \n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, record(all, tt.in, 1000).b.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOpaque(t *testing.T) {
	got := record(Options{Opaque: true, HeaderLimit: 100}, "Content-Type: multipart/a; boundary=o\n\n--o\nA: b\n", 1000).b.String()
	if want := "MAIN Content-Type: multipart/a; boundary=o\nEND\nBODY 0 \nBODY 1 --o\nBODY 5 A: b\n"; got != want {
		t.Errorf("got %s", got)
	}
}

// FuzzState looks that nothing of a message is lost or made up.
func FuzzState(f *testing.F) {
	f.Add("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\nS: t\n\n--b--\n", uint8(200))
	f.Add("A:\n b\n\n", uint8(3))
	f.Add("Content-Type: (c\\)) multipart/digest ; boundary=\"x\\\"\n y\"\n\n--x\" y\n", uint8(9))
	f.Fuzz(func(t *testing.T, in string, chunk uint8) {
		limits := all
		limits.HeaderLimit = 1 << 20
		r := record(limits, in, int(chunk)+1)
		whole := 0
		for _, line := range strings.Split(strings.TrimSuffix(in, "\n"), "\n") {
			whole += len(line)
		}
		// Blanks before the colon of a header go, line ends inside one are counted.
		if max := whole + strings.Count(in, "\n"); r.size > max || r.size < whole-strings.Count(in, " ")-strings.Count(in, "\t") {
			t.Errorf("%q: %d bytes of %d\n%s", in, r.size, whole, r.b.String())
		}
		small := record(all, in, int(chunk)+1)
		if small.size > r.size {
			t.Errorf("%q: limits make it larger", in)
		}
	})
}
