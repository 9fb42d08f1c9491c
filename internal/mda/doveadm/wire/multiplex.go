package wire

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// The channels.
const (
	answerChannel = 0
	logChannel    = 'L'
)

// headerSize is that of a packet's begin.
const headerSize = 5

// maxPacket is how much is put into one packet.
const maxPacket = 8 << 10

// A multiplexer writes packets, of several goroutines.
type multiplexer struct {
	mu sync.Mutex
	w  io.Writer
}

// A channel writes to one of the channels.
type channel struct {
	m  *multiplexer
	id byte
}

func (c channel) Write(p []byte) (n int, err error) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	for len(p) > 0 {
		part := p[:min(len(p), maxPacket)]
		packet := append(make([]byte, 0, headerSize+len(part)), c.id)
		packet = append(binary.BigEndian.AppendUint32(packet, uint32(len(part))), part...)
		if _, err := c.m.w.Write(packet); err != nil {
			return n, err
		}
		n += len(part)
		p = p[len(part):]
	}
	return n, nil
}

// A demultiplexer reads the answers in packets; what is on the channel of the log goes
// to a function, line by line.
type demultiplexer struct {
	r    *bufio.Reader
	log  func(level maillog.Level, text string)
	line []byte // what there is of the next line of the log
	left uint32 // of a packet with answers
}

func (d *demultiplexer) Read(p []byte) (int, error) {
	for d.left == 0 {
		if err := d.next(); err != nil {
			return 0, err
		}
	}
	n, err := d.r.Read(p[:min(len(p), int(d.left))])
	d.left -= uint32(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// next reads the begin of a packet, and all of one that has no answers.
func (d *demultiplexer) next() error {
	var header [headerSize]byte
	if _, err := io.ReadFull(d.r, header[:]); err != nil {
		if err == io.EOF {
			d.flush()
		}
		return err
	}
	size := binary.BigEndian.Uint32(header[1:])
	switch header[0] {
	case answerChannel:
		d.left = size
		return nil
	case logChannel:
		return d.readLog(int64(size))
	}
	if _, err := io.CopyN(io.Discard, d.r, int64(size)); err != nil {
		return fmt.Errorf("packet of channel %d: %w", header[0], err)
	}
	return nil
}

// maxLogLine is where a line of the log is cut.
const maxLogLine = 64 << 10

func (d *demultiplexer) readLog(size int64) error {
	buf := make([]byte, min(size, 4<<10))
	for size > 0 {
		part := buf[:min(size, int64(len(buf)))]
		if _, err := io.ReadFull(d.r, part); err != nil {
			return io.ErrUnexpectedEOF
		}
		size -= int64(len(part))
		for len(part) > 0 {
			text, rest, whole := bytes.Cut(part, []byte("\n"))
			d.line = append(d.line, text[:min(len(text), maxLogLine-len(d.line))]...)
			if whole {
				d.flush()
			}
			part = rest
		}
	}
	return nil
}

// flush gives the line to whoever logs it.
func (d *demultiplexer) flush() {
	if len(d.line) > 1 && d.log != nil {
		d.log(levelOf(d.line[0]), string(d.line[1:]))
	}
	d.line = d.line[:0]
}

// levelOf is what a line of the log begins with.
func levelOf(c byte) maillog.Level {
	if c < 1 || c > 1+byte(maillog.Panic) {
		return maillog.Warning
	}
	return maillog.Level(c - 1)
}

// appendLog adds the lines of a message.
func appendLog(b []byte, level maillog.Level, text string) []byte {
	for line := range bytes.SplitSeq([]byte(text), []byte("\n")) {
		b = append(b, byte(level)+1)
		b = append(append(b, line...), '\n')
	}
	return b
}
