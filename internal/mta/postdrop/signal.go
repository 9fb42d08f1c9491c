package postdrop

import (
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// catchSignals removes an unfinished file when a signal ends the command. Those
// that were ignored by whoever started it stay so.
func (c *command) catchSignals() (stop func()) {
	signal.Ignore(syscall.SIGPIPE, syscall.SIGXFSZ)
	caught := make(chan os.Signal, 1)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			signal.Notify(caught, s)
		}
	}
	go func() {
		s, ok := <-caught
		if !ok {
			return
		}
		c.mu.Lock() // for good: the file is either complete or removed here
		if c.file != nil {
			os.Remove(c.file.path) //nolint:errcheck // nothing can be done about it
		}
		os.Exit(int(s.(syscall.Signal)))
	}()
	return func() {
		signal.Stop(caught)
		close(caught)
	}
}

// triggerTimeout bounds how long telling the pickup service may take. It looks
// for files by itself, too.
const triggerTimeout = 5 * time.Second

// wakePickup tells the pickup service that there is a file, as Postfix's programs wake each
// other: by a byte on its socket.
func (c *command) wakePickup() {
	conn, err := net.DialTimeout("unix", filepath.Join("public", filepath.Base(c.set.PickupService)), triggerTimeout)
	if err != nil {
		return // the file waits
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(triggerTimeout)) //nolint:errcheck // a socket takes deadlines
	conn.Write([]byte{'W'})                          //nolint:errcheck // as above
}
