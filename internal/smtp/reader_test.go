package smtp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// chunkConn is a connection whose input arrives in pieces of a given size.
type chunkConn struct {
	net.Conn
	in   []byte
	size int
}

func (c *chunkConn) Read(p []byte) (int, error) {
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.size)], c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *chunkConn) SetDeadline(time.Time) error { return nil }

func readerOf(input string, size int) *Reader {
	return NewReader(&chunkConn{in: []byte(input), size: size}, 20)
}

func TestReadLine(t *testing.T) {
	long := strings.Repeat("x", 50)
	for size := range 70 {
		r := readerOf("one\r\n\r\ntwo\nthree\r\r\n"+long+"\r\nlast\r\ncut", size+1)
		for _, want := range []string{"one", "", "two", "three", long[:20] + "!", "last"} {
			line, err := r.ReadLine()
			got := string(line)
			if err == ErrLineTooLong {
				got, err = got+"!", nil
			}
			if err != nil || got != want {
				t.Fatalf("pieces of %d: got %q, %v, want %q", size+1, got, err, want)
			}
			if r.BareLF() != (want == "two") && want != long[:20]+"!" {
				t.Errorf("pieces of %d: %q: BareLF is %v", size+1, want, r.BareLF())
			}
		}
		if _, err := r.ReadLine(); err != io.EOF {
			t.Errorf("at the end: %v", err)
		}
	}
}

// readData reads the content of DATA and returns what is left of the input.
func readData(t testing.TB, r *Reader, ends LineEnds) (content []byte, err error) {
	t.Helper()
	r.StartData(ends)
	for {
		piece, err := r.ReadData()
		if err == io.EOF {
			return content, nil
		}
		if err != nil {
			return content, err
		}
		if len(piece) == 0 {
			t.Fatal("empty piece")
		}
		content = append(content, piece...)
	}
}

func TestReadData(t *testing.T) {
	for _, tt := range []struct {
		name, in, want, rest string
		ends                 LineEnds
	}{
		{name: "empty", in: ".\r\nNOOP\r\n", want: "", rest: "NOOP"},
		{name: "dots", in: "..a\r\n.b\r\n...\r\n.\r\nX\r\n", want: ".a\r\nb\r\n..\r\n", rest: "X"},
		{name: "bare LF", in: "a\nb\n\n.\r\n.\r\nX\r\n", want: "a\r\nb\r\n\r\n", rest: "X"},
		{name: "lone dot after bare LF", in: "a\n.\r\nb\r\n.\r\nX\r\n", want: "a\r\nb\r\n", rest: "X"},
		{name: "lone dot before bare LF", in: "a\r\n.\nb\r\n.\r\nX\r\n", want: "a\r\nb\r\n", rest: "X"},
		{name: "CR LF dot CR CR LF", in: "a\r\n.\r\r\n.\r\nX\r\n", want: "a\r\n\r\r\n", rest: "X"},
		{name: "dot CR text", in: ".\rx\r\n.\r\nX\r\n", want: "\rx\r\n", rest: "X"},
		{name: "any end LF", in: "a\n.\nX\r\n", want: "a\r\n", rest: "X", ends: AnyEnd},
		{name: "any end mixed", in: "a\n.\r\nX\r\n", want: "a\r\n", rest: "X", ends: AnyEnd},
		{name: "pipelined", in: "a\r\n.\r\nQUIT\r\n", want: "a\r\n", rest: "QUIT"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for size := 1; size <= len(tt.in); size++ {
				r := readerOf(tt.in, size)
				got, err := readData(t, r, tt.ends)
				if err != nil || string(got) != tt.want {
					t.Fatalf("pieces of %d: got %q, %v, want %q", size, got, err, tt.want)
				}
				if rest, err := r.ReadLine(); err != nil || string(rest) != tt.rest {
					t.Fatalf("pieces of %d: left %q, %v", size, rest, err)
				}
			}
		})
	}
}

func TestReadDataCut(t *testing.T) {
	const in = "a\r\n..b\n.\r\n.\r\n"
	for n := range len(in) {
		if _, err := readData(t, readerOf(in[:n], 3), StandardEnd); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after %q: %v", in[:n], err)
		}
	}
}

