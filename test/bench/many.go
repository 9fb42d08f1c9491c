package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

const (
	destinations    = 50_000
	perMessage      = 1000 // recipients, no two for the same destination
	stuckMessages   = 200  // for the destination that hangs
	aliasRecipients = 100_000
	// patience is how long mail for many destinations is waited for. Postfix may not be through then.
	patience = 90 * time.Second
)

// manyDestinations measures how fast mail for many destinations is delivered while one of them takes
// connections and never says a word.
func manyDestinations(e *env, p harness.Program) []float64 {
	port := harness.FreePort(e)
	e.anySink(port)
	stuck := e.silence()
	routes := filepath.Join(harness.Dir(e), "routes")
	e.writeLines(routes, destinations+1, func(n int) string {
		if n == destinations {
			return fmt.Sprintf("stuck.test smtp:[127.0.0.1]:%d", stuck)
		}
		return fmt.Sprintf("d%d.test smtp:[127.1.%d.%d]:%d", n, n/250, n%250+1, port)
	})
	harness.Run(e, "", "postmap", "hash:"+routes)
	tr := harness.StartTransport(e, p, harness.TransportOptions{
		Main: "transport_maps = hash:" + routes + "\nsmtpd_recipient_limit = 1000\nin_flow_delay = 0\n",
	})
	log := openLog(e, tr.Log)
	log.mark = "status=sent (250"
	e.submit(tr.SMTP, stuckMessages, func(int) []string { return []string{"someone@stuck.test"} })
	begin := time.Now()
	e.submit(tr.SMTP, destinations/perMessage, func(n int) []string {
		rcpts := make([]string, perMessage)
		for i := range rcpts {
			rcpts[i] = fmt.Sprintf("someone@d%d.test", n*perMessage+i)
		}
		// One in the middle of each is for the destination that hangs.
		rcpts[perMessage/2] = "someone@stuck.test"
		return rcpts
	})
	const all = destinations - destinations/perMessage
	for log.count() < all && time.Since(begin) < patience {
		time.Sleep(20 * time.Millisecond)
	}
	if log.sent > all {
		e.Fatalf("%d deliveries, %d were sent", log.sent, all)
	}
	return []float64{float64(log.sent) / time.Since(begin).Seconds()}
}

// largeAlias measures how fast one message to an alias reaches its many members, who are elsewhere.
func largeAlias(e *env, p harness.Program) []float64 {
	dir := harness.Dir(e)
	e.writeLines(filepath.Join(dir, "members"), aliasRecipients, func(n int) string { return fmt.Sprintf("member%d@relay.test", n) })
	harness.Write(e, filepath.Join(dir, "aliases"), "all: :include:"+dir+"/members\n")
	harness.Run(e, "", "postalias", "hash:"+dir+"/aliases")
	port := harness.FreePort(e)
	e.anySink(port)
	tr := harness.StartTransport(e, p, harness.TransportOptions{
		Relay: fmt.Sprintf("smtp:[127.0.0.1]:%d", port),
		Main:  "mydestination = local.test\nlocal_recipient_maps =\nalias_maps = hash:" + dir + "/aliases\n",
	})
	log := openLog(e, tr.Log)
	log.mark = "status=sent (250"
	begin := time.Now()
	e.submit(tr.SMTP, 1, func(int) []string { return []string{"all@local.test"} })
	log.waitFor(e, aliasRecipients, 10*time.Minute)
	return []float64{aliasRecipients / time.Since(begin).Seconds()}
}

// submit sends n messages to the recipients that rcpts names, over one connection.
func (e *env) submit(addr string, n int, rcpts func(n int) []string) {
	c, err := dial(e.ctx, addr)
	e.check(err)
	defer c.Close()
	e.check(c.expect("220"))
	c.out = append(c.out[:0], "EHLO client.example.test\r\n"...)
	e.check(c.exchange("250"))
	content := message(0)
	for i := range n {
		to := rcpts(i)
		c.out = append(c.out[:0], "MAIL FROM:<sender@example.org>\r\n"...)
		want := []string{"250"}
		for _, r := range to {
			c.out = fmt.Appendf(c.out, "RCPT TO:<%s>\r\n", r)
			want = append(want, "250")
		}
		c.out = append(c.out, "DATA\r\n"...)
		e.check(c.exchange(append(want, "354")...))
		c.out = append(c.out[:0], content...)
		e.check(c.exchange("250"))
	}
}

// anySink starts a server that takes mail for every address of the loopback
// interface, and no other, and forgets it.
func (e *env) anySink(port int) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if ctl := c.Control(func(fd uintptr) { err = syscall.BindToDevice(int(fd), "lo") }); ctl != nil {
			return ctl
		}
		return err
	}}
	l, err := lc.Listen(context.Background(), "tcp4", fmt.Sprintf(":%d", port))
	e.check(err)
	e.Cleanup(func() { l.Close() })
	go accept(l, swallow)
}

// silence starts a server that never says anything and returns its port.
func (e *env) silence() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	e.check(err)
	e.Cleanup(func() { l.Close() })
	go accept(l, func(conn net.Conn) { io.Copy(io.Discard, conn) }) //nolint:errcheck // until the client gives up
	return l.Addr().(*net.TCPAddr).Port
}

func accept(l net.Listener, serve func(net.Conn)) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			serve(conn)
		}()
	}
}

// swallow is one session of a server that takes all mail. Replies to commands sent together
// go out together.
func swallow(conn net.Conn) {
	in, out := bufio.NewReader(conn), bufio.NewWriter(conn)
	reply := func(text string) bool {
		out.WriteString(text) //nolint:errcheck // Flush tells
		return in.Buffered() > 0 || out.Flush() == nil
	}
	for ok := reply("220 sink ESMTP\r\n"); ok; {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		switch verb := strings.ToUpper(string(line[:min(4, len(line))])); verb {
		case "EHLO":
			ok = reply("250-sink\r\n250 PIPELINING\r\n")
		case "DATA":
			ok = reply("354 go on\r\n") && out.Flush() == nil && skipContent(in) && reply("250 taken\r\n")
		case "QUIT":
			reply("221 bye\r\n")
			return
		default:
			ok = reply("250 ok\r\n")
		}
	}
}

// skipContent reads up to the line with a dot.
func skipContent(in *bufio.Reader) bool {
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return false
		}
		if bytes.Equal(line, []byte(".\r\n")) {
			return true
		}
	}
}
