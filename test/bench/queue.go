package main

import (
	"bufio"
	"net"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// deferred is how many messages wait in the queue.
const deferred = 100_000

// fullStart measures how long a transport with a full queue takes to greet its
// first client, and its memory then.
func fullStart(e *env, p harness.Program) []float64 {
	tr := e.fullQueue(p)
	begin := time.Now()
	tr.Start(e)
	e.greeting(tr.SMTP)
	elapsed := time.Since(begin)
	return []float64{elapsed.Seconds(), float64(e.settled(tr.Process)) / (1 << 20)}
}

// fullQueue leaves a transport that is not running with its queue full.
func (e *env) fullQueue(p harness.Program) *harness.Transport {
	tr := harness.StartTransport(e, p, harness.TransportOptions{
		Relay: "smtp:[127.0.0.1]:1", Main: "defer_transports = smtp",
	})
	e.send(&source{addr: tr.SMTP, to: "someone@relay.test", clients: connections, options: []string{"-d"}}, deferred)
	log := openLog(e, tr.Log)
	log.mark = "status=deferred"
	log.waitSent(e, deferred)
	tr.Stop()
	return tr
}

// greeting waits for the greeting of an SMTP server.
func (e *env) greeting(addr string) {
	conn, err := net.Dial("tcp", addr)
	e.check(err)
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	e.check(err)
	if !strings.HasPrefix(line, "220 ") {
		e.Fatalf("the server greets with %q", line)
	}
}
