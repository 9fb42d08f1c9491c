package wire

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"

	auth "github.com/dovetail-mail/dovetail/internal/auth/wire"
	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// Credentials are what a client needs.
type Credentials struct {
	Username, Password string
	StartTLS           *tls.Config // nil for not
}

// A Client is the client's side of a connection.
type Client struct {
	conn net.Conn
	r    *bufio.Reader // of answers
	w    *bufio.Writer
}

// Connect does the handshake on a new connection. What the server logs goes to log.
func Connect(conn net.Conn, cred Credentials, log func(level maillog.Level, text string)) (*Client, error) {
	c := &Client{conn: conn, r: bufio.NewReader(conn)}
	if _, err := io.WriteString(conn, versionLine(toServer)); err != nil {
		return nil, err
	}
	minor, err := c.login(cred)
	if err != nil {
		return nil, err
	}
	if minor > 0 {
		c.r = bufio.NewReaderSize(&demultiplexer{r: c.r, log: log}, 2*valueSize)
	} else {
		c.r = bufio.NewReaderSize(c.r, 2*valueSize)
	}
	c.w = bufio.NewWriter(c.conn)
	return c, nil
}

// login answers the server until it is content.
func (c *Client) login(cred Credentials) (minor uint64, err error) {
	greeted, sent := false, false
	for {
		line, err := readLine(c.r)
		if err != nil {
			return 0, fmt.Errorf("doveadm server disconnected before handshake: %w", err)
		}
		switch {
		case line == "+":
			return minor, nil
		case line == "-" && sent:
			return 0, errors.New("doveadm authentication failed")
		case line == "-":
			if err := c.authenticate(cred, minor); err != nil {
				return 0, err
			}
			sent = true
		case greeted:
			return 0, fmt.Errorf("doveadm server sent invalid handshake: %.100q", line)
		default: // Dovecot 2.2.33 sends it after the other line
			if minor, err = parseVersion(line, toClient); err != nil {
				return 0, fmt.Errorf("doveadm server %w", err)
			}
			greeted = true
		}
	}
}

func (c *Client) authenticate(cred Credentials, minor uint64) error {
	if cred.StartTLS != nil {
		if minor < 2 {
			return errors.New("doveadm STARTTLS failed: Server does not support it")
		}
		if err := c.startTLS(cred.StartTLS); err != nil {
			return fmt.Errorf("doveadm STARTTLS failed: %w", err)
		}
	}
	if cred.Password == "" {
		return errors.New("doveadm_password not set, can't authenticate to remote server")
	}
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + cred.Username + "\x00" + cred.Password))
	_, err := io.WriteString(c.conn, "PLAIN\t"+plain+"\n")
	return err
}

func (c *Client) startTLS(config *tls.Config) error {
	if _, err := io.WriteString(c.conn, "STARTTLS\n"); err != nil {
		return err
	}
	conn := tls.Client(c.conn, config)
	if err := conn.Handshake(); err != nil {
		return err
	}
	c.conn = conn
	c.r.Reset(conn)
	return nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// A Printer takes values as they come. Long ones come as a stream, which is to be read to its
// end.
type Printer interface {
	Value(v string)
	Stream(r io.Reader) error
}

// Do has a command run, with a text if input is not nil, and returns its exit status. An
// error is one of the connection.
func (c *Client) Do(cmd *Command, input io.Reader, p Printer) (status int, err error) {
	c.w.Write(cmd.append(nil)) //nolint:errcheck // sticky
	if err := c.w.Flush(); err != nil {
		return 0, err
	}
	sent := make(chan error, 1)
	go func() { // the server may have something to say before it has read everything
		var err error
		if input != nil {
			err = sendDotted(c.w, input)
		}
		sent <- err
	}()
	if status, err = c.answer(p); err != nil {
		return 0, err
	}
	return status, <-sent
}

// answer reads the answer to a command.
func (c *Client) answer(p Printer) (status int, err error) {
	for {
		more, err := c.value(p)
		if err != nil {
			return 0, err
		}
		if !more {
			break
		}
	}
	line, err := readLine(c.r)
	switch {
	case err != nil:
		return 0, err
	case line == "+":
		return 0, nil
	case line != "" && line[0] == '-':
		return statusOf(line[1:]), nil
	}
	return 0, fmt.Errorf("doveadm server sent broken input (expected cmd reply): %.100q", line)
}

// valueSize is up to which size values come as such.
const valueSize = 8 << 10

// value prints the next value, if the values have not ended.
func (c *Client) value(p Printer) (more bool, err error) {
	first, err := c.r.Peek(1)
	if err != nil {
		return false, noEOF(err)
	}
	if first[0] == '\n' {
		_, err := c.r.Discard(1)
		return false, err
	}
	v := &value{r: c.r}
	buf := make([]byte, valueSize)
	n, err := io.ReadFull(v, buf)
	switch {
	case err == io.EOF || err == io.ErrUnexpectedEOF && v.ended:
		p.Value(string(buf[:n]))
		return true, nil
	case err != nil:
		return false, err
	}
	v.begin = buf
	return true, p.Stream(v)
}

// A value reads one, without what escapes.
type value struct {
	r     *bufio.Reader
	begin []byte // what was read already
	code  bool   // the next byte tells what was escaped
	ended bool
}

func (v *value) Read(p []byte) (n int, err error) {
	if len(v.begin) > 0 {
		n = copy(p, v.begin)
		v.begin = v.begin[n:]
		return n, nil
	}
	for n < len(p) && !v.ended {
		if n > 0 && v.r.Buffered() == 0 {
			return n, nil
		}
		b, err := v.r.ReadByte()
		if err != nil {
			return n, noEOF(err)
		}
		switch {
		case v.code:
			v.code = false
			n += copy(p[n:], auth.Unescape(string([]byte{1, b})))
		case b == 1:
			v.code = true
		case b == '\t':
			v.ended = true
		case b == '\n':
			return n, errors.New("doveadm server sent broken print input")
		default:
			p[n] = b
			n++
		}
	}
	if n == 0 && v.ended {
		return 0, io.EOF
	}
	return n, nil
}

// noEOF is err, where the end of the connection is one.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
