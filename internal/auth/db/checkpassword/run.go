package checkpassword

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
)

const (
	// maxRequest is the size of what a program gets on descriptor 3.
	maxRequest = 512
	// maxReply bounds what it may answer.
	maxReply = 64 << 10
	// maxErrors bounds what is kept of its complaints.
	maxErrors = 4 << 10
	// Timeout is how long a program may take before it is killed.
	Timeout = 60 * time.Second
	// pipeDelay is how long the complaints of a program that has ended are read.
	pipeDelay = time.Second
)

// ErrTooLong says that name and password do not fit into a request.
type ErrTooLong int

func (n ErrTooLong) Error() string {
	return fmt.Sprintf("Username+password combination too long (%d bytes)", int(n))
}

// A Call is one run of a program.
type Call struct {
	Args     []string // program, its arguments, and the program that answers
	Env      []string
	User     string
	Password string // empty if AUTHORIZED is set
}

// A Reply is what a program did.
type Reply struct {
	PID    int
	Status int      // that it exited with
	Fields []string // of the answer: name=value
	Empty  bool     // there was no answer
	Errors []string // lines it wrote to the standard error output
}

// Run runs the program. An error is a temporary failure; also then the Reply
// has the complaints of the program.
func Run(ctx context.Context, c *Call) (*Reply, error) {
	if n := len(c.User) + len(c.Password) + 3; n > maxRequest {
		return nil, ErrTooLong(n)
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	request, err := filled(c.User + "\x00" + c.Password + "\x00\x00")
	if err != nil {
		return nil, err
	}
	defer request.Close()
	in, out, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pipe() failed: %w", err)
	}
	defer in.Close()
	var complaints limited
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Env, cmd.Dir, cmd.Stderr = c.Env, "/", &complaints
	cmd.ExtraFiles = []*os.File{request, out}
	// Whatever the program has started goes with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = pipeDelay
	err = cmd.Start()
	out.Close()
	if err != nil {
		var reason syscall.Errno
		if errors.As(err, &reason) {
			err = reason // without what os/exec calls it
		}
		return nil, fmt.Errorf("execv(%s) failed: %w", c.Args[0], err)
	}
	answer, readErr := readReply(ctx, in)
	if readErr != nil {
		cancel() // which kills it
	}
	err = cmd.Wait()
	r := &Reply{PID: cmd.Process.Pid, Status: cmd.ProcessState.ExitCode(), Empty: len(answer) == 0, Errors: complaints.lines()}
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	var exit *exec.ExitError
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return r, fmt.Errorf("Child %d did not finish within %v, killed", r.PID, Timeout)
	case readErr != nil:
		return r, readErr
	case ctx.Err() != nil:
		return r, ctx.Err()
	case status.Signaled():
		return r, fmt.Errorf("Child %d died with signal %d", r.PID, status.Signal())
	case err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay):
		return r, err
	}
	r.Fields, err = parseReply(answer)
	return r, err
}

// filled returns a pipe that holds text, which must be short, and then ends.
func filled(text string) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pipe() failed: %w", err)
	}
	_, err = w.WriteString(text)
	if err = errors.Join(err, w.Close()); err != nil {
		r.Close()
		return nil, fmt.Errorf("write() failed: %w", err)
	}
	return r, nil
}

// readReply reads descriptor 4 until everybody has closed it. After an error the
// program is of no use any more.
func readReply(ctx context.Context, in *os.File) ([]byte, error) {
	stop := context.AfterFunc(ctx, func() { _ = in.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	answer, err := io.ReadAll(io.LimitReader(in, maxReply+1))
	if err != nil {
		return nil, fmt.Errorf("read() failed: %w", err)
	}
	if len(answer) > maxReply {
		return nil, fmt.Errorf("checkpassword reply is longer than %d bytes", maxReply)
	}
	return answer, nil
}

// parseReply takes an answer apart.
func parseReply(answer []byte) ([]string, error) {
	switch {
	case bytes.IndexByte(answer, 0) >= 0:
		return nil, errors.New("NUL characters in checkpassword reply")
	case bytes.IndexByte(answer, '\n') >= 0:
		return nil, errors.New("LF characters in checkpassword reply")
	}
	var fields []string
	for field := range strings.SplitSeq(string(answer), "\t") {
		if field != "" {
			fields = append(fields, wire.Unescape(field))
		}
	}
	return fields, nil
}

// limited keeps the beginning of what is written to it.
type limited struct{ text []byte }

// Write implements [io.Writer].
func (l *limited) Write(p []byte) (int, error) {
	l.text = append(l.text, p[:min(len(p), maxErrors-len(l.text))]...)
	return len(p), nil
}

func (l *limited) lines() []string {
	var lines []string
	for line := range strings.Lines(string(l.text)) {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
