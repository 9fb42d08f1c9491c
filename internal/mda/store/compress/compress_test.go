package compress

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// A source is stored bytes.
type source struct {
	*bytes.Reader
	closed *int
}

func (s source) Close() error { *s.closed++; return nil }

func sourceOf(b []byte) source { return source{bytes.NewReader(b), new(int)} }

func pack(t testing.TB, m *Method, level int, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := m.NewWriter(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	for p := text; len(p) > 0; {
		n := min(len(p), 10000)
		if _, err := w.Write(p[:n]); err != nil {
			t.Fatal(err)
		}
		p = p[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// texts are of all sizes, easy and impossible to compress.
func texts() map[string][]byte {
	noise := make([]byte, 700_000)
	rnd := rand.NewChaCha8([32]byte{1})
	rnd.Read(noise)
	return map[string][]byte{
		"empty": nil, "small": []byte("Subject: x\n\ntext\n"),
		"chunk": bytes.Repeat([]byte("0123456789abcde\n"), 4096), "large": bytes.Repeat([]byte("a line of text\n"), 60_000), "noise": noise,
	}
}

func TestRoundTrip(t *testing.T) {
	for i := range methods {
		m := &methods[i]
		if m.writer == nil {
			continue
		}
		for name, text := range texts() {
			for _, level := range []int{m.MinLevel, m.DefaultLevel, m.MaxLevel} {
				if testing.Short() && level != m.DefaultLevel {
					continue
				}
				b := pack(t, m, level, text)
				if Detect(b) != m {
					t.Fatalf("%s %s: not recognized: % x", m.Name, name, b[:min(len(b), 16)])
				}
				for _, size := range []int64{int64(len(text)), -1} {
					checkBody(t, m, b, text, size)
				}
			}
		}
	}
}

func checkBody(t *testing.T, m *Method, packed, text []byte, size int64) {
	t.Helper()
	src := sourceOf(packed)
	b, err := m.Open(src, size, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if b.Size() != int64(len(text)) {
		t.Fatalf("%s: size %d, want %d", m.Name, b.Size(), len(text))
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		off := rnd.Int64N(int64(len(text)) + 10)
		p := make([]byte, rnd.IntN(100_000))
		n, err := b.ReadAt(p, off)
		want := text[min(off, int64(len(text))):min(off+int64(len(p)), int64(len(text)))]
		if !bytes.Equal(p[:n], want) || (err == io.EOF) != (n < len(p) || off >= int64(len(text))) || err != nil && err != io.EOF {
			t.Fatalf("%s: read %d at %d of %d: %d bytes, %v", m.Name, len(p), off, len(text), n, err)
		}
	}
	got, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
	if err != nil || !bytes.Equal(got, text) {
		t.Fatalf("%s: %d bytes, %v", m.Name, len(got), err)
	}
	if err := b.Close(); err != nil || *src.closed != 1 {
		t.Fatalf("closed %d times, %v", *src.closed, err)
	}
	if _, err := b.ReadAt(make([]byte, 1), 0); len(text) > 0 && err == nil {
		t.Error("read after Close")
	}
}

// A header is read without decompressing what follows.
func TestLazy(t *testing.T) {
	text := bytes.Repeat([]byte("a line of text\n"), 100_000)
	m, err := Lookup("lz4")
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.Open(sourceOf(pack(t, m, 1, text)), int64(len(text)), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.ReadAt(make([]byte, 100), 0); err != nil || b.done > 2*step {
		t.Errorf("%d bytes decompressed for 100, %v", b.done, err)
	}
}

// What is damaged, too long or too short is an error, after what can be read.
func TestDamaged(t *testing.T) {
	for i := range methods {
		m := &methods[i]
		if m.writer == nil {
			continue
		}
		text := bytes.Repeat([]byte("a line of text, more or less\n"), 30_000)
		packed := pack(t, m, m.DefaultLevel, text)
		for name, c := range map[string]struct {
			packed []byte
			size   int64
		}{
			"too long":  {packed, int64(len(text)) - 1},
			"too short": {packed, int64(len(text)) + 1},
			"cut":       {packed[:len(packed)/2], int64(len(text))},
			"one byte":  {packed[:1], int64(len(text))},
		} {
			b, err := m.Open(sourceOf(c.packed), c.size, t.TempDir())
			if err == nil {
				_, err = io.Copy(io.Discard, io.NewSectionReader(b, 0, b.Size()))
				b.Close()
			}
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("%s, %s: %v", m.Name, name, err)
			}
		}
	}
}

// What other programs wrote.
func TestForeign(t *testing.T) {
	for name, c := range map[string]struct{ method, hex, text string }{
		"Dovecot's lz4": {"lz4", "446f7665636f742d4c5a340d2a9bc500010000" + "0000000d" + "c0" + hex.EncodeToString([]byte("Subject: x\n\n")), "Subject: x\n\n"},
		"xz":            {"xz", "fd377a585a000004e6d6b4460200210116000000742fe5a30100115375626a6563743a20780a0a68656c6c6f0a00000062f5bcfadbb4097800012a124b0854bc1fb6f37d010000000004595a", "Subject: x\n\nhello\n"},
		"bzip2":         {"bz2", "425a68393141592653599ac2aa00000002db8000104000001008001a5486402000228d3d206daa100000a84e0f36a91603e2ee48a70a121358554000", "Subject: x\n\nhello\n"},
		"zstd":          {"zstd", "28b52ffd04589100005375626a6563743a20780a0a68656c6c6f0a507827cf", "Subject: x\n\nhello\n"},
	} {
		b, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatal(name, err)
		}
		m := Detect(b)
		if m == nil || m.Name != c.method {
			t.Fatalf("%s: detected %v", name, m)
		}
		checkBody(t, m, b, []byte(c.text), -1)
	}
}

func TestLookup(t *testing.T) {
	for name, want := range map[string]string{"gz": "", "zstd": "", "xz": "Support not compiled in for handler: xz", "x": "Unknown handler: x", "deflate": "could not be read"} {
		if _, err := Lookup(name); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if m := Detect([]byte("BZhand text")); m != nil {
		t.Errorf("text is taken for %s", m.Name)
	}
}

// FuzzLZ4 reads any bytes as Dovecot's lz4 file.
func FuzzLZ4(f *testing.F) {
	m, _ := Lookup("lz4")
	f.Add(pack(f, m, 1, []byte("Subject: x\n\ntext\n")), int64(17))
	f.Add(pack(f, m, 1, bytes.Repeat([]byte("0123456789abcdef"), 10_000)), int64(160_000))
	f.Add([]byte(lz4Magic+"\x00\x10\x00\x00\x00\x00\x00\x01\x00"), int64(1))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		r, err := m.Open(sourceOf(b), min(max(size, -1), 1<<20), t.TempDir())
		if err != nil {
			return
		}
		defer r.Close()
		n, err := io.Copy(io.Discard, io.NewSectionReader(r, 0, r.Size()))
		if err == nil && n != r.Size() {
			t.Errorf("%d bytes of %d", n, r.Size())
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	text := bytes.Repeat([]byte("a line of text that repeats itself, more or less, over and over\n"), 160)
	for i := range methods {
		m := &methods[i]
		if m.writer == nil {
			continue
		}
		b.Run(m.Name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				w, err := m.NewWriter(io.Discard, m.DefaultLevel)
				if err == nil {
					_, err = w.Write(text)
				}
				if err == nil {
					err = w.Close()
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	text := bytes.Repeat([]byte("a line of text that repeats itself, more or less, over and over\n"), 160)
	for i := range methods {
		m := &methods[i]
		if m.writer == nil {
			continue
		}
		packed := pack(b, m, m.DefaultLevel, text)
		b.Run(m.Name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			buf := make([]byte, len(text))
			for b.Loop() {
				r, err := m.Open(sourceOf(packed), int64(len(text)), "/tmp")
				if err == nil {
					_, err = r.ReadAt(buf, 0)
				}
				if err != nil {
					b.Fatal(err)
				}
				r.Close()
			}
		})
	}
}
