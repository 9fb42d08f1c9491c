// Package miltertest is a milter that does what a test says, and notes what it hears.
package miltertest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// A Packet is what a milter sends: a letter and data.
type Packet string

// What a milter may do in place of an answer.
const (
	Hang    Packet = "\x00hang"    // nothing, until the connection is closed
	Hangup  Packet = "\x00hangup"  // close the connection
	Garbage Packet = "\x00garbage" // send what is no packet
	Cut     Packet = "\x00cut"     // send half a packet and close the connection
)

// Number is four bytes of a packet.
func Number(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }

// A Script is what a milter does. It answers with c where the script has nothing.
type Script struct {
	Version        uint32 // 6 where it is 0
	Actions, Steps uint32
	Macros         string // behind the negotiation
	Forgets        bool   // what it hears: it is to be fast
	// Answers are by command: 'O', 'C', 'H', 'M', 'R', 'T', 'U', 'L', 'N', 'B', 'E'.
	Answers map[byte][]Packet
}

// noReply are the steps by which a milter says that it does not answer.
var noReply = map[byte]uint32{
	'C': 1 << 12, 'H': 1 << 13, 'M': 1 << 14, 'R': 1 << 15, 'T': 1 << 16, 'U': 1 << 17, 'N': 1 << 18, 'B': 1 << 19, 'L': 1 << 7,
}

// A Server is a milter that listens.
type Server struct {
	Script
	Addr string // host:port, or the name of a socket
	l    net.Listener
	mu   sync.Mutex
	gone sync.Cond // a connection is
	open int       // connections
	seen []string
}

// Start starts a milter on a port. Close it.
func Start(s Script) (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return Serve(l, s), nil
}

// Serve starts a milter that listens. Close it.
func Serve(l net.Listener, s Script) *Server {
	srv := &Server{Script: s, Addr: l.Addr().String(), l: l}
	srv.gone.L = &srv.mu
	go srv.accept()
	return srv
}

// Close ends the milter.
func (s *Server) Close() { s.l.Close() }

// Seen is what the milter has heard, a packet to a line, when all that were connected are gone.
func (s *Server) Seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.open > 0 {
		s.gone.Wait()
	}
	return append([]string(nil), s.seen...)
}

func (s *Server) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open += n
	s.gone.Broadcast()
}

func (s *Server) accept() {
	for {
		conn, err := s.l.Accept()
		if err != nil {
			return
		}
		s.count(1)
		go func() {
			defer s.count(-1)
			s.serve(conn)
		}()
	}
}

func (s *Server) serve(conn net.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	in := bufio.NewReader(conn)
	for {
		var head [4]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return
		}
		n := binary.BigEndian.Uint32(head[:])
		if n == 0 || n > 1<<20 {
			s.note("bad length %d", n)
			return
		}
		p := make([]byte, n)
		if _, err := io.ReadFull(in, p); err != nil {
			return
		}
		if !s.Forgets {
			s.note("%c %s", p[0], strings.ReplaceAll(strings.TrimSuffix(string(p[1:]), "\x00"), "\x00", "|"))
		}
		if !s.answer(conn, p[0]) {
			return
		}
	}
}

func (s *Server) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, fmt.Sprintf(format, args...))
}

// answer answers a command. It is false where the connection ends.
func (s *Server) answer(conn net.Conn, code byte) bool {
	answers := s.Answers[code]
	switch {
	case code == 'Q':
		return false
	case code == 'D' || code == 'A' || s.Steps&noReply[code] != 0:
		return true
	case code == 'O' && answers == nil:
		version := s.Version
		if version == 0 {
			version = 6
		}
		answers = []Packet{Packet("O" + Number(version) + Number(s.Actions) + Number(s.Steps) + s.Macros)}
	case answers == nil:
		answers = []Packet{"c"}
	}
	var out bytes.Buffer
	for _, a := range answers {
		switch a {
		case Hang:
			if _, err := conn.Write(out.Bytes()); err == nil {
				io.Copy(io.Discard, conn) //nolint:errcheck // until it is closed
			}
			return false
		case Hangup:
			conn.Write(out.Bytes()) //nolint:errcheck // nobody waits for it
			return false
		case Garbage:
			out.WriteString("\xff\xff\xff\xffgarbage")
			continue
		case Cut:
			conn.Write(append(out.Bytes(), "\x00\x00\x00\x10hX-Cut"...)) //nolint:errcheck // nobody waits for it
			return false
		}
		out.WriteString(Number(uint32(len(a))))
		out.WriteString(string(a))
	}
	_, err := conn.Write(out.Bytes())
	return err == nil
}
