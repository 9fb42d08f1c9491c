package asuser

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// A command is a program that gets a message on its standard input.
type command struct {
	program string   // of Postfix, in whose name it is reported that there is no such command
	text    string   // as reported
	argv    []string // the program and its arguments
	shell   bool     // text is given to /bin/sh if there is no such program
	env     []string
	dir     string
	chroot  string
	as      *syscall.Credential // nil to stay who we are
	limit   time.Duration
	size    int64 // file size limit, 0 for none
	copy    Copy
	kill    <-chan struct{} // closed when nobody wants it any more
}

// commandPath is PATH for commands.
const commandPath = "/usr/bin:/bin"

// plainCharacters are those of commands that need no shell.
const plainCharacters = "1234567890!@%-_=+:,./abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ \t"

// words splits a command of an alias or .forward file. A shell gets it only
// where it is configured or needed.
func (c *command) words(shell string) {
	switch fields := strings.Fields(shell); {
	case len(fields) > 0:
		c.argv = append(fields, c.text)
	case strings.Trim(c.text, plainCharacters) == "" && strings.Trim(c.text, " \t") != "":
		c.argv, c.shell = strings.FieldsFunc(c.text, func(r rune) bool { return r == ' ' || r == '\t' }), true
	default:
		c.argv = []string{"/bin/sh", "-c", c.text}
	}
}

// run runs the command with the message and says how that went.
func (c *command) run(content *os.File, r *Reply) {
	cmd, pipes, err := c.start()
	if err != nil {
		var fatal *startError
		if errors.As(err, &fatal) {
			// What Postfix's child says before it ends with EX_TEMPFAIL.
			r.Fatal = fatal.text
			output := ""
			if !fatal.silent {
				output = c.program + ": fatal: " + fatal.text + " "
			}
			c.exited(exitTempFail, output, r)
			return
		}
		r.Warnings = append(r.Warnings, "fork: "+reason(err))
		r.DSN, r.Reason, r.Detail = "4.3.0", "Delivery failed: "+reason(err), "system resource problem"
		return
	}
	c.attend(cmd, pipes, content, r)
}

// A startError is why the program cannot be executed.
type startError struct {
	text   string
	silent bool // it is not part of the command's output
}

func (e *startError) Error() string { return e.text }

// pipes are our ends of a command's standard input and output.
type pipes struct{ in, out *os.File }

func (c *command) start() (*exec.Cmd, *pipes, error) {
	inTheirs, in, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer inTheirs.Close()
	out, outTheirs, err := os.Pipe()
	if err != nil {
		in.Close()
		return nil, nil, err
	}
	defer outTheirs.Close()
	p := &pipes{in, out}
	cmd, err := c.execute(inTheirs, outTheirs)
	if err != nil {
		p.in.Close()
		p.out.Close()
		return nil, nil, err
	}
	if c.size > 0 {
		// It has nothing to write yet: the message comes after this.
		limit := unix.Rlimit{Cur: uint64(c.size), Max: uint64(c.size)}
		unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil) //nolint:errcheck // it has ended already, then
	}
	return cmd, p, nil
}

// execute starts the program as execvp(3) does.
func (c *command) execute(in, out *os.File) (*exec.Cmd, error) {
	if c.chroot != "" {
		if _, err := os.Stat(c.chroot + "/."); err != nil { // else it would look like a program that is missing
			return nil, &startError{text: fmt.Sprintf("chroot(%s): %s", c.chroot, reason(err)), silent: true}
		}
	}
	name := c.argv[0]
	var last error = syscall.ENOENT
	for _, path := range candidates(name) {
		cmd, err := c.try(path, c.argv, in, out)
		if errors.Is(err, syscall.ENOEXEC) { // a script without interpreter
			cmd, err = c.try("/bin/sh", append([]string{"/bin/sh", path}, c.argv[1:]...), in, out)
		}
		switch {
		case err == nil:
			return cmd, nil
		case errors.Is(err, errChdir):
			return nil, &startError{text: fmt.Sprintf("cannot change directory to \"%s\" for uid=%d gid=%d: %s", c.dir, c.uid(), c.gid(), reason(err))}
		case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EACCES):
			if !errors.Is(last, syscall.EACCES) {
				last = err
			}
		default:
			return nil, c.notStarted(err)
		}
	}
	if c.shell && errors.Is(last, syscall.ENOENT) && !strings.Contains(name, "/") {
		// It may be built into the shell.
		if cmd, err := c.try("/bin/sh", []string{"sh", "-c", c.text}, in, out); err == nil {
			return cmd, nil
		}
	}
	return nil, c.notStarted(last)
}

func (c *command) notStarted(err error) error {
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return err
	}
	text := fmt.Sprintf("execvp %s: %s", c.argv[0], reason(err))
	if !c.shell {
		text = "pipe_command: " + text
	}
	return &startError{text: text}
}

func (c *command) uid() uint32 {
	if c.as == nil {
		return uint32(os.Getuid())
	}
	return c.as.Uid
}

func (c *command) gid() uint32 {
	if c.as == nil {
		return uint32(os.Getgid())
	}
	return c.as.Gid
}

// candidates are the files that a name may stand for.
func candidates(name string) []string {
	if strings.Contains(name, "/") {
		return []string{name}
	}
	var all []string
	for dir := range strings.SplitSeq(commandPath, ":") {
		all = append(all, filepath.Join(dir, name))
	}
	return all
}

// errChdir marks an error of the working directory.
var errChdir = errors.New("working directory")

