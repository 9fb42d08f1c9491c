package harness

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Postfix is a running Postfix with a configuration of its own, for tests that
// show what it does.
type Postfix struct {
	Dir string // queue, log and configuration
}

// postfixSettings keep it to its directory.
const postfixSettings = `
queue_directory = DIR/spool
data_directory = DIR/data
maillog_file = DIR/log
maillog_file_prefixes = /
`

// postfixServices are those that the others need.
const postfixServices = `
postlog unix-dgram n - n - 1 postlogd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
tlsmgr unix - - n 1000? 1 tlsmgr
scache unix - - n - 1 scache
anvil unix - - n - 1 anvil
flush unix n - n 1000? 0 flush
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
smtp unix - - n - - smtp
relay unix - - n - - smtp
local unix - n n - - local
virtual unix - n n - - virtual
`

// StartPostfix starts Postfix. Files of its configuration directory are given
// by name: main.cf and master.cf are added to what every one needs; DIR in
// main.cf stands for its directory; resolv.conf is for services of master.cf with
// chroot = y. It fails where Postfix is not installed.
func StartPostfix(t TB, files map[string]string) *Postfix {
	t.Helper()
	owner, err := user.Lookup("postfix")
	if err != nil {
		t.Fatalf("Postfix is not installed: run test/install-packages")
	}
	p := &Postfix{Dir: Dir(t)}
	for _, sub := range []string{"etc", "spool/etc", "data"} {
		if err := os.MkdirAll(filepath.Join(p.Dir, sub), 0o755); err != nil {
			t.Fatalf("%v", err)
		}
	}
	uid, err := strconv.Atoi(owner.Uid)
	if err == nil {
		err = os.Chown(filepath.Join(p.Dir, "data"), uid, -1)
	}
	if err != nil {
		t.Fatalf("data directory of Postfix: %v", err)
	}
	for name, text := range files {
		switch name {
		case "main.cf":
			text = strings.ReplaceAll(postfixSettings+text, "DIR", p.Dir)
		case "master.cf":
			text = postfixServices + text
		case "resolv.conf":
			name = "../spool/etc/resolv.conf"
		}
		p.write(t, name, text)
	}
	p.start(t)
	t.Cleanup(func() {
		if out, err := p.command("stop"); err != nil {
			fmt.Fprintf(os.Stderr, "postfix stop: %v\n%s", err, out)
		}
	})
	return p
}

func (p *Postfix) write(t TB, name, text string) {
	t.Helper()
	path := filepath.Join(p.Dir, "etc", name)
	Write(t, path, text)
	// Postfix reads a file again and again while it is younger than a second.
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatalf("%v", err)
	}
}

// start starts Postfix. Its own script gives up after some seconds, which a busy
// machine may need; then it is started again.
func (p *Postfix) start(t TB) {
	t.Helper()
	var out string
	var err error
	for range 3 {
		if out, err = p.command("start"); err == nil {
			return
		}
	}
	t.Fatalf("postfix start: %v\n%s", err, out)
}

func (p *Postfix) command(args ...string) (string, error) {
	return Try("", "postfix", append([]string{"-c", p.Config()}, args...)...)
}

// Config is the configuration directory.
func (p *Postfix) Config() string { return filepath.Join(p.Dir, "etc") }

// Log returns what Postfix has logged.
func (p *Postfix) Log() string {
	b, err := os.ReadFile(filepath.Join(p.Dir, "log"))
	if err != nil {
		return err.Error()
	}
	lines := slices.DeleteFunc(strings.SplitAfter(string(b), "\n"), IsClockWarning)
	return strings.Join(lines, "")
}

// IsClockWarning reports whether a line of Postfix's log is about this machine's clock, as where it was
// set while the test ran.
func IsClockWarning(line string) bool {
	return strings.Contains(line, "warning: file system clock is ") || strings.Contains(line, "warning: resetting file time stamps")
}
