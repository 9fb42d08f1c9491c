// Package dialogue runs protocol dialogues written as text, in tests. The same
// text runs against this server and against the original.
//
// A dialogue is a txtar archive. Its section "dialogue" has one step a line:
//
//	connect [from ADDRESS] [port NAME] [tls]   a new connection
//	C: text            send the line
//	R: "text\r\n"      send exactly this, in Go's quoting
//	S: text            expect this line
//	S~ regexp          expect a line that the expression matches as a whole
//	starttls           do a TLS handshake on the connection
//	eof                expect the end of the connection
//	close              close the connection
//	log regexp         expect a line in the log, after those expected before
//	mail USER BOX UID regexp   expect a message (sdbox, without its metadata)
//
// Lines that begin with # are comments. The section "config" has settings in
// Dovecot's language, added to those that the test's server has.
package dialogue

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// timeout bounds every step.
const timeout = 30 * time.Second

// A Server is what a dialogue runs against.
type Server interface {
	// Addr returns the address of a listener; name is empty for the usual one.
	Addr(name string) string
	// Log returns the lines logged so far.
	Log() []string
	// Mail returns the directory with a directory of mail for each user, or "".
	Mail() string
}

// A Script is a parsed file.
type Script struct {
	Name   string
	Config string
	Only   string // server it is for: "ours" or "original"; empty is both
	steps  []step
}

type step struct {
	line int
	verb string
	arg  string
}

// Load reads a script.
func Load(t *testing.T, file string) *Script {
	t.Helper()
	ar, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &Script{Name: file}
	for _, f := range ar.Files {
		switch f.Name {
		case "config":
			s.Config = string(f.Data)
		case "only":
			s.Only = strings.TrimSpace(string(f.Data))
		case "dialogue":
			s.parse(string(f.Data))
		default:
			t.Fatalf("%s: unknown section %q", file, f.Name)
		}
	}
	return s
}

func (s *Script) parse(text string) {
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		verb, arg, _ := strings.Cut(line, " ")
		s.steps = append(s.steps, step{n, verb, arg})
	}
}

// Run runs the script against a server.
func (s *Script) Run(t *testing.T, srv Server) {
	t.Helper()
	r := &runner{t: t, srv: srv}
	defer r.close()
	for _, st := range s.steps {
		if err := r.do(st); err != nil {
			t.Fatalf("%s: dialogue line %d: %s %s: %v", s.Name, st.line, st.verb, st.arg, err)
		}
	}
}

type runner struct {
	t      *testing.T
	srv    Server
	conn   net.Conn
	in     *bufio.Reader
	logged int // log lines matched so far
}

func (r *runner) close() {
	if r.conn != nil {
		r.conn.Close()
	}
}

func (r *runner) do(st step) error {
	if r.conn != nil {
		r.conn.SetDeadline(time.Now().Add(timeout))
	}
	switch st.verb {
	case "connect":
		return r.connect(strings.Fields(st.arg))
	case "C:":
		_, err := io.WriteString(r.conn, st.arg+"\r\n")
		return err
	case "R:":
		text, err := strconv.Unquote(st.arg)
		if err != nil {
			return err
		}
		_, err = io.WriteString(r.conn, text)
		return err
	case "S:":
		return r.expect(regexp.QuoteMeta(st.arg))
	case "S~":
		return r.expect(st.arg)
	case "starttls":
		return r.startTLS()
	case "eof":
		return r.eof()
	case "close":
		return r.conn.Close()
	case "log":
		return r.log(st.arg)
	case "mail":
		return r.mail(st.arg)
	}
	return errors.New("unknown step")
}

func (r *runner) connect(words []string) error {
	r.close()
	var d net.Dialer
	port, secure := "", false
	for i := 0; i < len(words); i++ {
		switch words[i] {
		case "from":
			i++
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(words[i])}
		case "port":
			i++
			port = words[i]
		case "tls":
			secure = true
		default:
			return fmt.Errorf("unknown word %q", words[i])
		}
	}
	conn, err := d.Dial("tcp", r.srv.Addr(port))
	if err != nil {
		return err
	}
	r.conn, r.in = conn, bufio.NewReader(conn)
	if secure {
		return r.startTLS()
	}
	return nil
}

func (r *runner) startTLS() error {
	c := tls.Client(r.conn, &tls.Config{InsecureSkipVerify: true})
	r.conn.SetDeadline(time.Now().Add(timeout))
	if err := c.Handshake(); err != nil {
		return err
	}
	r.conn, r.in = c, bufio.NewReader(c)
	return nil
}

func (r *runner) expect(pattern string) error {
	r.conn.SetDeadline(time.Now().Add(timeout))
	line, err := r.in.ReadString('\n')
	if err != nil {
		return fmt.Errorf("got %q, %w", line, err)
	}
	line = strings.TrimRight(line, "\r\n")
	line = strings.Replace(line, " IMAP4rev1 IMAP4rev2 ", " IMAP4rev1 ", 1) // Dovecot 2.3 has it not
	ok, err := regexp.MatchString("^(?:"+pattern+")$", line)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("got %q", line)
	}
	return nil
}

// eof accepts a reset, too: what the client sent last may be unread.
func (r *runner) eof() error {
	b, err := r.in.ReadByte()
	if err == nil {
		rest, _ := r.in.Peek(r.in.Buffered())
		return fmt.Errorf("got %q", string(b)+string(rest))
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}

// log waits for a log line that matches, behind the one matched before.
func (r *runner) log(pattern string) error {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	var lines []string
	for end := time.Now().Add(timeout); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		lines = r.srv.Log()
		for i := r.logged; i < len(lines); i++ {
			if re.MatchString(lines[i]) {
				r.logged = i + 1
				return nil
			}
		}
	}
	return fmt.Errorf("not in the log:\n%s", strings.Join(lines[min(r.logged, len(lines)):], "\n"))
}

// mail checks the text of a stored message.
func (r *runner) mail(arg string) error {
	words := strings.SplitN(arg, " ", 4)
	if len(words) != 4 {
		return errors.New("needs user, mailbox, uid and text")
	}
	b, err := os.ReadFile(filepath.Join(r.srv.Mail(), words[0], "mailboxes", words[1], "dbox-Mails", "u."+words[2]))
	if err != nil {
		return err
	}
	// Two header lines of dbox stand before the message, metadata after it.
	text := strings.SplitN(string(b), "\n", 3)
	body, _, ok := strings.Cut(text[len(text)-1], "\n\x01\x03\n")
	if !ok {
		return fmt.Errorf("no metadata in %q", b)
	}
	if ok, err := regexp.MatchString("(?s)^(?:"+words[3]+")$", body); err != nil || !ok {
		return fmt.Errorf("got %q (%v)", body, err)
	}
	return nil
}