// FuzzReadData compares the reading of content in pieces of different sizes
// with each other, and checks what is promised of it.
func FuzzReadData(f *testing.F) {
	for _, s := range []string{"a\r\n.\r\n", "..\r\n.\r\n", "\n.\r\n.\n\r\n.\r\n", ".\r\r\n.\r\n", "\r\r\n\n.\r.\r\n.\r\n", "x\n.\n.\r\n\r\n.\r\n"} {
		f.Add([]byte(s), uint8(3), false)
	}
	f.Fuzz(func(t *testing.T, in []byte, size uint8, anyEnd bool) {
		ends := StandardEnd
		if anyEnd {
			ends = AnyEnd
		}
		whole := readerOf(string(in), len(in)+1)
		want, wantErr := readData(t, whole, ends)
		pieces := readerOf(string(in), int(size)%7+1)
		got, err := readData(t, pieces, ends)
		if err != wantErr || err == nil && !bytes.Equal(got, want) {
			t.Fatalf("at once %q, %v; in pieces %q, %v", want, wantErr, got, err)
		}
		if err != nil {
			return
		}
		a, _ := whole.ReadLine()
		b, _ := pieces.ReadLine()
		if !bytes.Equal(a, b) {
			t.Errorf("left over: at once %q, in pieces %q", a, b)
		}
		if n := bytes.Count(want, []byte("\n")); n != bytes.Count(want, []byte("\r\n")) {
			t.Errorf("bare LF in %q", want)
		}
		if len(want) > 0 && !bytes.HasSuffix(want, []byte("\n")) {
			t.Errorf("no line end after %q", want)
		}
		// What a client makes of it, a server reads again.
		var out bytes.Buffer
		w := NewDataWriter(&out)
		for p := want; len(p) > 0; {
			n := min(len(p), int(size)%5+1)
			w.Write(p[:n])
			p = p[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		again, err := readData(t, readerOf(out.String(), 5), StandardEnd)
		if err != nil || !bytes.Equal(again, want) {
			t.Errorf("%q sent as %q, read as %q, %v", want, out.String(), again, err)
		}
	})
}

func TestReadChunk(t *testing.T) {
	const in = "a\r\nb\nc\r\n\n\r\rd\r"
	const want = "a\r\nb\r\nc\r\n\r\n\r\rd\r"
	for size := 1; size <= len(in); size++ {
		for chunk := 1; chunk <= len(in); chunk++ {
			r := readerOf(in+"X\r\n", size)
			r.StartChunks()
			var got []byte
			for rest := len(in); rest > 0; {
				left := int64(min(chunk, rest))
				rest -= int(left)
				for {
					piece, err := r.ReadChunk(&left)
					if err == io.EOF {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, piece...)
				}
			}
			if string(got) != want {
				t.Fatalf("pieces of %d, chunks of %d: got %q", size, chunk, got)
			}
			if line, err := r.ReadLine(); err != nil || string(line) != "X" {
				t.Fatalf("pieces of %d: left %q, %v", size, line, err)
			}
		}
	}
}

func TestIdle(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	r := NewReader(server, 1000)
	if r.Poll() != 0 || r.buf != nil {
		t.Error("a buffer without input")
	}
	r.SetTimeout(20 * time.Millisecond)
	if _, err := r.ReadLine(); !isTimeout(err) || r.buf != nil {
		t.Errorf("timeout: %v, buffer %v", err, r.buf != nil)
	}
	r.Reset(server, 1000)
	server.SetDeadline(time.Time{})
	r.SetTimeout(10 * time.Second)
	io.WriteString(client, "hello\r\nrest")
	if line, err := r.ReadLine(); err != nil || string(line) != "hello" {
		t.Errorf("got %q, %v", line, err)
	}
	client.Close()
	if _, err := r.ReadLine(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func BenchmarkReadData(b *testing.B) {
	in := []byte(strings.Repeat(strings.Repeat("x", 70)+"\r\n", 140) + ".\r\n")
	conn := &chunkConn{size: 1 << 20}
	r := NewReader(conn, 1000)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		conn.in = in
		r.Reset(conn, 1000)
		r.StartData(StandardEnd)
		for {
			if _, err := r.ReadData(); err != nil {
				break
			}
		}
	}
}
