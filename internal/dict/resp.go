package dict

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// A respConn speaks RESP, the protocol of Redis servers: a command is an array of
// strings; a reply is
//
//	+TEXT, -ERROR, :INTEGER
//	$LENGTH, then so many bytes; $-1 for no value
//	*COUNT, then so many replies; *-1 for none
//
// Each line, and the bytes of a string, end with CRLF.
type respConn struct {
	conn net.Conn
	r    *bufio.Reader
}

func newRESPConn(conn net.Conn) *respConn {
	return &respConn{conn: conn, r: bufio.NewReader(conn)}
}

// isQuiet reports whether the server has neither closed the connection nor said anything
// that nobody asked for.
func (c *respConn) isQuiet() bool {
	socket, ok := c.conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		quiet = errors.Is(err, unix.EAGAIN)
	})
	return err == nil && quiet
}

type respKind uint8

const (
	respSimple respKind = iota
	respError
	respInteger
	respBulk
	respNull
	respArray
)

// A respReply is one reply.
type respReply struct {
	kind  respKind
	text  string
	array []respReply
}

// unexpected is the error for a reply that is not what it should be.
func (r *respReply) unexpected() error {
	if r.kind == respError {
		return fmt.Errorf("server says: %s", r.text)
	}
	return errors.New("unexpected reply")
}

// do sends commands together and returns the reply to each.
func (c *respConn) do(commands ...[]string) ([]respReply, error) {
	var b []byte
	for _, words := range commands {
		b = appendCommand(b, words)
	}
	if _, err := c.conn.Write(b); err != nil {
		return nil, err
	}
	replies := make([]respReply, len(commands))
	for i := range replies {
		var err error
		if replies[i], err = readReply(c.r, 0); err != nil {
			return nil, err
		}
	}
	if c.r.Buffered() > 0 {
		return nil, errors.New("more replies than commands")
	}
	return replies, nil
}

func appendCommand(b []byte, words []string) []byte {
	b = append(strconv.AppendInt(append(b, '*'), int64(len(words)), 10), "\r\n"...)
	for _, word := range words {
		b = append(strconv.AppendInt(append(b, '$'), int64(len(word)), 10), "\r\n"...)
		b = append(append(b, word...), "\r\n"...)
	}
	return b
}

// Limits of replies.
const (
	maxRESPLine  = 4096
	maxRESPArray = 1 << 16
	maxRESPDepth = 2
)

func readReply(r *bufio.Reader, depth int) (respReply, error) {
	line, err := readRESPLine(r)
	if err != nil {
		return respReply{}, err
	}
	switch rest := line[1:]; line[0] {
	case '+':
		return respReply{kind: respSimple, text: rest}, nil
	case '-':
		return respReply{kind: respError, text: rest}, nil
	case ':':
		if _, err := strconv.ParseInt(rest, 10, 64); err != nil {
			return respReply{}, fmt.Errorf("invalid integer %q in a reply", rest)
		}
		return respReply{kind: respInteger, text: rest}, nil
	case '$':
		return readBulk(r, rest)
	case '*':
		return readArray(r, rest, depth)
	}
	return respReply{}, fmt.Errorf("reply begins with %q", line[0])
}

// readRESPLine returns a line, which is not empty, without its end.
func readRESPLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull), err == nil && len(line) > maxRESPLine:
		return "", errors.New("line of a reply is too long")
	case err != nil:
		return "", noEOF(err)
	case len(line) < 3 || line[len(line)-2] != '\r':
		return "", fmt.Errorf("invalid line %q in a reply", line)
	}
	return string(line[:len(line)-2]), nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func readBulk(r *bufio.Reader, size string) (respReply, error) {
	n, err := strconv.ParseInt(size, 10, 64)
	switch {
	case err != nil || n < -1:
		return respReply{}, fmt.Errorf("invalid length %q in a reply", size)
	case n == -1:
		return respReply{kind: respNull}, nil
	case n > maxValue:
		return respReply{}, fmt.Errorf("value has %d bytes; at most %d are read", n, maxValue)
	}
	// It grows as bytes come, whatever the server has promised.
	text, err := io.ReadAll(io.LimitReader(r, n+2))
	switch {
	case err != nil:
		return respReply{}, err
	case int64(len(text)) < n+2:
		return respReply{}, io.ErrUnexpectedEOF
	case string(text[n:]) != "\r\n":
		return respReply{}, errors.New("value is longer than its length")
	}
	return respReply{kind: respBulk, text: string(text[:n])}, nil
}

func readArray(r *bufio.Reader, size string, depth int) (respReply, error) {
	n, err := strconv.ParseInt(size, 10, 64)
	switch {
	case err != nil || n < -1 || n > maxRESPArray:
		return respReply{}, fmt.Errorf("invalid count %q in a reply", size)
	case depth == maxRESPDepth:
		return respReply{}, errors.New("reply is nested too deep")
	case n == -1:
		return respReply{kind: respNull}, nil
	}
	reply := respReply{kind: respArray}
	for range n {
		element, err := readReply(r, depth+1)
		if err != nil {
			return respReply{}, err
		}
		reply.array = append(reply.array, element)
	}
	return reply, nil
}
