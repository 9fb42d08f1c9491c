// Package postkick is postkick(1), with which scripts wake services of the mail
// system. The pickup service has a socket of its own; requests to the queue manager go
// to the mta as those of postqueue(1) do.
package postkick

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/getopt"
)

// timeout bounds how long a service may take to listen.
const timeout = 10 * time.Second

// A Flush has the queue manager try all mail now; it returns an exit status.
type Flush func(configDirectory string, stderr io.Writer) int

// Main is postkick(1).
func Main(flush Flush, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	cmd := &getopt.Command{Name: "postkick", Exit: 1, Stderr: stderr}
	dir := getopt.ConfigDirectory()
	rest, ok := cmd.Options(args, "c:v", func(opt byte, value string) {
		if opt == 'c' {
			dir = value
		}
	})
	if !ok || len(rest) != 3 {
		return cmd.Fatalf("usage: postkick [-c config_dir] [-v] class service request")
	}
	main, err := postfix.Load(dir)
	if err != nil {
		return cmd.Fatalf("%v", err)
	}
	core, err := postfix.Get[postfix.Core](main)
	if err != nil {
		return cmd.Fatalf("%v", err)
	}
	class, service, request := rest[0], rest[1], rest[2]
	if class == "public" && service == "qmgr" {
		// 'A' and 'D': try what waits. Fresh mail needs no waking.
		if strings.ContainsAny(request, "AD") {
			return flush(dir, stderr)
		}
		service = "pickup" // it answers while the mail system runs
	}
	if err := kick(filepath.Join(core.QueueDirectory, class, filepath.Base(service)), request); err != nil {
		var errno syscall.Errno
		if errors.As(err, &errno) && errno == syscall.ENOENT {
			cmd.Warnf("unable to look up %s/%s: No such file or directory", class, rest[1])
		}
		cmd.Warnf("Cannot contact class %s service %s - perhaps the mail system is down", class, rest[1])
		return 1
	}
	return 0
}

func kick(path, request string) error {
	conn, err := net.DialTimeout("unix", path, timeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(timeout)) //nolint:errcheck // a socket takes deadlines
	_, err = conn.Write([]byte(request))
	if errors.Is(err, syscall.EPIPE) {
		return nil // the connection was what it waited for
	}
	return err
}
