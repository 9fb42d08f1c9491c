package master

import (
	"strings"
	"testing"
	"time"
)

// startingChild is a child as far as WaitReady sees one; the test is its process.
func startingChild(t *testing.T) (*Child, *Conn) {
	t.Helper()
	ours, theirs := pair(t)
	c := &Child{conn: ours, ready: make(chan struct{}), gone: make(chan struct{}), done: make(chan struct{})}
	c.spec.Role = "test"
	go c.serve()
	return c, theirs
}

// TestStartWaitsForProgress has a child that takes longer to start than the master has
// patience, but says again and again that it gets on.
func TestStartWaitsForProgress(t *testing.T) {
	t.Parallel()
	const patience = 4 * time.Second
	c, process := startingChild(t)
	go func() {
		for begin := time.Now(); time.Since(begin) < patience+time.Second; time.Sleep(50 * time.Millisecond) {
			if process.Send("starting", struct{}{}) != nil {
				return
			}
		}
		process.Send("ready", struct{}{}) //nolint:errcheck // the test sees that it did not come
	}()
	if err := c.WaitReady(patience); err != nil {
		t.Error(err)
	}
}

// TestStartOfSilentChild has one that says so once only.
func TestStartOfSilentChild(t *testing.T) {
	t.Parallel()
	c, process := startingChild(t)
	if err := process.Send("starting", struct{}{}); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitReady(100 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "not ready after") {
		t.Errorf("%v", err)
	}
}
