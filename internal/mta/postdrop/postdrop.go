package postdrop

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"sync"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/postlog"
)

// Settings are the parameters of postdrop(1), besides the core ones.
type Settings struct {
	AuthorizedSubmitUsers string `set:"authorized_submit_users" default:"static:anyone" doc:"users who may submit mail with sendmail"`
	PickupService         string `set:"pickup_service_name" default:"pickup" nonempty:"yes" doc:"socket of the pickup service"`
	LineLengthLimit       int    `set:"line_length_limit" default:"2048" min:"512" doc:"longest record of a message"`
}

var _ = postfix.Register("postdrop", Settings{})

// The bits of the status that postdrop answers with and ends with, as Postfix's
// cleanup service numbers them.
const (
	StatusBad    = 1 << 0 // the input lacks something
	StatusWrite  = 1 << 1
	StatusSize   = 1 << 2 // larger than message_size_limit
	StatusDenied = 1 << 9
)

// command is one run of postdrop(1).
type command struct {
	stderr io.Writer
	uid    int
	core   *postfix.Core
	set    *Settings
	log    *maillog.Logger

	mu   sync.Mutex
	file *file // to be removed if the command ends now
}

// Main is postdrop(1).
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	syscall.Umask(0o022)
	c := &command{stderr: stderr, uid: os.Getuid()}
	dir, err := directory(args)
	if err == nil {
		err = c.load(dir)
	}
	os.Clearenv()
	if err != nil {
		return c.fatal(err)
	}
	sink := postlog.Client(c.core)
	defer sink.Close()
	c.log = sink.Logger(fmt.Sprintf("%s/postdrop[%d]", c.core.SyslogName, os.Getpid()))
	stop := c.catchSignals()
	defer stop()
	status, err := c.drop(stdin, stdout)
	if err != nil {
		c.remove()
		return c.fatal(err)
	}
	return status
}

var errUsage = errors.New("usage: postdrop [-c config_dir] [-v]")

// directory is where main.cf is. Whoever runs this with more rights than he has
// may only name directories that the system's own main.cf lists.
func directory(args []string) (string, error) {
	dir := os.Getenv("MAIL_CONFIG")
	for len(args) > 0 {
		switch arg := args[0]; {
		case arg == "-c" && len(args) > 1:
			dir, args = args[1], args[1:]
		case len(arg) > 2 && arg[:2] == "-c":
			dir = arg[2:]
		case arg == "-r" || arg == "-v":
		case arg == "--":
			return confined(dir)
		case len(arg) > 0 && arg[0] == '-':
			return "", errUsage
		}
		args = args[1:]
	}
	return confined(dir)
}

func (c *command) load(dir string) error {
	main, err := postfix.Load(dir)
	if err != nil {
		return err
	}
	if c.core, err = postfix.Get[postfix.Core](main); err != nil {
		return err
	}
	if c.set, err = postfix.Get[Settings](main); err != nil {
		return err
	}
	if err := os.Chdir(c.core.QueueDirectory); err != nil {
		return fmt.Errorf("chdir %s: %s", c.core.QueueDirectory, reason(err))
	}
	return nil
}

// drop takes one submission. Its status is what the command ends with.
func (c *command) drop(stdin io.Reader, stdout io.Writer) (int, error) {
	name := "unknown"
	if u, err := user.LookupId(strconv.Itoa(c.uid)); err == nil {
		name = u.Username
	}
	allowed, err := allows(c.set.AuthorizedSubmitUsers, name)
	if err != nil {
		return 0, fmt.Errorf("authorized_submit_users: %w", err)
	}
	if !allowed {
		return 0, fmt.Errorf("User %s(%d) is not allowed to submit mail", name, c.uid)
	}
	f, err := c.create()
	if err != nil {
		return 0, err
	}
	if err := writeAttributes(stdout, "protocol", "postdrop_protocol", "queue_id", f.id); err != nil {
		return 0, err
	}
	status, err := c.take(stdin, f)
	switch {
	case errors.Is(err, errCanceled):
		c.remove()
		return 0, nil
	case err != nil:
		return 0, err
	case status == 0:
		status = c.finish(f)
	}
	if status != 0 {
		c.remove()
	}
	if err := writeAttributes(stdout, "status", strconv.Itoa(status), "reason", ""); err != nil {
		return 0, err
	}
	return status & 0xff, nil
}

// finish makes the file complete and tells the pickup service.
func (c *command) finish(f *file) (status int) {
	if err := f.finish(); err != nil {
		return c.writeFailed(err)
	}
	c.mu.Lock()
	c.file = nil // from now on it is the mail system's
	c.mu.Unlock()
	c.wakePickup()
	return 0
}

// writeFailed is the status of a failure to write.
func (c *command) writeFailed(err error) (status int) {
	c.warnf("uid=%d: %s", c.uid, reason(err))
	if errors.Is(err, syscall.EFBIG) {
		return StatusSize
	}
	return StatusWrite
}

// remove removes the file unless it is complete.
func (c *command) remove() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil {
		return
	}
	if err := c.file.remove(); err != nil {
		c.warnf("uid=%d: remove %s: %s", c.uid, c.file.path, reason(err))
	}
	c.file = nil
}

func (c *command) fatal(err error) int {
	text := err.Error()
	fmt.Fprintf(c.stderr, "postdrop: fatal: %s\n", text)
	if c.log != nil {
		c.log.Print(maillog.Fatal, text)
	}
	return 1
}

func (c *command) warnf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintf(c.stderr, "postdrop: warning: %s\n", text)
	c.log.Print(maillog.Warning, text)
}

// writeAttributes writes names and values as Postfix's programs do among
// themselves.
func writeAttributes(w io.Writer, pairs ...string) error {
	var b []byte
	for _, s := range pairs {
		b = append(append(b, s...), 0)
	}
	_, err := w.Write(append(b, 0))
	return err
}
