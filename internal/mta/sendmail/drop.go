package sendmail

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/postdrop"
)

// A drop is a running postdrop(1) that takes a submission.
type drop struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	buf     *bufio.Writer
	answers *bufio.Reader
	id      string // of the file
	done    bool
}

func (c *command) postdropCommand() string {
	return filepath.Join(c.set.CommandDirectory, "postdrop") + " -r"
}

// startPostdrop starts postdrop and waits until it has made a file.
func (c *command) startPostdrop() (*drop, error) {
	d := &drop{cmd: exec.Command(filepath.Join(c.set.CommandDirectory, "postdrop"), "-r")}
	d.cmd.Env = c.environment()
	d.cmd.Stderr = c.stderr
	var err error
	if d.in, err = d.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	d.buf = bufio.NewWriterSize(d.in, 32<<10)
	d.answers = bufio.NewReader(out)
	hello, err := readAttributes(d.answers)
	if err == nil && (hello["protocol"] != "postdrop_protocol" || hello["queue_id"] == "") {
		err = errors.New("unexpected answer")
	}
	if err != nil {
		d.in.Close()
		if failed := d.cmd.Wait(); failed != nil {
			c.warnf("command %q exited with status %d", c.postdropCommand(), d.cmd.ProcessState.ExitCode())
		}
		return nil, err
	}
	d.id = hello["queue_id"]
	return d, nil
}

// environment is what postdrop needs: the configuration, and what the
// administrator wants programs to have.
func (c *command) environment() []string {
	env := []string{"MAIL_CONFIG=" + c.dir}
	for _, item := range postfix.SplitList(c.set.ExportEnvironment) {
		name, _, assigned := strings.Cut(item, "=")
		value, set := os.LookupEnv(name)
		switch {
		case name == "MAIL_CONFIG":
		case assigned:
			env = append(env, item)
		case set:
			env = append(env, name+"="+value)
		}
	}
	return env
}

func (d *drop) Write(p []byte) (int, error) { return d.buf.Write(p) }

// finish ends the submission and returns postdrop's status, zero if the message is
// on the disk, with its reason. The error is how the command ended.
func (d *drop) finish() (status int, reason string, err error) {
	d.done = true
	// If postdrop has ended early its answer says why, not the broken pipe.
	flushed := d.buf.Flush()
	answer, err := readAttributes(d.answers)
	d.in.Close()
	waited := d.cmd.Wait()
	if err == nil {
		status, err = strconv.Atoi(answer["status"])
	}
	if err != nil || flushed != nil && status == 0 {
		status = postdrop.StatusWrite
	}
	return status, answer["reason"], waited
}

// cancel drops a submission that is not finished: postdrop removes the file when
// its input ends.
func (d *drop) cancel() {
	if d.done {
		return
	}
	d.in.Close()
	d.cmd.Wait() //nolint:errcheck // the failure is told
}

// maxAttributes bounds the bytes of an answer.
const maxAttributes = 1 << 16

// readAttributes reads names and values up to an empty name.
func readAttributes(in *bufio.Reader) (map[string]string, error) {
	all := map[string]string{}
	total := 0
	next := func() (string, error) {
		s, err := in.ReadString(0)
		if total += len(s); total > maxAttributes {
			return "", fmt.Errorf("answer of more than %d bytes", maxAttributes)
		}
		return strings.TrimSuffix(s, "\x00"), err
	}
	for {
		name, err := next()
		if err != nil {
			return nil, err
		}
		if name == "" {
			return all, nil
		}
		if all[name], err = next(); err != nil {
			return nil, err
		}
	}
}

// strstatus is the text of a status.
func strstatus(status int) string {
	for _, s := range []struct {
		bit  int
		text string
	}{
		{postdrop.StatusBad, "internal protocol error"}, {postdrop.StatusSize, "message file too big"},
		{postdrop.StatusWrite, "queue file write error"}, {postdrop.StatusDenied, "service denied"},
	} {
		if status&s.bit != 0 {
			return s.text
		}
	}
	return "unknown status " + strconv.Itoa(status)
}

// replace becomes another program.
func (c *command) replace(path string, args []string) int {
	err := syscall.Exec(path, args, os.Environ())
	fmt.Fprintf(c.stderr, "%s: fatal: execvp %s: %v\n", c.name, path, err)
	return exitTempFail
}
