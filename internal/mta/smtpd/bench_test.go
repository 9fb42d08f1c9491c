package smtpd

import (
	"bufio"
	"bytes"
	"net"
	"strings"
	"sync/atomic"
	"testing"
)

// benchMessage is a message of 10 KB as smtp-source sends it.
var benchMessage = func() []byte {
	var b bytes.Buffer
	b.WriteString("Received: from localhost (localhost [127.0.0.1])\r\n\tby load (smtp-source)\r\n")
	b.WriteString("From: <a@load.example>\r\nTo: <alice@example.com>\r\nDate: Sun, 22 Nov 2026 08:38:15 +0000 (UTC)\r\n")
	b.WriteString("Message-Id: <1.2@load.example>\r\n\r\n")
	line := strings.Repeat("X", 78) + "\r\n"
	for b.Len() < 10<<10 {
		b.WriteString(line)
	}
	b.WriteString(".\r\n")
	return b.Bytes()
}()

type benchClient struct {
	b    *testing.B
	conn net.Conn
	r    *bufio.Reader
}

func (c *benchClient) connect(addr string) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		c.b.Fatal(err)
	}
	c.conn = conn
	if c.r == nil {
		c.r = bufio.NewReader(conn)
	} else {
		c.r.Reset(conn)
	}
	c.reply('2')
	c.command("HELO load.example\r\n", '2')
}

func (c *benchClient) command(text string, want byte) {
	if _, err := c.conn.Write([]byte(text)); err != nil {
		c.b.Fatal(err)
	}
	c.reply(want)
}

func (c *benchClient) reply(want byte) {
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			c.b.Fatal(err)
		}
		if line[0] != want {
			c.b.Fatalf("unexpected reply %q", line)
		}
		if line[3] == ' ' {
			return
		}
	}
}

func (c *benchClient) message() {
	c.command("MAIL FROM:<a@load.example>\r\n", '2')
	c.command("RCPT TO:<alice@example.com>\r\n", '2')
	c.command("DATA\r\n", '3')
	if _, err := c.conn.Write(benchMessage); err != nil {
		c.b.Fatal(err)
	}
	c.reply('2')
}

func (c *benchClient) quit() {
	c.command("QUIT\r\n", '2')
	c.conn.Close()
}

// BenchmarkConnectionEach receives each message of 10 KB on a connection of its
// own, client included.
func BenchmarkConnectionEach(b *testing.B) {
	ts := startServer(b, "", nil)
	ts.queue.discard = true
	b.ReportAllocs()
	b.SetParallelism(10)
	b.RunParallel(func(pb *testing.PB) {
		c := benchClient{b: b}
		for pb.Next() {
			c.connect(ts.addr)
			c.message()
			c.quit()
		}
	})
	perSecond(b)
}

// BenchmarkConnectionKept receives messages of 10 KB on few connections.
func BenchmarkConnectionKept(b *testing.B) {
	ts := startServer(b, "", nil)
	ts.queue.discard = true
	b.ReportAllocs()
	b.SetParallelism(10)
	var n atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		c := benchClient{b: b}
		c.connect(ts.addr)
		for pb.Next() {
			c.message()
			n.Add(1)
		}
		c.quit()
	})
	perSecond(b)
}

func perSecond(b *testing.B) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}
