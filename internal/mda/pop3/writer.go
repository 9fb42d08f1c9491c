package pop3

import (
	"net"
	"strconv"
	"sync"
	"time"
)

// writeBuffer holds the replies to a pipeline of commands, or a piece of a
// listing, until they are sent.
const writeBuffer = 8 << 10

var writeBuffers = sync.Pool{New: func() any { return new([writeBuffer]byte) }}

// A writer gathers replies. It holds a buffer only while there are any.
type writer struct {
	conn net.Conn
	pool *[writeBuffer]byte
	buf  []byte
	sent int64
	err  error // sticky
}

// reserve makes sure that there is a buffer with room.
func (w *writer) reserve() {
	if w.pool == nil {
		w.pool = writeBuffers.Get().(*[writeBuffer]byte)
		w.buf = w.pool[:0]
	}
	if len(w.buf) > writeBuffer-256 {
		w.send(nil)
	}
}

func (w *writer) string(s string) {
	w.reserve()
	w.buf = append(w.buf, s...)
}

func (w *writer) int(n int64) {
	w.reserve()
	w.buf = strconv.AppendInt(w.buf, n, 10)
}

// maxEcho is how much of a client's line is sent back.
const maxEcho = 128

// printable adds text of the client's, without control characters.
func (w *writer) printable(text []byte) {
	w.reserve()
	for _, ch := range text[:min(len(text), maxEcho)] {
		if ch < ' ' || ch == 0x7f {
			ch = '?'
		}
		w.buf = append(w.buf, ch)
	}
}

// Write sends p behind what has gathered.
func (w *writer) Write(p []byte) (int, error) {
	w.send(p)
	if w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

// send writes the buffer and p with one call.
func (w *writer) send(p []byte) {
	if w.err != nil {
		w.buf = w.buf[:0]
		return
	}
	w.conn.SetWriteDeadline(time.Now().Add(idleTimeout)) //nolint:errcheck // the write shows it
	out := p
	if len(w.buf) > 0 {
		out = append(w.buf, p...)
	}
	n, err := w.conn.Write(out)
	w.sent += int64(n)
	w.err = err
	w.buf = w.buf[:0]
}

// flush sends what has gathered and gives the buffer back.
func (w *writer) flush() error {
	if len(w.buf) > 0 {
		w.send(nil)
	}
	if w.pool != nil {
		writeBuffers.Put(w.pool)
		w.pool, w.buf = nil, nil
	}
	return w.err
}

// total is what was sent and what is going to be.
func (w *writer) total() int64 { return w.sent + int64(len(w.buf)) }
