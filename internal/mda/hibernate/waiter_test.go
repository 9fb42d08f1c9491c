package hibernate

import (
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestWaiter has clients wait. Each is told of once: when it says something, or goes.
func TestWaiter(t *testing.T) {
	var w Waiter
	defer w.Close()
	ready := make(chan string, 10)
	add := func(name string) (client net.Conn, wait *Wait) {
		client, server := pair(t)
		wait, err := w.Add(server.(syscall.Conn), func() { ready <- name })
		if err != nil {
			t.Fatal(err)
		}
		return client, wait
	}
	speaks, _ := add("speaks")
	leaves, _ := add("leaves")
	unheard, wait := add("unheard")

	wait.Cancel()
	wait.Cancel()
	unheard.Write([]byte("x")) //nolint:errcheck // nobody waits for it
	speaks.Write([]byte("x"))  //nolint:errcheck // would show below
	expect(t, ready, "speaks")
	speaks.Write([]byte("x")) //nolint:errcheck // nobody waits for it
	leaves.Close()
	expect(t, ready, "leaves")
	if len(w.waiting) > 0 {
		t.Errorf("%d clients are still waited for", len(w.waiting))
	}
}

// TestWaitAgain waits for the same client again, which has sent something meanwhile.
func TestWaitAgain(t *testing.T) {
	var w Waiter
	defer w.Close()
	client, server := pair(t)
	client.Write([]byte("x")) //nolint:errcheck // would show below
	ready := make(chan string, 10)
	for range 3 {
		if _, err := w.Add(server.(syscall.Conn), func() { ready <- "input" }); err != nil {
			t.Fatal(err)
		}
		expect(t, ready, "input")
	}
}

func expect(t *testing.T, ready <-chan string, want string) {
	t.Helper()
	select {
	case got := <-ready:
		if got != want {
			t.Fatalf("told of %q, want %q", got, want)
		}
	case <-time.After(time.Minute):
		t.Fatalf("not told of %q", want)
	}
}

func pair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	return conn(t, fds[0]), conn(t, fds[1])
}

func conn(t *testing.T, fd int) net.Conn {
	t.Helper()
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
