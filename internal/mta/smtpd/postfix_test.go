package smtpd

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// realPostfix is a running Postfix with a configuration of its own.
type realPostfix struct {
	dir   string
	addrs []string
}

// realConfig completes baseConfig for Postfix itself: mail stays in its
// queue.
const realConfig = `
queue_directory = DIR/spool
data_directory = DIR/data
maillog_file = DIR/log
maillog_file_prefixes = /
disable_dns_lookups = yes
defer_transports = smtp, local, virtual, relay
`

const realServices = `
postlog unix-dgram n - n - 1 postlogd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
smtp unix - - n - - smtp
relay unix - - n - - smtp
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
flush unix n - n 1000? 0 flush
`

// startPostfix starts one smtpd service for each dialogue, with its parameters.
func startPostfix(t *testing.T, all []dialogue) *realPostfix {
	t.Helper()
	dir, err := os.MkdirTemp("", "postfix") // readable by Postfix's user
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	for _, sub := range []string{"etc", "spool", "data"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	owner, err := user.Lookup("postfix")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(owner.Uid)
	os.Chown(filepath.Join(dir, "data"), uid, -1)
	p := &realPostfix{dir: dir}
	services := realServices
	all = append(all[:len(all):len(all)], dialogue{}) // for await
	for i, d := range all {
		p.addrs = append(p.addrs, fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)))
		services += fmt.Sprintf("%s inet n - n - - smtpd -o syslog_name=dialogue%d\n", p.addrs[i], i)
		for _, line := range strings.Split(strings.TrimSpace(d.config), "\n") {
			if line != "" {
				services += "  -o { " + line + " }\n"
			}
		}
	}
	p.write(t, "main.cf", baseConfig+strings.ReplaceAll(realConfig, "DIR", dir))
	p.write(t, "master.cf", services)
	p.start(t)
	t.Cleanup(func() { p.command(t, "stop") })
	p.await(t)
	return p
}

func (p *realPostfix) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(p.dir, "etc", name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	// Postfix reads a file again and again while it is younger than a second.
	old := time.Now().Add(-time.Hour)
	os.Chtimes(path, old, old)
}

// start starts Postfix. Its own script gives up after some seconds, which a busy
// machine may need; then it is started again.
func (p *realPostfix) start(t *testing.T) {
	t.Helper()
	var out []byte
	var err error
	for range 3 {
		if out, err = exec.Command("postfix", "-c", filepath.Join(p.dir, "etc"), "start").CombinedOutput(); err == nil {
			return
		}
	}
	t.Fatalf("postfix start: %v\n%s", err, out)
}

func (p *realPostfix) command(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("postfix", append([]string{"-c", filepath.Join(p.dir, "etc")}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("postfix %v: %v\n%s", args, err, out)
	}
}

// await returns when all services listen.
func (p *realPostfix) await(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		conn, err := net.Dial("tcp", p.addrs[len(p.addrs)-1])
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("Postfix does not start: %v\n%s", err, p.log(t))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (p *realPostfix) log(t *testing.T) string {
	t.Helper()
	b, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	return string(b)
}

// smtpdLog returns what the service of a dialogue logged, up to the end of the
// session.
func (p *realPostfix) smtpdLog(t *testing.T, service int) string {
	t.Helper()
	tag := fmt.Sprintf(" dialogue%d/smtpd[", service)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var out strings.Builder
		for line := range strings.Lines(p.log(t)) {
			if _, text, ok := strings.Cut(line, tag); ok {
				_, text, _ = strings.Cut(text, "]: ")
				out.WriteString(text)
			}
		}
		text := out.String()
		if strings.Contains(text, "disconnect from ") || time.Now().After(deadline) {
			return text
		}
	}
}

// content returns the content of a queued message.
func (p *realPostfix) content(t *testing.T, id string) string {
	t.Helper()
	out, err := exec.Command("postcat", "-c", filepath.Join(p.dir, "etc"), "-bhq", id).Output()
	if err != nil {
		t.Errorf("postcat %s: %v", id, err)
	}
	return string(out)
}
