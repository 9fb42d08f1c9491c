package dbox

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

func openDir(tb testing.TB) *index.Dir {
	tb.Helper()
	d, err := index.OpenDir(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(d.Close)
	return d
}

func TestSample(t *testing.T) {
	d, err := index.OpenDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	f, err := Open(d, "u.1")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	if err != nil || len(b) != 157 || !bytes.HasPrefix(b, []byte("From: Alice")) || !bytes.HasSuffix(b, []byte("message 1\n")) {
		t.Errorf("body %q, %v", b, err)
	}
	m, err := f.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[byte]string{KeyReceived: "65928d21", KeyVirtualSize: "a4", KeyGUID: "b8b005051cae026b567d000083ecc375", KeyPOP3UIDL: ""} {
		if got := m.Get(key); got != want {
			t.Errorf("%c is %q, want %q", key, got, want)
		}
	}
	if v, err := f.VirtualSize(); v != 0xa4 || err != nil {
		t.Errorf("virtual size %d, %v", v, err)
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		name string
		uid  uint32
		ok   bool
	}{
		{"u.1", 1, true}, {"u.4294967295", 4294967295, true}, {"u.4294967296", 0, false}, {"u.0", 0, false},
		{"u.01", 0, false}, {"u.", 0, false}, {"u.+1", 0, false}, {"u.2.broken", 0, false}, {"v.1", 0, false},
	} {
		if uid, ok := ParseName(c.name); ok != c.ok || ok && uid != c.uid {
			t.Errorf("%s is uid %d, %v", c.name, uid, ok)
		}
	}
	if !IsTemp(TempName()) || equal(TempName(), TempName()) {
		t.Error("temporary names")
	}
}

func TestGUID128(t *testing.T) {
	// From a Maildir base name, as replication shows it.
	want := "\x38\x6f\xf4\xbf\xe5\x38\x11\xd2\x28\xc9\xcb\x4f\x5b\x0b\x12\x42"
	if got := GUID128("1795336800.M849773P1243.vm,S=157,W=164"); string(got[:]) != want {
		t.Errorf("got %x", got)
	}
	if got := GUID128("b8b005051cae026b567d000083ecc375"); got[0] != 0xb8 || got[15] != 0x75 {
		t.Errorf("got %x", got)
	}
}

// stored is what becomes of text, done the slow way.
func stored(text string) (body string, virtual int) {
	body = strings.ReplaceAll(text, "\r\n", "\n")
	virtual = len(body)
	for i := range len(body) {
		if body[i] == '\n' && (i == 0 || body[i-1] != '\r') {
			virtual++
		}
	}
	return body, virtual
}

func testWrite(t *testing.T, d *index.Dir, text string, step int) {
	t.Helper()
	w := NewWriter(d, time.Unix(1234567890, 0))
	defer w.Abort()
	for p := text; p != ""; {
		n := min(step, len(p))
		if _, err := io.WriteString(w, p[:n]); err != nil {
			t.Fatal(err)
		}
		p = p[n:]
	}
	if err := w.Finish(&Fields{Received: time.Unix(1, 0), GUID: "g"}); err != nil {
		t.Fatal(err)
	}
	body, virtual := stored(text)
	f, err := Open(d, w.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	if err != nil || string(got) != body {
		t.Fatalf("text of %d bytes in steps of %d: stored %d bytes, want %d, %v", len(text), step, len(got), len(body), err)
	}
	m, err := f.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := m.Hex(KeyVirtualSize); !ok || int(v) != virtual {
		t.Fatalf("virtual size %d, want %d", v, virtual)
	}
	if v, err := f.VirtualSize(); err != nil || int(v) != virtual {
		t.Fatalf("computed virtual size %d, want %d, %v", v, virtual, err)
	}
}

func TestWriter(t *testing.T) {
	d := openDir(t)
	long := strings.Repeat("0123456789\r\n", 20000)
	for _, text := range []string{"", "a", "\r", "\n", "\r\n", "a\r\r\nb", "a\rb\r\n\r\n", "\r\r\r", long, long + "\r", "x" + long} {
		for _, step := range []int{1, 2, 3, 1000, 1 << 20} {
			if step < 1000 && len(text) > 1000 {
				continue
			}
			testWrite(t, d, text, step)
		}
	}
	l, err := List(d)
	if err != nil || len(l.Temps) != 0 {
		t.Errorf("left behind: %v, %v", l, err)
	}
}

func FuzzWriter(f *testing.F) {
	f.Add("a\r\nb\r\r\n\r", 1)
	f.Fuzz(func(t *testing.T, text string, step int) {
		testWrite(t, openDir(t), text, min(max(step, 1), 1<<20))
	})
}

// FuzzFile reads any bytes as a mail file, and repairs it.
func FuzzFile(f *testing.F) {
	b, err := os.ReadFile("testdata/u.1")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		d := openDir(t)
		if err := os.WriteFile(filepath.Join(d.Path, "u.1"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if sound(t, d) {
			return
		}
		kept, err := Repair(d, "u.1")
		if err != nil {
			t.Fatal(err)
		}
		if kept && !sound(t, d) {
			t.Fatal("still damaged after repair")
		}
	})
}

// sound reads all of u.1; it returns false if it is corrupt.
func sound(t *testing.T, d *index.Dir) bool {
	f, err := Open(d, "u.1")
	if err == nil {
		defer f.Close()
		if _, err = io.Copy(io.Discard, io.NewSectionReader(f, 0, f.Size())); err == nil {
			_, err = f.Metadata()
		}
	}
	if err != nil && !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	return err == nil
}

func equal(a, b string) bool { return a == b }
