package milter

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/table"
)

// maxPacket is the longest packet that a filter may send. libmilter's are 64 KB, and 1 MB where
// the filter asked for that.
const maxPacket = 2 << 20

// keepPacket is the largest buffer that is kept for the next packet.
const keepPacket = 64 << 10

// A wire sends and receives packets. What is sent waits for [wire.flush], so that commands
// go with their macros.
type wire struct {
	conn  net.Conn
	r     *bufio.Reader
	out   []byte
	start int // of the packet under way in out
	in    []byte
}

func newWire(conn net.Conn) *wire { return &wire{conn: conn, r: bufio.NewReader(conn)} }

func (w *wire) begin(code byte) {
	w.start = len(w.out)
	w.out = append(w.out, 0, 0, 0, 0, code)
}

func (w *wire) number(n uint32) { w.out = binary.BigEndian.AppendUint32(w.out, n) }

// text adds a string. A NUL in it would begin the next one: it is left out.
func (w *wire) text(s string) {
	for i := range len(s) {
		if s[i] != 0 {
			w.out = append(w.out, s[i])
		}
	}
	w.out = append(w.out, 0)
}

func (w *wire) end() {
	binary.BigEndian.PutUint32(w.out[w.start:], uint32(len(w.out)-w.start-4)) //nolint:gosec // at most the 64 KB of a piece of body, or a header
}

// maxUnsent is how much waits to be sent where no answer is expected.
const maxUnsent = 16 << 10

func (w *wire) flush(timeout time.Duration) error {
	if len(w.out) == 0 {
		return nil
	}
	if err := w.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	_, err := w.conn.Write(w.out)
	if w.out = w.out[:0]; cap(w.out) > 2*keepPacket {
		w.out = nil
	}
	return err
}

// errLength is a packet of a length that none has.
type errLength struct{ n uint32 }

func (e errLength) Error() string {
	if e.n == 0 {
		return "bad packet length: 0"
	}
	return fmt.Sprintf("unreasonable packet length: %d > %d", e.n, maxPacket)
}

// receive reads a packet. Its data is valid until the next one.
func (w *wire) receive(timeout time.Duration) (code byte, data []byte, err error) {
	if err := w.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return 0, nil, err
	}
	var head [5]byte
	if _, err := io.ReadFull(w.r, head[:4]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > maxPacket {
		return 0, nil, errLength{n}
	}
	if _, err := io.ReadFull(w.r, head[4:]); err != nil {
		return 0, nil, err
	}
	n--
	if cap(w.in) > keepPacket && n <= keepPacket || uint32(cap(w.in)) < n { //nolint:gosec // at most maxPacket
		w.in = make([]byte, n)
	}
	w.in = w.in[:n]
	_, err = io.ReadFull(w.r, w.in)
	return head[4], w.in, err
}

// reason words an error as Postfix does.
func reason(err error) string {
	var errno syscall.Errno
	var timeout net.Error
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "Connection timed out"
	case errors.As(err, &errno):
		return table.Reason(errno)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "Application error" // the word of Postfix for an end of file
	}
	return table.Reason(err)
}
