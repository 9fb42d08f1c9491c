package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// deferred is how many messages wait in the queue.
const deferred = 100_000

// fullStart measures how long a transport with a full queue takes to greet its
// first client, its memory then, and how long the queue takes to be listed.
func fullStart(e *env, p harness.Program) []float64 {
	tr := e.fullQueue(p)
	begin := time.Now()
	tr.Start(e)
	e.greeting(tr.SMTP)
	elapsed := time.Since(begin)
	memory := float64(e.settled(tr.Process)) / (1 << 20)
	begin = time.Now()
	listing := tr.Postqueue(e, "-p")
	listed := time.Since(begin)
	if want := fmt.Sprintf(" in %d Requests.\n", deferred); !strings.HasSuffix(listing, want) {
		e.Fatalf("postqueue -p ends with %q", listing[max(0, len(listing)-80):])
	}
	return []float64{elapsed.Seconds(), memory, listed.Seconds()}
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
