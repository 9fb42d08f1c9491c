package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// acceptance measures what a transport takes from a number of clients at once,
// which disconnect after each message unless an option says otherwise. It
// discards the mail.
func acceptance(clients int, options ...string) func(*env, harness.Program) []float64 {
	return func(e *env, p harness.Program) []float64 { return e.acceptance(p, clients, options) }
}

func (e *env) acceptance(p harness.Program, clients int, options []string) []float64 {
	return e.acceptanceOf(harness.StartTransport(e, p, harness.TransportOptions{}), clients, options)
}

// acceptanceOf is the same for a transport that runs.
func (e *env) acceptanceOf(tr *harness.Transport, clients int, options []string) []float64 {
	log := openLog(e, tr.Log)
	source := source{addr: tr.SMTP, to: harness.User(0), clients: clients, options: options}
	total := 0
	rate := e.rate(func(n int) time.Duration {
		elapsed := e.send(&source, n)
		total += n
		log.waitSent(e, total) // none was lost
		return elapsed
	})
	return []float64{rate}
}

// relay returns a benchmark of the way through a transport into another one, with the main.cf that
// config returns besides the usual.
func relay(config func(e *env, nexthop string) string) func(*env, harness.Program) []float64 {
	return func(e *env, p harness.Program) []float64 {
		sink := startSink(e)
		nexthop := "smtp:[127.0.0.1]:" + sink.port
		opt := harness.TransportOptions{Relay: nexthop}
		if config != nil {
			opt.Main = config(e, nexthop)
		}
		tr := harness.StartTransport(e, p, opt)
		log := openLog(e, tr.Log)
		source := source{addr: tr.SMTP, to: "someone@relay.test", clients: connections, options: []string{"-d"}}
		total := 0
		rate := e.rate(func(n int) time.Duration {
			begin := time.Now()
			e.send(&source, n)
			total += n
			log.waitSent(e, total)
			return time.Since(begin)
		})
		if got := sink.messages(e); got != total {
			e.Fatalf("%d messages arrived in the sink, %d were sent", got, total)
		}
		return []float64{rate}
	}
}

// tableSize is how many entries each table of routing has.
const tableSize = 1000

// routing makes hash: tables that each message is looked up in.
func routing(e *env, nexthop string) string {
	dir := harness.Dir(e)
	config := ""
	for _, t := range []struct{ param, hit, other string }{
		{"canonical_maps", "someone@relay.test somebody@relay.test\n", "user%d@other.test person%d@other.test\n"},
		{"virtual_alias_maps", "somebody@relay.test anybody@relay.test\n", "alias%d@other.test user%d@other.test\n"},
		{"transport_maps", "relay.test " + nexthop + "\n", "domain%d.test smtp:[127.0.0.%d]\n"},
	} {
		var text strings.Builder
		text.WriteString(t.hit)
		for i := range tableSize {
			fmt.Fprintf(&text, t.other, i, i%250)
		}
		path := filepath.Join(dir, t.param)
		e.check(os.WriteFile(path, []byte(text.String()), 0o644))
		e.check(exec.Command("postmap", "hash:"+path).Run())
		config += t.param + " = hash:" + path + "\n"
	}
	return config
}

// rate measures something that can be done a given number of times. It is tried
// first, for the services to warm up and to learn how often it can be done in
// the time that a measurement should take.
func (e *env) rate(do func(n int) time.Duration) float64 {
	const first, second = 200, 800
	do(first)
	n := max(second, int(second*e.duration.Seconds()/do(second).Seconds()))
	return float64(n) / do(n).Seconds()
}

// A source is a use of smtp-source.
type source struct {
	addr, to string
	clients  int // at once
	options  []string
}

// send sends messages and returns how long it took.
func (e *env) send(s *source, n int) time.Duration {
	args := append([]string{"-s", strconv.Itoa(s.clients), "-l", strconv.Itoa(messageSize), "-m", strconv.Itoa(n),
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
func (t *tail) waitSent(e *env, n int) { t.waitFor(e, n, e.duration*4+time.Minute) }

// waitFor waits so long for n deliveries.
func (t *tail) waitFor(e *env, n int, timeout time.Duration) {
	e.wait(fmt.Sprintf("%d deliveries in %s", n, t.f.Name()), timeout, func() bool { return t.count() >= n })
	if t.sent > n {
		e.Fatalf("%d deliveries in %s, %d were sent", t.sent, t.f.Name(), n)
	}
}

// count returns how many deliveries have been logged.
func (t *tail) count() int {
	mark := []byte(t.mark)
	for {
		read, err := t.f.Read(t.buf[len(t.rest):])
		if read == 0 || err != nil {
			return t.sent
		}
		text := t.buf[:len(t.rest)+read]
		t.sent += bytes.Count(text, mark)
		end := bytes.LastIndexByte(text, '\n') + 1
		t.sent -= bytes.Count(text[end:], mark)
		t.rest = t.buf[:copy(t.buf, text[end:])]
	}
}
