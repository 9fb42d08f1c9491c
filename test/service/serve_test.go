package service

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// portBase returns a number to which the standard ports can be added.
func portBase(t *testing.T) int {
	t.Helper()
	for range 100 {
		base := 10_000 + rand.IntN(20_000) // clients get higher ports
		free := true
		for _, port := range []int{25, 587, 143, 993, 110, 995} {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+port))
			if err != nil {
				free = false
				break
			}
			l.Close()
		}
		if free {
			return base
		}
	}
	t.Fatal("no free ports")
	return 0
}

// ended waits until processes have ended.
func ended(t *testing.T, pids []int) {
	t.Helper()
	harness.Eventually(t, "end of all processes", func() bool {
		for _, pid := range pids {
			if !harness.Gone(pid) {
				return false
			}
		}
		return true
	})
}

// What the README promises: one command, no privileges, and the two commands that
// it prints send and read a message.
func TestServeAsOrdinaryUser(t *testing.T) {
	dir := harness.Dir(t)
	harness.Run(t, "", "chown", "nobody", dir)
	base := portBase(t)
	start := func() *harness.Process {
		p := harness.Start(t, []string{"HOME=/nonexistent"}, "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups",
			harness.Binary(t), "serve", "-data", filepath.Join(dir, "data"), "-port", fmt.Sprint(base))
		harness.Eventually(t, "welcome", func() bool {
			select {
			case <-p.Done():
				t.Fatalf("serve ended:\n%s", p.Output())
			default:
			}
			return strings.Contains(p.Output(), "Ctrl-C stops the server")
		})
		return p
	}
	stop := func(p *harness.Process) {
		t.Helper()
		all := harness.Descendants(p.Cmd.Process.Pid)
		if len(all) < 6 {
			t.Errorf("only %d processes run", len(all))
		}
		for _, pid := range all {
			if uid, _ := account(t, "nobody"); !strings.HasPrefix(harness.Status(pid, "Uid"), uid+" ") {
				t.Errorf("%s runs with uid %s", harness.Title(pid), harness.Status(pid, "Uid"))
			}
		}
		begin := time.Now()
		p.Cmd.Process.Signal(syscall.SIGINT)
		<-p.Done()
		if took := time.Since(begin); took > 30*time.Second {
			t.Errorf("it took %v to stop", took)
		}
		if status := p.Cmd.ProcessState.ExitCode(); status != 0 {
			t.Errorf("exit status %d after SIGINT:\n%s", status, p.Output())
		}
		ended(t, all)
	}
	p := start()
	// The examples of the welcome, as they are.
	examples := regexp.MustCompile(`(?s)Send a message:\n\n(.*?)\n\nRead it:\n\n(.*?)\n\n`).FindStringSubmatch(p.Output())
	if examples == nil {
		t.Fatalf("no examples in\n%s", p.Output())
	}
	shell := func(command string) (string, error) { return harness.Try("", "sh", "-c", command) }
	if out, err := shell(examples[1]); err != nil {
		t.Fatalf("%s: %v\n%s", examples[1], err, out)
	}
	readable := func() bool {
		out, err := shell(examples[2])
		return err == nil && strings.Contains(out, "It works.")
	}
	harness.Eventually(t, "message", readable)
	pop := fmt.Sprintf("curl -sS -u demo@localhost:demo pop3://127.0.0.1:%d/1", base+110)
	if out, err := shell(pop); err != nil || !strings.Contains(out, "It works.") {
		t.Errorf("%s: %v\n%s", pop, err, out)
	}
	stop(p)
	p = start()
	if !readable() {
		t.Error("the message is gone after a restart")
	}
	stop(p)
}

// notices collects what a service tells systemd.
func notices(t *testing.T, dir string) (address string, next func() string) {
	t.Helper()
	address = filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return address, func() string {
		b := make([]byte, 4096)
		conn.SetReadDeadline(time.Now().Add(60 * time.Second))
		n, err := conn.Read(b)
		if err != nil {
			t.Fatalf("no word to systemd: %v", err)
		}
		return string(b[:n])
	}
}

// systemd hears when a service is ready, reloads and stops; and ready means that
// it serves.
func TestTellsSystemd(t *testing.T) {
	mb := harness.NewMailbox(t, harness.Dovetail, harness.MailboxOptions{})
	tr := harness.NewTransport(t, harness.Dovetail, harness.TransportOptions{})
	for _, service := range []struct{ name, dir, addr string }{{"dovecot", mb.Dir, mb.IMAP}, {"postfix", tr.Dir, tr.SMTP}} {
		t.Run(service.name, func(t *testing.T) {
			address, next := notices(t, service.dir)
			command := []string{"dovecot", "-F", "-c", mb.Config}
			if service.name == "postfix" {
				command = []string{"postfix", "-c", tr.Config, "start-fg"}
			}
			p := harness.Start(t, []string{"NOTIFY_SOCKET=" + address}, harness.Binary(t), command...)
			for _, step := range []struct {
				sig  syscall.Signal
				want []string
			}{{0, []string{"READY=1"}}, {syscall.SIGHUP, []string{"RELOADING=1", "READY=1"}}, {syscall.SIGTERM, []string{"STOPPING=1"}}} {
				if step.sig != 0 {
					p.Cmd.Process.Signal(step.sig)
				}
				for _, want := range step.want {
					if got := next(); !strings.Contains(got, want) {
						t.Errorf("systemd hears %q, want %s", got, want)
					}
				}
				if step.sig == 0 {
					c := harness.Connect(t, service.addr)
					c.Close()
				}
			}
			<-p.Done()
		})
	}
}

