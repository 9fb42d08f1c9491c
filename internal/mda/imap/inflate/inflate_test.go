package inflate

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

// pieces decompresses data that arrives in pieces of n bytes, with an output
// buffer of m bytes.
func pieces(t testing.TB, data []byte, n, m int) ([]byte, error) {
	t.Helper()
	var z Stream
	var all, waiting []byte
	out := make([]byte, m)
	for {
		k, used, err := z.Decode(out, waiting)
		all = append(all, out[:k]...)
		waiting = waiting[used:]
		if err != nil {
			return all, err
		}
		if k > 0 {
			continue
		}
		if len(waiting) >= MinInput {
			t.Fatalf("no progress with %d bytes", len(waiting))
		}
		if len(data) == 0 {
			return all, io.ErrUnexpectedEOF
		}
		step := min(n, len(data))
		waiting = append(waiting[:len(waiting):len(waiting)], data[:step]...)
		data = data[step:]
	}
}

// text returns text that compresses like mail.
func text(r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	for b.Len() < size {
		if r.IntN(4) == 0 {
			for range r.IntN(200) {
				b.WriteByte(byte(r.IntN(256)))
			}
		}
		b.WriteString([]string{"Subject: ", "hello ", "* FETCH (FLAGS", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "\r\n"}[r.IntN(5)])
	}
	return b.Bytes()[:size]
}

func compress(t testing.TB, data []byte, level, chunk int, end bool) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	for len(data) > 0 {
		n := min(chunk, len(data))
		w.Write(data[:n])
		w.Flush()
		data = data[n:]
	}
	if end {
		w.Close()
	}
	return b.Bytes()
}

func TestDecode(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, level := range []int{flate.NoCompression, flate.BestSpeed, 6, flate.BestCompression, flate.HuffmanOnly} {
		for _, size := range []int{1, 100, 5000, 200000} {
			data := text(r, size)
			for _, step := range []int{1, 3, 100, 4096} {
				got, err := pieces(t, compress(t, data, level, 3000, true), step, 1+step*7%1000)
				if err != io.EOF || !bytes.Equal(got, data) {
					t.Errorf("level %d, %d bytes in steps of %d: %d bytes, %v", level, size, step, len(got), err)
				}
			}
		}
	}
}

// TestOpen gives all that was flushed while the stream stays open.
func TestOpen(t *testing.T) {
	data := []byte("a1 NOOP\r\na2 NOOP\r\n")
	got, err := pieces(t, compress(t, data, 6, 9, false), 100, 100)
	if err != io.ErrUnexpectedEOF || !bytes.Equal(got, data) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestPartialFlush is zlib's Z_PARTIAL_FLUSH: a block with fixed codes, then an
// empty one, and no byte more than needed.
func TestPartialFlush(t *testing.T) {
	// "a" (code 0x91) and end of block, an empty fixed block: 3+8+7+3+7 bits
	got, err := pieces(t, []byte{0x4a, 0x04, 0x08, 0x00}, 1, 10)
	if err != io.ErrUnexpectedEOF || string(got) != "a" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestCorrupt(t *testing.T) {
	for name, data := range map[string][]byte{
		"block type":     {0x07},
		"stored length":  {0x00, 1, 0, 1, 0},
		"distance":       {0x4b, 0x04, 0x12, 0x00}, // a match before the start
		"too many codes": bytes.Repeat([]byte{0xfd}, 100),
	} {
		if _, err := pieces(t, data, 1, 10); err != ErrCorrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzDecode compares with compress/flate.
func FuzzDecode(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, level := range []int{0, 1, 6, 9} {
		f.Add(compress(f, text(r, 3000), level, 500, true), uint8(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, step uint8) {
		want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(data)), 1<<20))
		if len(want) == 1<<20 {
			return
		}
		got, err := pieces(t, data, 1+int(step), 100)
		switch {
		case wantErr == nil && (err != io.EOF || !bytes.Equal(got, want)):
			t.Fatalf("%d bytes, %v; want %d", len(got), err, len(want))
		case wantErr != nil && err == io.EOF:
			t.Fatalf("taken; flate: %v", wantErr)
		case errors.Is(wantErr, io.ErrUnexpectedEOF) && !bytes.HasPrefix(got, want):
			t.Fatalf("%q; want %q", got, want)
		}
	})
}
