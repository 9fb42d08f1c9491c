package switching

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A sink is a server that all mail goes to. Until it is opened it takes "done"
// recipients only, refuses "hard" ones for good and all others for now.
type sink struct {
	addr string

	mu   sync.Mutex
	open bool
	got  []delivered
}

// A delivered message is what came for one recipient.
type delivered struct {
	mail, rcpt string // arguments of the commands
	to         string // address
	data       string
}

func newSink(t *testing.T) *sink {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{addr: l.Addr().String()}
	var sessions sync.WaitGroup
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			sessions.Go(func() {
				defer conn.Close()
				s.serve(conn)
			})
		}
	}()
	return s
}

// openUp makes the sink take everything.
func (s *sink) openUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = true
}

// all is what came so far.
func (s *sink) all() []delivered {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

func (s *sink) serve(conn net.Conn) {
	in := bufio.NewReaderSize(conn, 1<<20)
	say := func(format string, args ...any) { fmt.Fprintf(conn, format+"\r\n", args...) }
	say("220 sink.test ESMTP")
	mail := ""
	var rcpts []string
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		switch verb := strings.ToUpper(line[:min(4, len(line))]); verb {
		case "EHLO":
			say("250-sink.test\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN")
		case "MAIL":
			mail, rcpts = line[len("MAIL FROM:"):], nil
			say("250 2.1.0 Ok")
		case "RCPT":
			rcpt := line[len("RCPT TO:"):]
			reply := s.verdict(rcpt)
			if reply[0] == '2' {
				rcpts = append(rcpts, rcpt)
			}
			say("%s", reply)
		case "DATA":
			if len(rcpts) == 0 {
				say("554 5.5.1 Error: no valid recipients")
				continue
			}
			say("354 go")
			data, err := readData(in)
			if err != nil {
				return
			}
			s.keep(mail, rcpts, data)
			say("250 2.0.0 Ok: taken")
		case "RSET", "NOOP":
			say("250 2.0.0 Ok")
		case "QUIT":
			say("221 2.0.0 Bye")
			return
		default:
			say("502 5.5.2 Error: command not recognized")
		}
	}
}

func (s *sink) verdict(rcpt string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case strings.HasPrefix(rcpt, "<hard"):
		return "550 5.1.1 no such user"
	case s.open || strings.HasPrefix(rcpt, "<done"):
		return "250 2.1.5 Ok"
	}
	return "450 4.2.0 not now"
}

func (s *sink) keep(mail string, rcpts []string, data string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rcpts {
		addr, _, _ := strings.Cut(r, ">")
		s.got = append(s.got, delivered{mail, r, addr[1:], data})
	}
}

func readData(in *bufio.Reader) (string, error) {
	var b bytes.Buffer
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return "", err
		}
		if string(line) == ".\r\n" {
			return b.String(), nil
		}
		if line[0] == '.' {
			line = line[1:]
		}
		b.Write(line)
	}
}

// size is the only parameter in which the two servers differ: Postfix counts the
// heads of records in its file.
var size = regexp.MustCompile(` SIZE=\d+`)

// normal is what must be the same for both servers.
func (d *delivered) normal() string {
	return size.ReplaceAllString(d.mail, "") + " " + d.rcpt
}
