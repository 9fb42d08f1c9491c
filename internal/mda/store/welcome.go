package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

var _ = dovecot.RegisterPlugin("welcome", "welcome_script", "welcome_wait")

// welcomeTimeout bounds how long a user waits for the script.
const welcomeTimeout = 30 * time.Second

// welcome is Dovecot's plugin welcome: it runs the administrator's script when INBOX has been made. A failure is
// only logged.
func (u *User) welcome(ctx context.Context) {
	if !u.HasPlugin("welcome") {
		return
	}
	set, err := u.plugin()
	if err != nil {
		u.log.Errorf("welcome: %v", err)
		return
	}
	command, _, err1 := set.get("welcome_script")
	wait, err2 := set.getBool("welcome_wait")
	if err := errors.Join(err1, err2); err != nil {
		u.log.Errorf("welcome: %v", err)
		return
	}
	words := strings.Fields(command)
	if len(words) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), welcomeTimeout)
	defer cancel()
	path, err := u.scriptSocket(words[0])
	if err == nil && wait {
		err = askScript(ctx, path, words[1:])
	} else if err == nil {
		err = startScript(ctx, path, words[1:])
	}
	if err != nil {
		u.log.Errorf("welcome: %v", err)
	}
}

// startScript gives arguments to a service with the executable script, and does not wait.
func startScript(ctx context.Context, path string, args []string) error {
	conn, err := dialScript(ctx, "unix", path, "noreply", args)
	if err != nil {
		return fmt.Errorf("net_connect_unix(%s) failed: %w", path, err)
	}
	return conn.Close()
}

// askScript gives arguments to such a service, and waits for what it says of its program.
func askScript(ctx context.Context, path string, args []string) error {
	conn, err := dialScript(ctx, "unix", path, "-", args)
	if err != nil {
		return fmt.Errorf("net_connect_unix(%s) failed: %w", path, err)
	}
	defer conn.Close()
	answer := make([]byte, 1024)
	n, err := conn.Read(answer)
	switch {
	case err != nil && err != io.EOF:
		return fmt.Errorf("read(%s) failed: %w", path, err)
	case n < 2:
		return fmt.Errorf("%s failed: Only %d bytes read", path, n)
	case answer[0] != '+':
		return fmt.Errorf("%s failed: Script returned error", path)
	}
	return nil
}
