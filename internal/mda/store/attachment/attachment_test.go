package attachment

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// lines is base64 in lines of that length.
func lines(b []byte, line int, nl string) string {
	s := base64.StdEncoding.EncodeToString(b)
	var out []string
	for len(s) > line {
		out = append(out, s[:line])
		s = s[line:]
	}
	return strings.Join(append(out, s), nl)
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

// mail is a message with parts of type application/x, a text before and one after.
func mail(parts ...string) string {
	s := "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\n" + strings.Repeat("some text\n", 50)
	for _, p := range parts {
		s += "\n--b\nContent-Type: application/x\nContent-Transfer-Encoding: base64\n\n" + p
	}
	return s + "\n--b\n\nno type\n--b--\n"
}

type text struct{ *strings.Reader }

func (text) Close() error { return nil }

func newStore(t testing.TB, fs string) *Store {
	t.Helper()
	s, err := New(Options{Dir: t.TempDir() + "/a", FS: fs, Hash: "%{sha1}", MinSize: 100})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

var guids byte

func newGUID() (g [16]byte) { guids++; g[0] = guids; return g }

// extract takes a message apart and puts it together again.
func extract(t testing.TB, s *Store, msg string) (stored string, refs []Ref) {
	t.Helper()
	var b bytes.Buffer
	refs, err := s.Extract(strings.NewReader(msg), int64(len(msg)), &b, newGUID)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseRefs(string(AppendRefs(nil, refs)))
	if len(refs) > 0 && (err != nil || !reflect.DeepEqual(refs, again)) {
		t.Fatalf("%+v were read as %+v, %v", refs, again, err)
	}
	checkText(t, s, b.String(), refs, msg)
	return b.String(), refs
}

func checkText(t testing.TB, s *Store, stored string, refs []Ref, msg string) {
	t.Helper()
	body, err := s.Open(text{strings.NewReader(stored)}, refs, "")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	got, err := io.ReadAll(io.NewSectionReader(body, 0, body.Size()))
	if err != nil || string(got) != msg {
		t.Fatalf("%v\nstored %q\ngot %q\nwant %q", err, stored, got, msg)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		off := rnd.IntN(len(msg))
		p := make([]byte, rnd.IntN(len(msg)))
		n, err := body.ReadAt(p, int64(off))
		if want := msg[off:min(off+len(p), len(msg))]; string(p[:n]) != want || err != nil && err != io.EOF {
			t.Fatalf("read %d at %d: %v, %q, want %q", len(p), off, err, p[:n], want)
		}
	}
}

func TestExtract(t *testing.T) {
	for name, c := range map[string]struct {
		part string
		want string // options of the reference; "" for none
	}{
		"lines of 76":            {lines(random(1000), 76, "\n"), "B76"},
		"whole lines":            {lines(random(57*20), 76, "\n"), "B76"},
		"with last line end":     {lines(random(1000), 60, "\n") + "\n", "B60"},
		"two bytes over":         {lines(random(1001), 72, "\n"), "B72"},
		"one line":               {lines(random(300), 4000, "\n"), "B400"},
		"followed by a note":     {lines(random(1000), 76, "\n") + "\n-- \nsent by x\n", "B76"},
		"followed by much":       {lines(random(1000), 76, "\n") + "\n" + strings.Repeat("-", 2000), "-"},
		"lines of other lengths": {lines(random(300), 76, "\n") + "A\n" + lines(random(300), 60, "\n"), "-"},
		"no whole groups":        {strings.Repeat(strings.Repeat("A", 75)+"\n", 10), "-"},
		"bits too many":          {strings.Repeat(strings.Repeat("A", 76)+"\n", 10) + "QR==", "-"},
		"blank lines":            {lines(random(1000), 76, "\n\n"), "-"},
		"text":                   {strings.Repeat("no base64 at all, by no means\n", 20), "-"},
		"small":                  {lines(random(30), 76, "\n"), ""},
		"carriage returns":       {strings.Repeat(strings.Repeat("A", 76)+"\r", 10), "-"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, "sis posix")
			stored, refs := extract(t, s, mail(c.part))
			if c.want == "" {
				if len(refs) != 0 || stored != mail(c.part) {
					t.Errorf("cut out %+v", refs)
				}
				return
			}
			if len(refs) != 1 || !strings.Contains(string(AppendRefs(nil, refs)), " "+c.want+" ") {
				t.Errorf("cut out %s, want %s", AppendRefs(nil, refs), c.want)
			}
		})
	}
}

