package wire

import (
	"bufio"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// handshakeTime bounds how long a client may take until it is authenticated.
const handshakeTime = time.Minute

// A Policy is what a server asks of its clients.
type Policy struct {
	Trusted  bool        // no password is wanted
	Password string      // "" if nobody may authenticate
	TLS      *tls.Config // for STARTTLS; nil without
}

// A Server is the server's side of a connection.
type Server struct {
	conn  net.Conn
	r     *bufio.Reader
	w     *bufio.Writer // of answers
	log   io.Writer     // nil without multiplexing
	input *dotReader    // of the command that runs, if it has asked for it
}

// Accept does the handshake with a client. The error tells the log why that is none
// to serve.
func Accept(conn net.Conn, p Policy) (*Server, error) {
	if err := conn.SetDeadline(time.Now().Add(handshakeTime)); err != nil {
		return nil, err
	}
	s := &Server{conn: conn, r: bufio.NewReader(conn)}
	minor, err := s.hello()
	if err == nil {
		err = s.admit(p)
	}
	if err != nil {
		return nil, err
	}
	out := io.Writer(s.conn)
	if minor > 0 {
		m := &multiplexer{w: s.conn}
		out, s.log = channel{m, answerChannel}, channel{m, logChannel}
	}
	s.w = bufio.NewWriterSize(out, maxPacket)
	return s, s.conn.SetDeadline(time.Time{})
}

// hello exchanges versions.
func (s *Server) hello() (minor uint64, err error) {
	line, err := readLine(s.r)
	if err != nil {
		return 0, fmt.Errorf("doveadm client disconnected before handshake: %w", err)
	}
	if minor, err = parseVersion(line, toServer); err != nil {
		return 0, fmt.Errorf("doveadm client %w", err)
	}
	if minor > 0 {
		_, err = io.WriteString(s.conn, versionLine(toClient))
	}
	return minor, err
}

// admit has the client authenticate, if it must.
func (s *Server) admit(p Policy) error {
	if p.Trusted {
		_, err := io.WriteString(s.conn, "+\n")
		return err
	}
	if _, err := io.WriteString(s.conn, "-\n"); err != nil {
		return err
	}
	line, err := readLine(s.r)
	switch {
	case err != nil:
		return fmt.Errorf("doveadm client disconnected before handshake: %w", err)
	case p.Password == "":
		err = errors.New("doveadm_password not set, remote authentication disabled")
	case line == "STARTTLS":
		if err = s.startTLS(p.TLS); err == nil {
			if line, err = readLine(s.r); err == nil {
				err = checkLogin(line, p.Password)
			}
		}
	default:
		err = checkLogin(line, p.Password)
	}
	if err != nil {
		io.WriteString(s.conn, "-\n") //nolint:errcheck // the first error tells more
		return err
	}
	_, err = io.WriteString(s.conn, "+\n")
	return err
}

func (s *Server) startTLS(config *tls.Config) error {
	if config == nil {
		return errors.New("doveadm client wants STARTTLS, but ssl is not set up")
	}
	// As nothing is answered, the client's first record may have come with the line.
	conn := tls.Server(bufferedConn{s.conn, s.r}, config)
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("SSL handshake failed: %w", err)
	}
	s.conn, s.r = conn, bufio.NewReader(conn)
	return nil
}

// A bufferedConn is a connection of which some was read already.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// checkLogin checks a line that authenticates.
func checkLogin(line, password string) error {
	encoded, ok := strings.CutPrefix(line, "PLAIN\t")
	if !ok {
		return errors.New("doveadm client attempted non-PLAIN authentication")
	}
	plain, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return errors.New("doveadm client sent invalid base64 auth PLAIN data")
	}
	given, ok := strings.CutPrefix(string(plain), "\x00doveadm\x00")
	if !ok {
		return errors.New("doveadm client didn't authenticate as 'doveadm'")
	}
	if subtle.ConstantTimeCompare([]byte(given), []byte(password)) != 1 {
		return errors.New("doveadm client authenticated with wrong password")
	}
	return nil
}

// Next reads the next command; io.EOF after the last.
func (s *Server) Next() (Command, error) {
	line, err := readLine(s.r)
	if err != nil {
		return Command{}, err
	}
	return parseCommand(line)
}

// Input returns the text that follows the command.
func (s *Server) Input() io.Reader {
	if s.input == nil {
		s.input = newDotReader(s.r)
	}
	return s.input
}

// Raw returns the client's side of the connection as it is: for a command that
// answers with a stream of its own, until the connection ends.
func (s *Server) Raw() io.Reader { return s.r }

// Write adds to the answer, in the form of the protocol.
func (s *Server) Write(p []byte) (int, error) { return s.w.Write(p) }

// Flush sends what there is of the answer.
func (s *Server) Flush() error { return s.w.Flush() }

// Finish ends the answer to a command that ended with an exit status.
func (s *Server) Finish(status int) error {
	if status == 0 {
		return s.end("+")
	}
	return s.end("-" + Code(status))
}

// Unknown ends the answer to a command that there is not.
func (s *Server) Unknown() error { return s.end("-") }

func (s *Server) end(line string) error {
	if s.input != nil {
		if _, err := io.Copy(io.Discard, s.input); err != nil { // a command may follow
			return err
		}
		s.input = nil
	}
	s.w.WriteString("\n" + line + "\n") //nolint:errcheck // sticky
	return s.w.Flush()
}

// Log sends a line of the log to the client.
func (s *Server) Log(level maillog.Level, text string) {
	if s.log != nil {
		s.log.Write(appendLog(nil, level, text)) //nolint:errcheck // it is in this host's log
	}
}

var errLong = errors.New("line is too long")

// readLine reads a line without its LF.
func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			return "", errLong
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return string(line[:len(line)-1]), nil
		case err == io.EOF && len(line) > 0:
			return "", io.ErrUnexpectedEOF
		case err != bufio.ErrBufferFull:
			return "", err
		}
	}
}
