package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// How long it may take until somebody runs the command of a warning, and until it has run.
const (
	warningConnect = time.Second
	warningRun     = time.Minute
)

// execute runs the command of a warning: the first word names the socket of a service whose executable is
// script, which gets the other words as arguments, or with "exec:" a program.
func (q *userQuota) execute(ctx context.Context, command string) {
	words := strings.Fields(command)
	if len(words) == 0 {
		return
	}
	scheme, target, ok := strings.Cut(words[0], ":")
	if !ok {
		scheme, target = "unix", words[0]
	}
	ctx, cancel := context.WithTimeout(ctx, warningRun)
	defer cancel()
	var err error
	switch scheme {
	case "unix":
		err = q.callScript(ctx, target, words[1:])
	case "exec", "fork":
		err = run(ctx, target, words[1:])
	case "tcp":
		err = tellScript(ctx, "tcp", target, words[1:])
	default:
		err = errors.New("Invalid uri")
	}
	if err != nil {
		q.u.log.Errorf("quota: warning %s failed: %v", words[0], err)
	}
}

// callScript has the service with a socket run its program.
func (q *userQuota) callScript(ctx context.Context, path string, args []string) error {
	if !filepath.IsAbs(path) {
		core, err := dovecot.Get[dovecot.Master](q.u.cfg, dovecot.Filter{})
		if err != nil {
			return err
		}
		path = filepath.Join(core.BaseDir, path)
	}
	return tellScript(ctx, "unix", path, args)
}

// scriptHello begins what a service with the executable script is told: no answer is wanted.
const scriptHello = "VERSION\tscript\t4\t0\nnoreply\n"

// tellScript gives arguments to such a service, and waits for the end of its program.
func tellScript(ctx context.Context, network, address string, args []string) error {
	d := net.Dialer{Timeout: warningConnect}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	text := []byte(scriptHello)
	for _, arg := range args {
		text = append(appendTabEscaped(text, arg), '\n')
	}
	if _, err := conn.Write(append(text, '\n')); err != nil {
		return err
	}
	if w, ok := conn.(interface{ CloseWrite() error }); ok {
		if err := w.CloseWrite(); err != nil && !errors.Is(err, syscall.ENOTCONN) {
			return err
		}
	}
	// What the program prints, which nobody wants to see, ends when it does.
	if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		return err
	}
	return nil
}

// run runs a program of the administrator in this process's place.
func run(ctx context.Context, path string, args []string) error {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{} // as Dovecot, which leaves it none
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
