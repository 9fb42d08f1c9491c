package door

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// commands are entries of spawn(8): their arguments, how many lines are logged when a client
// has come, and whether they are a TCP service.
var commands = []struct {
	name   string
	args   string
	logged int
	tcp    bool
}{
	{name: "id", args: "user=nobody argv=/usr/bin/id", tcp: true},
	{name: "group", args: "user=nobody:games argv=/usr/bin/id"},
	{name: "attributes", args: "USER=nobody ARGV=/bin/echo user=x", tcp: true},
	{name: "environment", args: "user=nobody argv=/usr/bin/env"},
	{name: "directory", args: "user=nobody argv=/bin/pwd -P"},
	{name: "session", args: "user=nobody argv=/bin/sh -c { set $(cat /proc/$$/stat); test $1 = $5 -a $1 = $6 && echo leads }"},
	{name: "path", args: "user=nobody argv=echo found in the path"},
	{name: "quoted", args: "user=nobody argv=/bin/sh -c { echo \"two  blanks\" $0; echo to stderr >&2 } zero"},
	{name: "status", args: "user=nobody argv=/bin/sh -c { echo before; exit 3 }", logged: 1},
	{name: "signal", args: "user=nobody argv=/bin/sh -c { kill -15 $$ }", logged: 1},
	{name: "missing", args: "user=nobody argv=/nonexistent/command x", logged: 2},
	{name: "nowhere", args: "user=nobody argv=nosuchcommand", logged: 2},
	{name: "root", args: "user=root argv=/usr/bin/id", logged: 1, tcp: true},
	{name: "owner", args: "user=postfix argv=/usr/bin/id", logged: 1},
	{name: "rootgroup", args: "user=nobody:root argv=/usr/bin/id", logged: 1},
	{name: "ownergroup", args: "user=nobody:postfix argv=/usr/bin/id", logged: 1},
	{name: "stranger", args: "user=nosuchuser argv=/usr/bin/id", logged: 1},
	{name: "strangers", args: "user=nobody:nosuchgroup argv=/usr/bin/id", logged: 1},
	{name: "nouser", args: "argv=/usr/bin/id", logged: 1},
	{name: "nocommand", args: "user=nobody", logged: 1},
	{name: "attribute", args: "user=nobody flags=R argv=/usr/bin/id", logged: 1},
}

// TestSpawn starts commands of every kind through the sockets of their entries.
func TestSpawn(t *testing.T) {
	t.Parallel()
	var said [2]map[string]string
	for i, p := range programs {
		addrs := make(map[string]string)
		var master strings.Builder
		for _, c := range commands {
			entry := c.name + " unix - n n - 0 spawn"
			if c.tcp {
				addrs[c.name] = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
				entry = addrs[c.name] + " inet n n n - 0 spawn"
			}
			fmt.Fprintf(&master, "%s -o syslog_name=%s %s\n", entry, c.name, c.args)
		}
		fmt.Fprintln(&master, "slow unix - n n - 0 spawn -o syslog_name=slow user=nobody argv=/bin/sh -c { echo begun; sleep 600 & wait }")
		fmt.Fprintln(&master, "one unix n n n - 1 spawn user=nobody argv=/bin/cat")
		tr := harness.StartTransport(t, p, harness.TransportOptions{Main: "slow_time_limit = 1s\nexport_environment = TZ MAIL_CONFIG LANG A=b\n", Master: master.String()})
		last := filepath.Join(tr.Dir, "spool/public/one")
		harness.Eventually(t, "all listeners", func() bool { _, err := os.Stat(last); return err == nil })
		said[i] = make(map[string]string)
		var mu sync.Mutex
		var clients sync.WaitGroup
		for _, c := range commands {
			addr := addrs[c.name]
			if addr == "" {
				addr = filepath.Join(tr.Dir, "spool/private", c.name)
			}
			conn := dial(t, addr)
			clients.Go(func() {
				lines := strings.Split(normal(readAll(t, conn)), "\n")
				slices.Sort(lines)
				mu.Lock()
				defer mu.Unlock()
				said[i][c.name] = strings.Join(lines, "\n")
			})
		}
		clients.Wait()
		for _, c := range commands {
			if c.logged > 0 {
				said[i][c.name] += "\nlog: " + strings.Join(logged(t, tr, c.name+"/spawn", c.logged), "\nlog: ")
			}
		}
		oneAtATime(t, p, last)
		if p == harness.Dovetail { // Postfix 3.7.11 says so, too, but then hangs where it should kill
			timeLimit(t, tr)
		}
	}
	if diff := cmp.Diff(said[0], said[1]); diff != "" {
		t.Errorf("(-Postfix +Dovetail):\n%s", diff)
	}
}

// oneAtATime wants the second client of a service with one process to be served when the
// first has gone.
func oneAtATime(t *testing.T, p harness.Program, addr string) {
	t.Helper()
	first, second := dial(t, addr), dial(t, addr)
	io.WriteString(second, "second\n") //nolint:errcheck // what comes back is looked at
	if got := echo(t, first, "first\n"); got != "first\n" {
		t.Errorf("%v: the first client gets %q", p, got)
	}
	second.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) //nolint:errcheck // it is open
	if n, err := second.Read(make([]byte, 10)); n > 0 {
		t.Errorf("%v: the second client is served while the first is there: %v", p, err)
	}
	first.Close()
	second.SetReadDeadline(time.Now().Add(patience)) //nolint:errcheck // it is open
	if got := echo(t, second, ""); got != "second\n" {
		t.Errorf("%v: the second client gets %q", p, got)
	}
}

// timeLimit wants a command, and what it has started, killed when its time is over.
func timeLimit(t *testing.T, tr *harness.Transport) {
	t.Helper()
	if got := readAll(t, dial(t, filepath.Join(tr.Dir, "spool/private/slow"))); got != "begun\n" {
		t.Errorf("the command that is slow says %q", got)
	}
	want := []string{"warning: /bin/sh: process id N: command time limit exceeded", "warning: command /bin/sh killed by signal 9"}
	if diff := cmp.Diff(want, logged(t, tr, "slow/spawn", 2)); diff != "" {
		t.Error(diff)
	}
}

// echo says a line and reads one.
func echo(t *testing.T, conn net.Conn, line string) string {
	t.Helper()
	if _, err := io.WriteString(conn, line); err != nil {
		t.Error(err)
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Error(err)
	}
	return answer
}
