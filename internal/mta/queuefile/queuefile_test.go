package queuefile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// samples are queue files and submissions that Postfix 3.7 made, or took: see
// their suffix for the queue.
func samples(t testing.TB, suffixes ...string) map[string][]byte {
	t.Helper()
	all := make(map[string][]byte)
	for _, suffix := range suffixes {
		names, err := filepath.Glob("testdata/*." + suffix)
		if err != nil || len(names) == 0 {
			t.Fatalf("no samples *.%s: %v", suffix, err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all[filepath.Base(name)] = b
		}
	}
	return all
}

var queueFiles = []string{"deferred", "hold", "incoming", "maildrop"}

func parse(t testing.TB, b []byte) *Message {
	t.Helper()
	m, err := Parse(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRecordsSame(t *testing.T) {
	for name, in := range samples(t, queueFiles...) {
		if name == "milter-edited.deferred" {
			continue // holds remains of records
		}
		var out bytes.Buffer
		r, w := NewReader(bytes.NewReader(in)), NewWriter(&out)
		for {
			if r.next != w.Offset() {
				t.Fatalf("%s: reader at %d, writer at %d", name, r.next, w.Offset())
			}
			rec, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := w.Write(rec.Type, rec.Data); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(in, out.Bytes()) {
			t.Errorf("%s: records written differ from those read", name)
		}
	}
}

// TestContent compares contents with what the real postcat shows.
func TestContent(t *testing.T) {
	postcat, err := exec.LookPath("postcat")
	if err != nil {
		t.Fatal("Postfix is not installed: run test/install-packages")
	}
	for name, in := range samples(t, queueFiles...) {
		m := parse(t, in)
		got, err := io.ReadAll(m.Content())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want, err := exec.Command(postcat, "-hb", filepath.Join("testdata", name)).Output()
		if err != nil {
			t.Fatalf("postcat -hb %s: %v", name, err)
		}
		if m.Unended() {
			want = append(want, '\n')
		}
		if text := bytes.ReplaceAll(got, crlf, []byte{'\n'}); !bytes.Equal(text, want) {
			t.Errorf("%s: content %q, postcat shows %q", name, text, want)
		}
		if n := bytes.Count(got, []byte{'\n'}); n != bytes.Count(got, crlf) || !bytes.HasSuffix(got, crlf) {
			t.Errorf("%s: not all lines end in CRLF", name)
		}
	}
}

// TestEdited reads the message that a milter changed everywhere.
func TestEdited(t *testing.T) {
	in, err := os.ReadFile("testdata/milter-edited.deferred")
	if err != nil {
		t.Fatal(err)
	}
	m := parse(t, in)
	if err := m.Complete(); err != nil {
		t.Error(err)
	}
	want := []Recipient{
		{Address: "keep@down.local", Original: "keep@down.local", Orcpt: "rfc822;keep@down.local", Type: 'R', Offset: 660},
		{Address: "gone@down.local", Original: "gone@down.local", Orcpt: "rfc822;gone@down.local", Type: '/', Offset: 732},
		{Address: "milteradded@down.local", Original: "milteradded@down.local", Type: 'R', Offset: 1330},
	}
	// postcat names the pointer instead of the record where one leads there.
	want[2].Offset = m.Recipients[2].Offset
	if diff := cmp.Diff(want, m.Recipients); diff != "" {
		t.Errorf("recipients (-want +got):\n%s", diff)
	}
	if m.Sender != "newsender@example.org" {
		t.Errorf("sender %q", m.Sender)
	}
	if got := in[m.Recipients[2].Offset]; got != 'R' {
		t.Errorf("at the recipient's offset stands %q", got)
	}
	if m.Size.Length == m.Size.Content {
		t.Error("the size record says nothing of the change")
	}
}

// composed writes m and reads it again.
func composed(t testing.TB, m *Message, content io.Reader) ([]byte, *Message) {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := m.Compose(f, content); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	again := parse(t, b)
	if err := again.Complete(); err != nil {
		t.Errorf("what was written: %v", err)
	}
	return b, again
}

// otherLayout are samples with a layout that cleanup does not make, or with
// killed records and pointers, which are not made again.
var otherLayout = []string{
	"bounced-sent-deferred.deferred", "milter-edited.deferred", "trace-killed.deferred", "written-dsn.incoming",
	"written-full.deferred",
}

// TestCompose reads and writes messages: the same bytes where the layout is that
// of cleanup(8), the same meaning otherwise.
func TestCompose(t *testing.T) {
	for name, in := range samples(t, "deferred", "hold", "incoming") {
		t.Run(name, func(t *testing.T) {
			m := parse(t, in)
			if err := m.Complete(); err != nil {
				t.Fatal(err)
			}
			before := *m
			before.Recipients = slices.Clone(m.Recipients)
			out, again := composed(t, m, m.Content())
			if !bytes.Equal(in, out) && !slices.Contains(otherLayout, name) {
				t.Errorf("written %d bytes differ from %d read:\n%q\n%q", len(out), len(in), out, in)
			}
			same := cmp.Options{
				cmpopts.IgnoreUnexported(Message{}), cmpopts.IgnoreFields(Message{}, "Size"),
				cmpopts.IgnoreFields(Recipient{}, "Offset"), cmpopts.EquateEmpty(),
				cmpopts.SortSlices(func(a, b Attribute) bool { return a.Name < b.Name }),
			}
			if diff := cmp.Diff(&before, again, same); diff != "" {
				t.Errorf("read again (-before +after):\n%s", diff)
			}
			a, _ := io.ReadAll(before.Content())
			b, _ := io.ReadAll(again.Content())
			if !bytes.Equal(a, b) {
				t.Errorf("content %q became %q", a, b)
			}
		})
	}
}

// TestLines takes contents through records and back.
func TestLines(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for _, tc := range []struct{ name, in, out string }{
		{"empty", "", "\r\n"},
		{"one line", "a\r\n", ""},
		{"no end", "a", "a\r\n"},
		{"lone CR", "a\rb\r\n\r\r\n\rc\r\n", ""},
		{"CR at the end", "a\r\n\r", "a\r\n\r\r\n"},
		{"lone LF", "a\nb\r\n\n\r\n", ""},
		{"NUL and 8 bit", "\x00a\xff\x00\r\n", ""},
		{"long", long + "\r\n" + long[:2047] + "\r\n" + long[:2048] + "\r\n" + long[:2049] + "\r\n", ""},
		{"long without end", long, long + "\r\n"},
		{"full without end", long[:4096], long[:4096] + "\r\n"},
		{"CR where a piece ends", long[:2047] + "\r\n" + long[:2047] + "\rx\r\n" + long[:2048] + "\r\r\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := tc.out
			if want == "" {
				want = tc.in
			}
			for _, step := range []int{1, 3, 2048, 1 << 20} {
				m := &Message{Arrival: time.Unix(1, 0), Recipients: []Recipient{{Address: "a@b", Type: TypeRecipient}}}
				_, again := composed(t, m, &slowReader{tc.in, step})
				got, err := io.ReadAll(&stepReader{again.Content(), step})
				if err != nil || string(got) != want {
					t.Errorf("in steps of %d: %q became %q, %v", step, tc.in, got, err)
				}
			}
		})
	}
}

type slowReader struct {
	s    string
	step int
}

func (r *slowReader) Read(b []byte) (int, error) {
	if r.s == "" {
		return 0, io.EOF
	}
	n := copy(b[:min(r.step, len(b))], r.s)
	r.s = r.s[n:]
	return n, nil
}

type stepReader struct {
	r    io.Reader
	step int
}

func (r *stepReader) Read(b []byte) (int, error) { return r.r.Read(b[:min(r.step, len(b))]) }

// TestCut reads every beginning of a file: all but the whole are refused.
func TestCut(t *testing.T) {
	for name, in := range samples(t, "hold", "maildrop") {
		for n := range len(in) {
			if _, err := Parse(bytes.NewReader(in[:n]), int64(n)); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%s cut off at %d of %d: %v", name, n, len(in), err)
			}
		}
	}
}

func file(records ...Record) []byte {
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, r := range records {
		w.Write(r.Type, r.Data)
	}
	return b.Bytes()
}

func TestRefused(t *testing.T) {
	c := Record{'C', []byte(fmt.Sprintf(sizeFormat, 3, 127, 1, 0, 3, 0))}
	at, s, r := Record{'T', []byte("1795341731 23087")}, Record{'S', []byte("a@b")}, Record{'R', []byte("c@d")}
	m, n, x, e := Record{'M', nil}, Record{'N', []byte("x")}, Record{'X', nil}, Record{'E', nil}
	with := func(i int, rec ...Record) []byte {
		all := []Record{c, at, s, r, m, n, x, e}
		return file(slices.Replace(all, i, i+1, rec...)...)
	}
	good := with(0, c)
	if err := parse(t, good).Complete(); err != nil {
		t.Fatalf("the file without fault is refused: %v", err)
	}
	for _, tc := range []struct {
		name  string
		in    []byte
		words string
	}{
		{"no size", with(0), "no size record"},
		{"no time", with(1), "no arrival time"},
		{"no sender", with(2), "no sender"},
		{"unknown type", with(3, r, Record{'Z', nil}), `unexpected record type 'Z' at offset 125`},
		{"unknown type in the content", with(5, Record{'R', nil}), `'R' in the content`},
		{"attribute without value", with(3, Record{'A', []byte("encoding")}, r), "attribute without a value"},
		{"pointer nowhere", with(3, Record{'p', []byte("999999")}), "pointer"},
		{"pointers in a circle", with(3, Record{'p', []byte("97")}), "circle"},
		{"sizes still zero", with(0, Record{'C', []byte((&Size{}).String())}), "not completed"},
		{"unknown flags", with(0, Record{'C', []byte(fmt.Sprintf(sizeFormat, 3, 127, 1, 64, 3, 0))}), "flags 0x40"},
		{"content elsewhere", with(0, Record{'C', []byte(fmt.Sprintf(sizeFormat, 3, 131, 1, 0, 3, 0))}), "found at 127"},
		{"content of other size", with(0, Record{'C', []byte(fmt.Sprintf(sizeFormat, 5, 127, 1, 0, 3, 0))}), "does not end at 132"},
		{"record length without end", []byte("C\xff\xff\xff\xff\x7f"), "bad record length"},
		{"huge record", []byte("C\xff\xff\xff\x7f"), "record of 268435455 bytes"},
		{"bad time", with(1, Record{'T', []byte("now")}), "time"},
		{"nothing", nil, "ends at offset 0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, err := Parse(bytes.NewReader(tc.in), int64(len(tc.in)))
			if err == nil {
				err = m.Complete()
			}
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), tc.words) {
				t.Errorf("%v, not about %q", err, tc.words)
			}
		})
	}
}

