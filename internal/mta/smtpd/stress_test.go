package smtpd

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// TestStress fills a service: from then on clients are served with stress = yes.
func TestStress(t *testing.T) {
	ts := &testServer{queue: new(memoryQueue), log: newLog(t)}
	c := testConfig(t, "smtpd_client_restrictions = ${stress?reject}\n", ts)
	var err error
	if ts.Server, err = New(c); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ts.Serve(ctx, l, &postfix.ServiceEntry{MaxProc: 3}) }()
	var clients []net.Conn
	defer func() {
		cancel()
		for _, conn := range clients {
			conn.Close()
		}
		<-done
	}()
	const hello = "HELO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<alice>\r\n"
	for n, want := range []string{"250 2.1.5 Ok", "250 2.1.5 Ok", "554 5.7.1 <unknown[127.0.0.1]>: Client host rejected: Access denied"} {
		conn := dial(t, l.Addr().String())
		clients = append(clients, conn)
		r := bufio.NewReader(conn)
		io.WriteString(conn, hello)
		line := ""
		for range 4 {
			line, _ = r.ReadString('\n')
		}
		if strings.TrimSpace(line) != want {
			t.Errorf("client %d: %q, want %q", n, line, want)
		}
	}
	if log := ts.log.lines(t); !strings.Contains(log, `warning: service "smtp" has reached its process limit "3": new clients may experience noticeable delays`) {
		t.Errorf("log:\n%s", log)
	}
}

// TestRequestDeadline has a client send a command byte by byte, each of them soon enough.
func TestRequestDeadline(t *testing.T) {
	ts := startServer(t, "smtpd_timeout = 2s\nsmtpd_per_request_deadline = yes\nsmtpd_min_data_rate = 1000\n", nil)
	slow := dial(t, ts.addr)
	go func() {
		for {
			if _, err := io.WriteString(slow, "x"); err != nil {
				return
			}
			time.Sleep(200 * time.Millisecond)
		}
	}()
	if replies := readAll(t, slow); !strings.HasSuffix(replies, "421 4.4.2 mail.example.com Error: timeout exceeded\r\n") {
		t.Errorf("slow client: %q", replies)
	}
}

// TestClientPrefix counts a network as one client.
func TestClientPrefix(t *testing.T) {
	ts := startServer(t, "smtpd_client_connection_count_limit = 1\nsmtpd_client_event_limit_exceptions =\nsmtpd_client_ipv4_prefix_length = 8\n", func(c *Config) {
		c.Anvil = NewAnvil(time.Minute, c.Log)
	})
	first := dial(t, ts.addr)
	bufio.NewReader(first).ReadString('\n')
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 9, 9, 9)}}
	conn, err := d.Dial("tcp", ts.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	if replies := readAll(t, conn); !strings.HasPrefix(replies, "421 4.7.0 mail.example.com Error: too many connections from 127.9.9.9\r\n") {
		t.Errorf("replies: %q", replies)
	}
	ts.anvil.Report()
	if log := ts.log.lines(t); !strings.Contains(log, "statistics: max connection count 2 for (smtp:127.0.0.0/8) at ") {
		t.Errorf("log:\n%s", log)
	}
}
