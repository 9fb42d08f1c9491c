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
func (q *userQuota) execute(ctx context.Context, words []string) {
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
func (q *userQuota) callScript(ctx context.Context, name string, args []string) error {
	path, err := q.u.scriptSocket(name)
	if err != nil {
		return err
	}
	return tellScript(ctx, "unix", path, args)
}

// scriptSocket returns the path of the socket of a service whose executable is script.
func (u *User) scriptSocket(name string) (string, error) {
	if filepath.IsAbs(name) {
		return name, nil
	}
	core, err := dovecot.Get[dovecot.Master](u.cfg, dovecot.Filter{})
	if err != nil {
		return "", err
	}
	return filepath.Join(core.BaseDir, name), nil
}

// scriptHello begins what such a service is told. In the next line "noreply" means that no answer is wanted.
const scriptHello = "VERSION\tscript\t4\t0\n"

// dialScript gives arguments to such a service. The caller closes the connection.
func dialScript(ctx context.Context, network, address, reply string, args []string) (net.Conn, error) {
	d := net.Dialer{Timeout: warningConnect}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	text := []byte(scriptHello + reply + "\n")
	for _, arg := range args {
		text = append(appendTabEscaped(text, arg), '\n')
	}
	deadline, _ := ctx.Deadline()
	err = conn.SetDeadline(deadline)
	if err == nil {
		_, err = conn.Write(append(text, '\n'))
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// tellScript gives arguments to such a service, and waits for the end of its program.
func tellScript(ctx context.Context, network, address string, args []string) error {
	conn, err := dialScript(ctx, network, address, "noreply", args)
	if err != nil {
		return err
	}
	defer conn.Close()
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