func TestLog(t *testing.T) {
	for name, in := range samples(t, "defer") {
		entries, err := ReadLog(bytes.NewReader(in))
		if err != nil || len(entries) == 0 {
			t.Fatalf("%s: %d entries, %v", name, len(entries), err)
		}
		for _, e := range entries {
			queueFile, err := os.ReadFile("testdata/" + name + "red")
			if err != nil {
				t.Fatal(err)
			}
			m := parse(t, queueFile)
			i := slices.IndexFunc(m.Recipients, func(r Recipient) bool { return r.Offset == e.Offset })
			if i < 0 || m.Recipients[i].Address != e.Recipient {
				t.Errorf("%s: entry of %s names no recipient at %d", name, e.Recipient, e.Offset)
			}
		}
		if name == "written-full.defer" {
			continue // without the lines for older readers
		}
		var out bytes.Buffer
		if err := WriteLog(&out, entries); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(in, out.Bytes()) {
			t.Errorf("%s: written\n%s\nread\n%s", name, out.Bytes(), in)
		}
	}
}

func TestLogForms(t *testing.T) {
	in := "<\"a b\"@c>: old form\n\nrecipient=<>\nunknown=1\nstatus=4.0.0\nreason=x\n\nnothing at all\n\n"
	got, err := ReadLog(strings.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{{Recipient: "a b@c", Reason: "old form"}, {Status: "4.0.0", Reason: "x"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var out bytes.Buffer
	if err := WriteLog(&out, []Entry{{Recipient: "a b@c", Reason: "line\nbreak", Status: "4.0.0"}, {}}); err != nil {
		t.Fatal(err)
	}
	again, err := ReadLog(&out)
	want = []Entry{{Recipient: "a b@c", Reason: "line?break", Status: "4.0.0"}, {}}
	if diff := cmp.Diff(want, again); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestNames(t *testing.T) {
	at := time.Unix(1795341731, 29703*1000)
	if got := LongName(at, 10602437); got != "4jXPkW0BzCz1XvGv" {
		t.Errorf("long name %s", got)
	}
	if got := ShortName(time.Unix(1, 0x8EB89*1000), 0xA1C754); got != "8EB89A1C754" {
		t.Errorf("short name %s", got)
	}
	if got, ok := Time("4jXPkW0BzCz1XvGv"); !ok || !got.Equal(at) {
		t.Errorf("time of the long name %v %v", got, ok)
	}
	if got, ok := Time("8EB89A1C754"); !ok || got.Nanosecond() != 0x8EB89*1000 {
		t.Errorf("time of the short name %v %v", got, ok)
	}
	for _, name := range []string{"", "8EB8", "zzzzzzzzzzzzzzz", "XXXXXXXXX", "FFFFFA1C754"} {
		if at, ok := Time(name); ok {
			t.Errorf("%q has the time %v", name, at)
		}
	}
	for _, tc := range []struct {
		name  string
		depth int
		want  string
	}{
		{"8EB89A1C754", 0, "deferred/8EB89A1C754"},
		{"8EB89A1C754", 2, "deferred/8/E/8EB89A1C754"},
		{"4jXPkW0BzCz1XvGv", 1, "deferred/0/4jXPkW0BzCz1XvGv"},
		{"AB", 3, "deferred/A/B/_/AB"},
	} {
		if got := Path("deferred", tc.name, tc.depth); got != tc.want {
			t.Errorf("%s at depth %d: %s", tc.name, tc.depth, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, in := range samples(f, queueFiles...) {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := Parse(bytes.NewReader(in), int64(len(in)))
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("%v", err)
			}
			return
		}
		m.Complete()
		content, err := io.ReadAll(io.LimitReader(m.Content(), 1<<22))
		if err != nil {
			t.Fatalf("content of a file that was taken: %v", err)
		}
		// What was read can be written, and is the same then.
		if len(content) == 1<<22 {
			return
		}
		var file memFile
		if err := m.Compose(&file, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		again, err := Parse(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Fatalf("what was written: %v", err)
		}
		if len(again.Recipients) != len(m.Recipients) || again.Sender != m.Sender {
			t.Errorf("sender %q and %d recipients became %q and %d", m.Sender, len(m.Recipients), again.Sender, len(again.Recipients))
		}
	})
}

// memFile is a file in memory.
type memFile []byte

func (f *memFile) Write(p []byte) (int, error) {
	*f = append(*f, p...)
	return len(p), nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) { return copy((*f)[off:], p), nil }

func FuzzReadLog(f *testing.F) {
	for _, in := range samples(f, "defer") {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		entries, err := ReadLog(bytes.NewReader(in))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := WriteLog(&out, entries); err != nil {
			t.Fatal(err)
		}
		again, err := ReadLog(&out)
		if err != nil || len(again) != len(entries) {
			t.Errorf("%d entries became %d, %v", len(entries), len(again), err)
		}
	})
}
