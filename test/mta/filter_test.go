package mta

import (
	"bufio"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// A contentFilter is a filter as FILTER_README has it, an SMTP server that gives to another one what it
// took, as amavisd does: with the client's attributes (XFORWARD), a header of its own, and the other
// server's reply. Content with the word VIRUS is refused.
type contentFilter struct {
	port string
	next string // host:port of the server behind it

	mu   sync.Mutex
	said []string // MAIL, RCPT and XFORWARD as they came
}

// startContentFilter starts a filter before a server, which need not be there yet.
func startContentFilter(t *testing.T, next string) *contentFilter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f := &contentFilter{next: next}
	_, f.port, _ = net.SplitHostPort(l.Addr().String())
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go f.serve(conn)
		}
	}()
	return f
}

// A filtered message is what the filter was told of one.
type filtered struct {
	forward []string // XFORWARD commands
	mail    string
	rcpts   []string
	content []string // lines as on the wire
}

// serve is one connection of the mail system.
func (f *contentFilter) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewScanner(conn)
	say := func(reply string) { fmt.Fprint(conn, strings.ReplaceAll(reply, "\n", "\r\n"), "\r\n") }
	say("220 filter.example.test ESMTP")
	var m filtered
	for in.Scan() {
		line := in.Text()
		verb, _, _ := strings.Cut(line, " ")
		switch verb {
		case "EHLO":
			say("250-filter.example.test\n250-PIPELINING\n250-8BITMIME\n250-DSN\n250-SMTPUTF8\n250 XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE")
		case "XFORWARD":
			m.forward = append(m.forward, line)
			say("250 2.0.0 Ok")
		case "MAIL":
			m.mail, m.rcpts = line, nil
			say("250 2.1.0 Ok")
		case "RCPT":
			m.rcpts = append(m.rcpts, line)
			say("250 2.1.5 Ok")
		case "DATA":
			say("354 End data with <CR><LF>.<CR><LF>")
			m.content = nil
			for in.Scan() && in.Text() != "." {
				m.content = append(m.content, in.Text())
			}
			say(f.pass(&m))
			m.forward = nil
		case "QUIT":
			say("221 2.0.0 Bye")
			return
		default:
			say("250 2.0.0 Ok")
		}
	}
}

// pass gives a message to the next server and returns the reply to the one it is from.
func (f *contentFilter) pass(m *filtered) string {
	f.mu.Lock()
	f.said = append(f.said, strings.Join(slices.Concat(m.forward, []string{m.mail}, m.rcpts), "\n"))
	f.mu.Unlock()
	if strings.Contains(strings.Join(m.content, "\n"), "VIRUS") {
		return "554 5.7.0 Reject, id=1 - INFECTED"
	}
	c, err := harness.Dial(f.next)
	if err != nil {
		return "451 4.4.1 no connection to the mail system"
	}
	defer c.Close()
	commands := slices.Concat([]string{"EHLO filter.example.test"}, m.forward, []string{m.mail}, m.rcpts, []string{"DATA"})
	for _, command := range commands {
		if reply, err := c.Ask(command); err != nil || reply[0] >= '4' {
			return fmt.Sprintf("%s from MTA after %s", reply, strings.Fields(command)[0])
		}
	}
	lines := append([]string{"X-Virus-Scanned: by a test"}, m.content...)
	reply, err := c.Ask(strings.Join(lines, "\r\n") + "\r\n.")
	if err != nil {
		return "451 4.4.2 the mail system went away"
	}
	c.Ask("QUIT") //nolint:errcheck // it has the message
	return "250 2.0.0 from MTA: " + reply
}

// filter NAME ADDRESS: starts a content filter at port $NAME that gives its mail to ADDRESS.
// filter -said NAME: shows what it was told, which is part of the outcome.
func (pl *player) cmdFilter(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: filter [-said] NAME ADDRESS")
	}
	if args[0] == "-said" {
		fmt.Fprintln(ts.Stdout(), strings.Join(pl.filters[args[1]].told(), "\n--\n"))
		return
	}
	f := startContentFilter(pl.t, args[1])
	pl.filters[args[0]] = f
	pl.set(ts, args[0], f.port)
}

var accident = regexp.MustCompile(`(PORT|IDENT)=\w+`)

// told is what the filter was told of each message, sorted.
func (f *contentFilter) told() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	said := slices.Clone(f.said)
	for i := range said {
		said[i] = accident.ReplaceAllString(said[i], "$1=N")
	}
	slices.Sort(said)
	return said
}

// port NAME...: sets each to a port where nobody listens yet.
func (pl *player) cmdPort(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		pl.set(ts, name, fmt.Sprint(harness.FreePort(pl.t)))
	}
}