// runningPID waits for the pid file of a service, which Dovecot writes after its
// command is back.
func runningPID(t *testing.T, path string) int {
	t.Helper()
	pid := 0
	harness.Eventually(t, path, func() bool {
		text, err := os.ReadFile(path)
		if err != nil {
			return false
		}
		fmt.Sscan(string(text), &pid)
		return pid > 0
	})
	return pid
}

var number = regexp.MustCompile(`\b\d{2,}\b`)

// transcript runs commands and writes down what they say and how they end.
func transcript(t *testing.T, run func(args ...string) (string, int), commands ...string) string {
	t.Helper()
	var b strings.Builder
	for _, c := range commands {
		out, status := run(strings.Fields(c)...)
		fmt.Fprintf(&b, "%s: status %d\n%s", c, status, number.ReplaceAllString(out, "PID"))
	}
	return b.String()
}

// The commands that start and stop say and return what the originals do.
func TestDovecotCommands(t *testing.T) {
	t.Parallel()
	said := make(map[harness.Program]string)
	for _, p := range []harness.Program{harness.Dovetail, harness.Original} {
		mb := harness.NewMailbox(t, p, harness.MailboxOptions{})
		pidFile := filepath.Join(mb.Dir, "run", "master.pid")
		run := func(args ...string) (string, int) {
			args = append([]string{args[0], "-c", mb.Config}, args[1:]...)
			if p == harness.Dovetail {
				return attempt(t, harness.Binary(t), args...)
			}
			return attempt(t, args[0], args[1:]...)
		}
		text := transcript(t, run, "doveadm stop", "doveadm reload", "dovecot")
		master := runningPID(t, pidFile)
		t.Cleanup(func() { syscall.Kill(master, syscall.SIGKILL) })
		if p == harness.Original {
			harness.WaitTCP(t, nil, mb.IMAP)
		}
		// Dovetail serves as soon as the command is back.
		c := harness.Connect(t, mb.IMAP)
		c.Close()
		all := append(harness.Descendants(master), master)
		text += transcript(t, run, "dovecot", "doveadm reload", "dovecot -F", "doveadm stop")
		ended(t, all)
		text += transcript(t, run, "doveadm stop", "dovecot", "dovecot stop")
		if p == harness.Dovetail {
			nothingLeft(t, mb.Dir) // Dovecot leaves its sockets
		}
		said[p] = text
	}
	if ours, theirs := said[harness.Dovetail], said[harness.Original]; ours != theirs {
		t.Errorf("Dovetail:\n%s\nDovecot:\n%s", ours, theirs)
	}
}

// As TestDovecotCommands, for postfix(1), at a terminal.
func TestPostfixCommands(t *testing.T) {
	t.Parallel()
	said := make(map[harness.Program]string)
	for _, p := range []harness.Program{harness.Dovetail, harness.Original} {
		tr := harness.NewTransport(t, p, harness.TransportOptions{})
		run := func(args ...string) (string, int) {
			program := []string{"/usr/sbin/postfix"}
			if p == harness.Dovetail {
				program = []string{harness.Binary(t), "postfix"}
			}
			return terminal(t, append(append(program, "-c", tr.Config), args...)...)
		}
		text := transcript(t, run, "status", "reload", "stop", "start")
		master := runningPID(t, filepath.Join(tr.Dir, "spool", "pid", "master.pid"))
		t.Cleanup(func() { syscall.Kill(master, syscall.SIGKILL) })
		all := append(harness.Descendants(master), master)
		text += transcript(t, run, "start", "status", "check", "flush", "reload", "nonsense", "stop")
		ended(t, all[len(all)-1:])
		text += transcript(t, run, "status", "stop", "")
		said[p] = text
	}
	if ours, theirs := said[harness.Dovetail], said[harness.Original]; ours != theirs {
		t.Errorf("Dovetail:\n%s\nPostfix:\n%s", ours, theirs)
	}
	if out, err := exec.Command("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", harness.Binary(t), "postfix", "status").CombinedOutput(); err == nil {
		t.Errorf("postfix status works for everybody:\n%s", out)
	}
}
