package smtp

import (
	"bytes"
	"io"
	"sync"
)

var writeBufferPool = sync.Pool{New: func() any { return new(buffer) }}

// A DataWriter sends content after DATA: it stuffs dots (RFC 5321 4.5.2) and
// ends the content with a lone dot. Content is lines that end in CRLF.
type DataWriter struct {
	w   io.Writer
	buf *buffer
	n   int
	err error
	bol bool // at the beginning of a line
	cr  bool // the last byte was CR
}

// NewDataWriter returns a writer to w, with a buffer until it is closed.
func NewDataWriter(w io.Writer) *DataWriter {
	return &DataWriter{w: w, buf: writeBufferPool.Get().(*buffer), bol: true}
}

// Write sends p, or part of it, later.
func (d *DataWriter) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 && d.err == nil {
		if d.bol && p[0] == '.' {
			d.put(dot)
		}
		// A line that begins with a dot is the only thing to look for.
		i := bytes.Index(p, newlineDot)
		if i < 0 {
			d.put(p)
			d.bol = p[len(p)-1] == '\n'
			d.cr = p[len(p)-1] == '\r'
			break
		}
		d.put(p[:i+1])
		d.bol = true
		p = p[i+1:]
	}
	if d.err != nil {
		return 0, d.err
	}
	return total, nil
}

var (
	dot        = []byte{'.'}
	newlineDot = []byte("\n.")
)

func (d *DataWriter) put(p []byte) {
	for len(p) > 0 && d.err == nil {
		if d.n == 0 && len(p) >= bufferSize {
			_, d.err = d.w.Write(p)
			return
		}
		n := copy(d.buf[d.n:], p)
		d.n += n
		p = p[n:]
		if d.n == bufferSize {
			d.flush()
		}
	}
}

func (d *DataWriter) flush() {
	if d.err == nil && d.n > 0 {
		_, d.err = d.w.Write(d.buf[:d.n])
	}
	d.n = 0
}

// Flush sends what is left of the content, so that the final dot comes by itself. A last line without
// line end gets one.
func (d *DataWriter) Flush() error {
	if d.buf == nil {
		return d.err
	}
	d.endLine()
	d.flush()
	return d.err
}

func (d *DataWriter) endLine() {
	if d.bol {
		return
	}
	if d.cr {
		d.put(crlf[1:])
	} else {
		d.put(crlf)
	}
	d.bol = true
}

// Close ends the content and sends what is left. A last line without line end
// gets one.
func (d *DataWriter) Close() error {
	if d.buf == nil {
		return d.err
	}
	d.endLine()
	d.put([]byte(".\r\n"))
	d.flush()
	err := d.err
	d.Abort()
	return err
}

// Abort gives the buffer back without ending the content, for instance when
// the connection will be closed instead.
func (d *DataWriter) Abort() {
	if d.buf != nil {
		writeBufferPool.Put(d.buf)
		d.buf = nil
	}
	if d.err == nil {
		d.err = io.ErrClosedPipe
	}
}