func TestCRLF(t *testing.T) {
	// Line ends come as LF; a part may have CR LF all the same where they are its own.
	s := newStore(t, "posix")
	if _, refs := extract(t, s, mail(lines(random(1000), 76, "\r\n"))); len(refs) != 1 || !refs[0].CRLF || refs[0].Line != 76 {
		t.Errorf("%+v", refs)
	}
}

func TestSeveral(t *testing.T) {
	s := newStore(t, "sis posix")
	_, refs := extract(t, s, mail(lines(random(1000), 76, "\n"), strings.Repeat("x", 500), lines(random(2000), 60, "\n")))
	if len(refs) != 3 {
		t.Errorf("%+v", refs)
	}
	extract(t, s, "Content-Type: application/pdf\n\n"+strings.Repeat("whole message\n", 50))
	extract(t, s, "Subject: none\n\n"+strings.Repeat("no type\n", 50))
	nested := mail(lines(random(3000), 76, "\n"))
	if _, refs := extract(t, s, "Content-Type: message/rfc822\n\n"+nested); len(refs) != 1 {
		t.Errorf("%+v", refs)
	}
}

// Equal attachments are stored once, until the last message with them is gone.
func TestSingleInstance(t *testing.T) {
	s := newStore(t, "sis posix")
	msg := mail(lines(random(1000), 76, "\n"))
	var all [][]Ref
	for range 3 {
		_, refs := extract(t, s, msg)
		all = append(all, refs)
	}
	other := mail(lines(random(1000), 60, "\n")) // the same bytes
	_, refs := extract(t, s, other)
	all = append(all, refs)
	st, err := os.Stat(s.opt.Dir + "/" + all[0][0].Path)
	if err != nil {
		t.Fatal(err)
	}
	if n := links(st); n != 5 {
		t.Errorf("%d links, want 5", n)
	}
	for i, refs := range all {
		if err := s.RemoveAll(refs, ""); err != nil {
			t.Fatal(err)
		}
		if want := len(all) - i; want > 1 && len(files(t, s)) != want {
			t.Errorf("after %d: %v", i+1, files(t, s))
		}
	}
	if left := files(t, s); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// Two contents with one hash do not become one.
func TestCollision(t *testing.T) {
	s, err := New(Options{Dir: t.TempDir(), FS: "sis posix", Hash: "same", MinSize: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a, b := mail(lines(random(1000), 76, "\n")), mail(lines(random(1001), 76, "\n"))
	storedA, refsA := extract(t, s, a)
	storedB, refsB := extract(t, s, b)
	checkText(t, s, storedA, refsA, a)
	checkText(t, s, storedB, refsB, b)
}

func files(t *testing.T, s *Store) (names []string) {
	t.Helper()
	err := filepath.WalkDir(s.opt.Dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// A failed save leaves nothing.
func TestExtractFails(t *testing.T) {
	s := newStore(t, "sis posix")
	msg := mail(lines(random(1000), 76, "\n"), lines(random(2000), 76, "\n"))
	stored, refs := extract(t, s, msg)
	if err := s.RemoveAll(refs, ""); err != nil {
		t.Fatal(err)
	}
	_, err := s.Extract(strings.NewReader(msg), int64(len(msg)), &limitedWriter{left: len(stored) - 5}, newGUID)
	if err == nil || len(files(t, s)) != 0 {
		t.Errorf("%v, left: %v", err, files(t, s))
	}
}

type limitedWriter struct{ left int }

func (w *limitedWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errors.New("full")
	}
	return len(p), nil
}

func TestDamaged(t *testing.T) {
	s := newStore(t, "posix")
	stored, refs := extract(t, s, mail(lines(random(1000), 76, "\n")))
	path := s.opt.Dir + "/" + refs[0].Path
	if err := os.Truncate(path, 999); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(text{strings.NewReader(stored)}, refs, ""); !errors.Is(err, ErrDamaged) {
		t.Errorf("shorter file: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(text{strings.NewReader(stored)}, refs, ""); !errors.Is(err, ErrDamaged) || errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	for _, bad := range []string{"", "1", "1 2 3", "1 2 - ../x", "1 2 - /etc/passwd", "1 2 - a/../../b", "5 2 - a 4 2 - b", "1 2 B3 a", "1 2 B0 a", "1 2 X a", "-1 2 - a", "1 2 B4000000 a", "9223372036854775807 1 - a"} {
		if refs, err := ParseRefs(bad); !errors.Is(err, ErrDamaged) {
			t.Errorf("%q: %+v, %v", bad, refs, err)
		}
	}
}

func TestHash(t *testing.T) {
	for format, want := range map[string]string{
		"%{sha1}": "a9993e364706816aba3e25717850c26c9cd0d89d", "%{md5:32}": "90015098", "x%{size}": "x0000000000000003",
		"%X{size}": "3", "%{sha256:16}_%{md4:16}": "ba78_a448",
	} {
		f, err := parseHash(format)
		if err != nil {
			t.Fatal(err)
		}
		r := f.start()
		io.WriteString(r, "abc")
		if got := r.String(); got != want {
			t.Errorf("%s: %s, want %s", format, got, want)
		}
	}
	for _, bad := range []string{"%sha1", "%{sha1", "%{sha0}", "%{sha1:7}", "%{sha1:168}", "a/b"} {
		if _, err := parseHash(bad); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

// FuzzRefs reads any text as references, and a message with them.
func FuzzRefs(f *testing.F) {
	f.Add("246 389 B76 08/bd/08bdc7d5-7a244024a4ad026b8870000083ecc375", "text")
	f.Add("0 3 - a 3 8 CB4 a", "")
	f.Fuzz(func(t *testing.T, value, stored string) {
		refs, err := ParseRefs(value)
		if err != nil {
			return
		}
		if again, err := ParseRefs(string(AppendRefs(nil, refs))); err != nil || !reflect.DeepEqual(refs, again) {
			t.Fatalf("%+v were read as %+v, %v", refs, again, err)
		}
		s := newStore(t, "sis posix")
		for i := range refs {
			if Sum(refs) > 1<<20 || os.MkdirAll(filepath.Dir(s.opt.Dir+"/"+refs[i].Path), 0o700) != nil {
				return
			}
			_ = os.WriteFile(s.opt.Dir+"/"+refs[i].Path, make([]byte, refs[i].Size*3/4), 0o600)
		}
		b, err := s.Open(text{strings.NewReader(stored)}, refs, "")
		if err != nil {
			return
		}
		defer b.Close()
		if n, err := io.Copy(io.Discard, io.NewSectionReader(b, 0, b.Size())); err != nil || n != b.Size() {
			t.Errorf("%d of %d bytes, %v", n, b.Size(), err)
		}
	})
}

// FuzzExtract takes any part out of a message and puts it back.
func FuzzExtract(f *testing.F) {
	f.Add(lines(random(200), 76, "\n"))
	f.Add(lines(random(200), 8, "\r\n"))
	f.Fuzz(func(t *testing.T, part string) {
		extract(t, newStore(t, "sis posix"), "Content-Type: application/x\n\n"+part)
		extract(t, newStore(t, "posix"), mail(part, fmt.Sprintf("%0200d", 1)))
	})
}
