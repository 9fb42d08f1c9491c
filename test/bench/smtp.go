package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// accept measures what a transport takes from clients that disconnect after
// each message. It discards it.
func accept(e *env, p harness.Program) []float64 {
	return e.acceptance(p)
}

// acceptKept measures what it takes from clients that stay.
func acceptKept(e *env, p harness.Program) []float64 {
	return e.acceptance(p, "-d")
}

func (e *env) acceptance(p harness.Program, options ...string) []float64 {
	tr := harness.StartTransport(e, p, harness.TransportOptions{})
	log := openLog(e, tr.Log)
	source := source{addr: tr.SMTP, to: harness.User(0), options: options}
	n := e.messages(e.send(&source, 200))
	log.waitSent(e, 200)
	elapsed := e.send(&source, n)
	log.waitSent(e, 200+n) // none was lost
	return []float64{float64(n) / elapsed.Seconds()}
}

// relay measures the way through a transport into another one.
func relay(e *env, p harness.Program) []float64 {
	sink := startSink(e)
	tr := harness.StartTransport(e, p, harness.TransportOptions{Relay: "smtp:[127.0.0.1]:" + sink.port})
	log := openLog(e, tr.Log)
	source := source{addr: tr.SMTP, to: "someone@relay.test", options: []string{"-d"}}
	begin := time.Now()
	e.send(&source, 200)
	log.waitSent(e, 200)
	n := e.messages(time.Since(begin))
	begin = time.Now()
	e.send(&source, n)
	log.waitSent(e, 200+n)
	elapsed := time.Since(begin)
	if got := sink.messages(e); got != 200+n {
		e.Fatalf("%d messages arrived in the sink, %d were sent", got, 200+n)
	}
	return []float64{float64(n) / elapsed.Seconds()}
}

// messages is how many messages last about as long as a measurement should,
// when 200 take so long.
func (e *env) messages(for200 time.Duration) int {
	n := int(200 * e.duration.Seconds() / for200.Seconds())
	return max(n, 500)
}

// A source is a use of smtp-source.
type source struct {
	addr, to string
	options  []string
}

// send sends messages and returns how long it took.
func (e *env) send(s *source, n int) time.Duration {
	args := append([]string{"-s", strconv.Itoa(connections), "-l", strconv.Itoa(messageSize), "-m", strconv.Itoa(n),
		"-f", "sender@example.org", "-t", s.to}, s.options...)
	begin := time.Now()
	out, err := exec.CommandContext(e.ctx, "smtp-source", append(args, s.addr)...).CombinedOutput()
	elapsed := time.Since(begin)
	if err != nil {
		e.Fatalf("smtp-source: %v\n%s", err, out)
	}
	return elapsed
}

// A sink is a running smtp-sink.
type sink struct {
	*harness.Process
	port string
}

// startSink starts a sink. Run by root it must be told to become somebody else.
func startSink(e *env) *sink {
	port := strconv.Itoa(harness.FreePort(e))
	s := &sink{port: port, Process: harness.Start(e, nil, "smtp-sink", "-c", "-u", "nobody", "127.0.0.1:"+port, "1000")}
	harness.WaitTCP(e, s.Process, net.JoinHostPort("127.0.0.1", port))
	return s
}

// messages is how many messages the sink has counted. It writes its counters
// over the ones before: "sess=1 quit=1 mesg=2\r".
func (s *sink) messages(e *env) int {
	out := strings.TrimSuffix(s.Output(), "\r")
	_, last, _ := strings.Cut(out[strings.LastIndexByte(out, '\r')+1:], "mesg=")
	n, err := strconv.Atoi(last)
	e.check(err)
	return n
}

// A tail counts the deliveries in a growing log of a transport.
type tail struct {
	f    *os.File
	mark string // what is counted
	sent int
	rest []byte // of a line that was not complete
	buf  []byte
}

func openLog(e *env, path string) *tail {
	f, err := os.Open(path)
	e.check(err)
	e.Cleanup(func() { f.Close() })
	return &tail{f: f, mark: "status=sent", buf: make([]byte, 64<<10)}
}

// waitSent waits until n deliveries have been logged.
func (t *tail) waitSent(e *env, n int) {
	mark := []byte(t.mark)
	e.wait(fmt.Sprintf("%d deliveries in %s", n, t.f.Name()), e.duration*4+time.Minute, func() bool {
		for {
			read, err := t.f.Read(t.buf[len(t.rest):])
			if read == 0 || err != nil {
				break
			}
			text := t.buf[:len(t.rest)+read]
			t.sent += bytes.Count(text, mark)
			end := bytes.LastIndexByte(text, '\n') + 1
			t.sent -= bytes.Count(text[end:], mark)
			t.rest = t.buf[:copy(t.buf, text[end:])]
		}
		return t.sent >= n
	})
	if t.sent > n {
		e.Fatalf("%d deliveries in %s, %d were sent", t.sent, t.f.Name(), n)
	}
}
