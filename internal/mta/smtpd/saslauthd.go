package smtpd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// Limits of the protocol of saslauthd. Cyrus' library sends no longer strings than these
// either, and no answer of saslauthd is longer.
const (
	maxSASLAuthdField  = 1024
	maxSASLAuthdAnswer = 1024
	saslAuthdTimeout   = 60 * time.Second
)

// saslAuthd is the client of saslauthd. Each question is a connection: four strings with
// two bytes of length before each (user, password, service, realm), and one such string in
// answer, "OK" or "NO" with anything behind.
type saslAuthd struct{ path string }

// errNotAccepted is saslauthd's NO.
var errNotAccepted = errors.New("saslauthd: not accepted")

// saslAuthdError is why saslauthd could not be asked.
type saslAuthdError struct {
	op  string
	err error
}

func (e *saslAuthdError) Error() string { return e.op + ": " + e.reason() }
func (e *saslAuthdError) Unwrap() error { return e.err }

// reason is what the system says.
func (e *saslAuthdError) reason() string {
	var errno syscall.Errno
	if errors.As(e.err, &errno) {
		text := errno.Error()
		return string(text[0]&^0x20) + text[1:]
	}
	return e.err.Error()
}

// check asks whether the password is right. It returns nil, errNotAccepted, or a
// *saslAuthdError.
func (d saslAuthd) check(ctx context.Context, user, password, service, realm string) error {
	var question []byte
	for _, field := range []string{user, password, service, realm} {
		if len(field) > maxSASLAuthdField {
			return errNotAccepted // nobody has such a name or password there
		}
		question = binary.BigEndian.AppendUint16(question, uint16(len(field)))
		question = append(question, field...)
	}
	defer clear(question)
	dialer := net.Dialer{Timeout: saslAuthdTimeout}
	conn, err := dialer.DialContext(ctx, "unix", d.path)
	if err != nil {
		return &saslAuthdError{"cannot connect to saslauthd server", err}
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(saslAuthdTimeout)) //nolint:errcheck // the write shows it
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(question); err != nil {
		return &saslAuthdError{"write failed", err}
	}
	answer, err := readSASLAuthd(conn)
	switch {
	case err != nil:
		return &saslAuthdError{"read failed", err}
	case len(answer) >= 2 && string(answer[:2]) == "OK":
		return nil
	}
	return errNotAccepted
}

// readSASLAuthd reads an answer.
func readSASLAuthd(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint16(size[:])
	if n > maxSASLAuthdAnswer {
		return nil, fmt.Errorf("answer of %d bytes", n)
	}
	answer := make([]byte, n)
	_, err := io.ReadFull(r, answer)
	return answer, err
}