func (c *command) try(path string, argv []string, in, out *os.File) (*exec.Cmd, error) {
	cmd := &exec.Cmd{
		Path: path, Args: argv, Env: c.env, Dir: c.dir, Stdin: in, Stdout: out, Stderr: out,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Credential: c.as, Chroot: c.chroot},
	}
	if cmd.Dir == "" && c.chroot != "" {
		cmd.Dir = "/"
	}
	err := cmd.Start()
	var pe *os.PathError
	if errors.As(err, &pe) && pe.Op == "chdir" {
		err = fmt.Errorf("%w: %w", errChdir, errno(err))
	}
	return cmd, err
}

// maxOutput bounds the output of a command that is reported.
const maxOutput = 4096

// An ending is how a command ended, and what it said.
type ending struct {
	output string
	err    error
}

// attend feeds a command, waits for it, and kills it with all its offspring when
// its time is over, or when nobody wants it any more: then it counts by how it ended, for it
// may have done what it was to do, and one that was killed is tried again.
func (c *command) attend(cmd *exec.Cmd, p *pipes, content *os.File, r *Reply) {
	over := time.NewTimer(c.limit)
	defer over.Stop()
	fed := make(chan error, 1)
	go func() { fed <- c.feed(p.in, content) }()
	ended := make(chan ending, 1)
	go func() {
		// One that has ended, but whose offspring holds the output, is waited for.
		text := readOutput(p.out)
		ended <- ending{text, cmd.Wait()}
	}()
	var e ending
	running, limit := true, false
	select {
	case e = <-ended:
		running = false
	case <-over.C:
		limit = true
	case <-c.kill:
	}
	if running {
		unix.Kill(-cmd.Process.Pid, unix.SIGKILL) //nolint:errcheck // it may have ended already
		p.out.Close()
		e = <-ended
	}
	if limit {
		r.Warnings = append(r.Warnings, overLimit(fed))
	}
	p.in.Close()
	feedErr := <-fed
	p.out.Close()
	c.judge(&e, feedErr, limit, r)
}

// overLimit says what Postfix was waiting for when the time was over.
func overLimit(fed chan error) string {
	select {
	case err := <-fed:
		fed <- err
		return "pipe_command_read: read time limit exceeded"
	default:
		return "pipe_command_write: write time limit exceeded"
	}
}

// feed writes the message to the command and then nothing more.
func (c *command) feed(in *os.File, content *os.File) error {
	defer in.Close()
	st, err := content.Stat()
	if err != nil {
		return readError{err}
	}
	return c.copy.Write(in, io.NewSectionReader(content, 0, st.Size()), time.Now())
}

// readOutput reads all that a command says, and returns the beginning of that as
// one line of printable text.
func readOutput(out io.Reader) string {
	text, err := io.ReadAll(io.LimitReader(out, maxOutput))
	if err == nil {
		io.Copy(io.Discard, out) //nolint:errcheck // nobody wants it
	}
	return printable(string(text))
}

func printable(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '\t' || c == '\n':
			return ' '
		case c < ' ' || c == 0x7f || c == utf8.RuneError:
			return '_'
		}
		return c
	}, s)
}

// judge says what became of the message.
func (c *command) judge(e *ending, fed error, limit bool, r *Reply) {
	var exit *exec.ExitError
	switch {
	case limit:
		c.died("5.3.0", "Command time limit exceeded: ", e.output, r)
	case errors.As(e.err, &exit):
		status, ok := exit.Sys().(syscall.WaitStatus)
		if ok && status.Signaled() {
			c.died("4.3.0", fmt.Sprintf("Command died with signal %d: ", status.Signal()), e.output, r)
			return
		}
		c.exited(exit.ExitCode(), e.output, r)
	case e.err != nil:
		r.DSN, r.Reason = "4.3.0", "Delivery failed: "+reason(e.err)
	case fed != nil && !errors.Is(fed, syscall.EPIPE) && !errors.Is(fed, os.ErrClosed):
		var res result
		copyFailed(fed, &res)
		r.DSN, r.Detail = res.DSN, res.Detail
		r.Reason = fmt.Sprintf("Command failed: %s: \"%s\"", res.Reason, c.name())
	default:
		r.Output = e.output
	}
}

// name is what the command is called in reports.
func (c *command) name() string {
	if c.text != "" {
		return c.text
	}
	return c.argv[0]
}

// died is for commands that did not end by themselves.
func (c *command) died(dsn, what, output string, r *Reply) {
	r.DSN, r.Detail = dsn, softwareError
	if output != "" {
		r.Detail = output
	}
	r.Reason = what + `"` + c.name() + `"` + withOutput(output)
}

func withOutput(output string) string {
	if output == "" {
		return ""
	}
	return ". Command output: " + output
}

// exited is for commands that failed. Output that begins with an enhanced status
// code counts before the exit status.
func (c *command) exited(code int, output string, r *Reply) {
	if dsn, n := smtp.ParseEnhanced(output); n > 0 {
		text := strings.TrimLeft(output[n:], " ")
		r.DSN, r.Reason, r.Detail = dsn.String(), text, text
		return
	}
	m, known := meaningOf(code)
	r.DSN, r.Detail = m.dsn, m.text
	if output != "" {
		r.Detail = output
	}
	if !known {
		r.Reason = fmt.Sprintf("Command died with status %d: \"%s\"", code, c.name()) + withOutput(output)
		return
	}
	r.Reason = m.text + withOutput(output)
}
