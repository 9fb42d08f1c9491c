package attack

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// dial connects as one of 16,000 clients, whose addresses are outside of 127.0.0.0/24.
func dial(addr string, client int) (net.Conn, error) {
	from := &net.TCPAddr{IP: net.IPv4(127, 1, byte(client/250%64), byte(1+client%250))}
	d := net.Dialer{LocalAddr: from, Timeout: patience}
	conn, err := d.Dial("tcp", addr)
	if err == nil {
		err = conn.SetDeadline(time.Now().Add(patience))
	}
	return conn, err
}

// converse says something, awaiting a line that begins with the reply each time.
func converse(conn net.Conn, steps ...string) error {
	one := make([]byte, 1)
	for i := 0; i < len(steps); i += 2 {
		if _, err := io.WriteString(conn, steps[i]); err != nil {
			return err
		}
		for line := ""; ; line = "" {
			for !strings.HasSuffix(line, "\n") {
				if _, err := io.ReadFull(conn, one); err != nil {
					return fmt.Errorf("after %.40q: %w", steps[i], err)
				}
				line += string(one)
			}
			if !strings.HasPrefix(line, steps[i+1]) {
				return fmt.Errorf("%.40q gets %q", steps[i], line)
			}
			if line[3] != '-' {
				break
			}
		}
	}
	return nil
}

// toContent leads up to the content of a message.
var toContent = []string{"", "220", "EHLO a.example\r\n", "250", "MAIL FROM:<a@a.example>\r\n", "250", "RCPT TO:<user0@example.test>\r\n", "250", "DATA\r\n", "354"}

// TestSlow has clients that say nothing, or a byte now and then of a command or of content, until the good client
// has had its time. Each costs the server at most 96 KB.
func TestSlow(t *testing.T) {
	s := start(t, "")
	n := size(600, 5000)
	s.under(t, n, 96, 32, func(t *testing.T) {
		conns := make([]net.Conn, n)
		crowd(n, few, func(i int) {
			conn, err := dial(s.addr, i)
			if err == nil {
				conns[i] = conn
				switch i % 3 {
				case 0:
					err = converse(conn, toContent[:2]...)
				case 1:
					err = converse(conn, toContent[:4]...)
				case 2:
					err = converse(conn, toContent...)
				}
			}
			if err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
		defer func() {
			for _, conn := range conns {
				if conn != nil {
					conn.Close()
				}
			}
		}()
		rounds, pause := 10, 100*time.Millisecond
		if *full {
			rounds, pause = 3, time.Minute
		}
		for round := range rounds {
			for i, conn := range conns {
				if _, err := io.WriteString(conn, "EHLO slow.example"[round:round+1]); err != nil && !t.Failed() {
					t.Errorf("client %d is gone in round %d: %v", i, round, err)
				}
			}
			time.Sleep(pause)
		}
	})
}

// TestManyOfOneClient has one address open connection after connection: as many as
// smtpd_client_connection_count_limit says are served, the others told so.
func TestManyOfOneClient(t *testing.T) {
	s := start(t, "")
	n := size(300, 5000)
	s.under(t, 50, 96, 32, func(t *testing.T) {
		served, refused := 0, 0
		for i := range n {
			conn, err := dial(s.addr, 7)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			switch err := converse(conn, "", "421 4.7.0 mail.example.test Error: too many connections from 127.1.0.8"); {
			case err == nil:
				refused++
			case strings.Contains(err.Error(), "220"):
				served++
			default:
				t.Fatalf("connection %d: %v", i, err)
			}
		}
		if served != 50 || refused != n-50 {
			t.Errorf("%d connections are served and %d refused, want 50 and %d", served, refused, n-50)
		}
	})
}

// TestFlood has clients that connect and go: at once, with a reset, after the greeting, or after a command. They cost
// nothing that lasts but their entries in the rates of clients.
func TestFlood(t *testing.T) {
	s := start(t, "")
	n := size(3000, 50000)
	began := time.Now()
	s.under(t, n, 2, 32, func(t *testing.T) {
		crowd(n, few, func(i int) {
			if *full { // 50,000 a minute
				time.Sleep(time.Until(began.Add(time.Duration(i) * time.Minute / 50000)))
			}
			conn, err := dial(s.addr, i)
			if err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			defer conn.Close()
			switch i % 4 {
			case 0: // a FIN
			case 1:
				err = conn.(*net.TCPConn).SetLinger(0) // a RST
			case 2:
				err = converse(conn, toContent[:2]...)
			case 3:
				err = converse(conn, toContent[:6]...)
			}
			if err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	})
}

// TestHalfOpenHandshakes has clients that ask for TLS and say nothing more, or half of their first message, or all but their last.
func TestHalfOpenHandshakes(t *testing.T) {
	s := start(t, "smtpd_starttls_timeout = 3600s\n")
	n := size(300, 5000)
	s.under(t, n, 160, 32, func(t *testing.T) {
		crowd(n, few, func(i int) {
			conn, err := dial(s.addr, i)
			if err == nil {
				t.Cleanup(func() { conn.Close() })
				err = converse(conn, "", "220", "EHLO a.example\r\n", "250", "STARTTLS\r\n", "220")
			}
			if err == nil {
				err = halfHello(conn, i)
			}
			if err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	})
}

// errHalf ends a handshake.
var errHalf = errors.New("half is enough")

// halfHello begins a handshake.
func halfHello(conn net.Conn, i int) error {
	hello := &stingy{Conn: conn, writes: 1, most: 16 << 10} // case 3: all of it, and nothing after the server's answer
	switch i % 4 {
	case 0:
		return nil
	case 1: // a record that says it has 16 KB, of which 5 bytes come
		_, err := conn.Write([]byte{22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3})
		return err
	case 2:
		hello.most = 100
	}
	err := tls.Client(hello, &tls.Config{InsecureSkipVerify: true}).Handshake() // the test's own server
	if errors.Is(err, errHalf) {
		return nil
	}
	return fmt.Errorf("the handshake ends with %v", err)
}

// stingy is a connection that lets only so many writes through, and as much of each.
type stingy struct {
	net.Conn
	writes, most int
}

func (s *stingy) Write(p []byte) (int, error) {
	if s.writes--; s.writes < 0 {
		return 0, errHalf
	}
	if n, err := s.Conn.Write(p[:min(len(p), s.most)]); err != nil || n < len(p) {
		return n, errors.Join(errHalf, err)
	}
	return len(p), nil
}
