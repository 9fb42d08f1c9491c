package master

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// freePort returns a port that nobody listens on, below those that the system gives to clients:
// a connection from one of those keeps a listener of all addresses off it.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := strconv.Itoa(10000 + rand.IntN(20000))
		if l, err := net.Listen("tcp4", "0.0.0.0:"+port); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return ""
}

func listens(addr string) bool {
	c, err := net.Dial("tcp4", addr)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// An address becomes all addresses while it is listened on, and the port is not
// shared with anybody else afterwards.
func TestListenBeside(t *testing.T) {
	port := freePort(t)
	one := ListenerSpec{Service: "smtpd", Network: "tcp4", Address: "127.0.0.1:" + port, UID: -1, GID: -1}
	all := one
	all.Address = "0.0.0.0:" + port
	l := NewListeners(nil)
	defer l.Close()
	if err := l.Replace([]ListenerSpec{one}); err != nil {
		t.Fatal(err)
	}
	c, err := l.Prepare([]ListenerSpec{all})
	if err != nil {
		t.Fatal(err)
	}
	c.Abort()
	if !listens("127.0.0.1:"+port) || listens("127.0.0.2:"+port) {
		t.Error("after Abort the listeners are not those from before")
	}
	for _, specs := range [][]ListenerSpec{{all}, {one}} {
		if err := l.Replace(specs); err != nil {
			t.Fatal(err)
		}
		if other, err := net.Listen("tcp4", specs[0].Address); err == nil {
			other.Close()
			t.Errorf("%s can be taken by another", specs[0].Address)
		}
	}
	if listens("127.0.0.2:" + port) {
		t.Error("the listener of all addresses is still there")
	}
}

// Whatever fails, the listeners stay as they were.
func TestPrepareChangesNothingWhenItFails(t *testing.T) {
	dir := t.TempDir()
	stays := ListenerSpec{Service: "auth", Network: "unix", Address: filepath.Join(dir, "stays"), Mode: 0o600, UID: -1, GID: -1}
	comes := stays
	comes.Address = filepath.Join(dir, "comes")
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	inUse := ListenerSpec{Service: "lmtp", Network: "tcp4", Address: taken.Addr().String(), UID: -1, GID: -1}
	l := NewListeners(nil)
	defer l.Close()
	if err := l.Replace([]ListenerSpec{stays}); err != nil {
		t.Fatal(err)
	}
	for _, specs := range [][]ListenerSpec{{comes, inUse}, {comes, comes}} {
		_, err := l.Prepare(specs)
		var e *ListenError
		if !errors.As(err, &e) || !errors.Is(err, syscall.EADDRINUSE) || e.Reason() != "Address already in use" {
			t.Errorf("error %v", err)
		}
		if l.File(&stays) == nil || l.File(&comes) != nil || l.File(&inUse) != nil {
			t.Error("the listeners are not those from before")
		}
	}
}

// What a process says at its end is logged, but not without end.
func TestTraceIsBounded(t *testing.T) {
	var lines []string
	log := maillog.NewFunc(func(level maillog.Level, text string) {
		if level != maillog.Error {
			t.Errorf("level %v of %q", level, text)
		}
		lines = append(lines, text)
	})
	logTrace(strings.NewReader("panic: x\n\ngoroutine 1:\n\tmain.go:7\n"+strings.Repeat("y", 3000)+"\nend"), log)
	want := []string{"panic: x", "goroutine 1:", "  main.go:7", strings.Repeat("y", maxTraceLine), "end"}
	if got := strings.Join(lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("logged:\n%s", got)
	}
	lines = nil
	var b strings.Builder
	for n := range 10000 {
		fmt.Fprintf(&b, "line %d\n", n)
	}
	logTrace(strings.NewReader(b.String()), log)
	if len(lines) != maxTraceLines+1 || !strings.HasSuffix(lines[maxTraceLines], " more bytes of this were left out") {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}
