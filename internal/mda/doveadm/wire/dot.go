package wire

import (
	"bufio"
	"bytes"
	"io"
)

// A dotReader reads a text up to the line with one dot. The line end before that
// line belongs to it and not to the text; others stay as they are.
type dotReader struct {
	r      *bufio.Reader
	middle bool   // of a line
	end    []byte // the line end before what comes next
	rest   []byte
	err    error
}

func newDotReader(r *bufio.Reader) *dotReader { return &dotReader{r: r} }

func (d *dotReader) Read(p []byte) (int, error) {
	for len(d.rest) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		d.rest, d.err = d.more()
	}
	n := copy(p, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

// more reads a line, or as much of one as the buffer holds.
func (d *dotReader) more() ([]byte, error) {
	part, err := d.r.ReadSlice('\n')
	if err == io.EOF {
		return nil, io.ErrUnexpectedEOF
	}
	if err != nil && err != bufio.ErrBufferFull {
		return nil, err
	}
	begin := !d.middle
	d.middle = err != nil
	if begin && part[0] == '.' {
		if part = part[1:]; string(part) == "\n" || string(part) == "\r\n" {
			return nil, io.EOF
		}
	}
	text := d.end
	d.end = nil
	switch {
	case bytes.HasSuffix(part, []byte("\r\n")):
		d.end, part = []byte("\r\n"), part[:len(part)-2]
	case !d.middle:
		d.end, part = []byte("\n"), part[:len(part)-1]
	case part[len(part)-1] == '\r': // whether a LF follows is seen with the next part
		d.r.UnreadByte() //nolint:errcheck // it was just read
		part = part[:len(part)-1]
	}
	return append(text, part...), nil
}

// sendDotted sends a text with CRLF line ends, and what ends it: a line end, which is
// none of the text, and the line with one dot.
func sendDotted(w *bufio.Writer, text io.Reader) error {
	r := bufio.NewReaderSize(text, 32<<10)
	begin, cr := true, false
	for {
		part, err := r.ReadSlice('\n')
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			return err
		}
		line, whole := bytes.CutSuffix(part, []byte("\n"))
		if begin && len(line) > 0 && line[0] == '.' {
			w.WriteByte('.') //nolint:errcheck // sticky
		}
		w.Write(line) //nolint:errcheck // sticky
		if len(line) > 0 {
			cr = line[len(line)-1] == '\r'
		}
		if whole {
			if !cr {
				w.WriteByte('\r') //nolint:errcheck // sticky
			}
			w.WriteByte('\n') //nolint:errcheck // sticky
			cr = false
		}
		begin = whole
		if err == io.EOF {
			w.WriteString("\r\n.\r\n") //nolint:errcheck // sticky
			return w.Flush()
		}
	}
}
