package doveadm

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
)

// loginCommands try logins.
var loginCommands = []*command{
	{
		name: "auth login", usage: "[-a <auth-login socket path>] [-m <auth-master socket path>] [-x <auth info>] [-M <master user>] <user> [<password>]",
		params: []param{
			option('a', "socket-path"), option('m', "auth-master-socket-path"), options('x', "auth-info"), option('M', "master-user"),
			argument("user"), argument("password"),
		},
		plain: runAuthLogin,
	},
}

// A trial is a login that is tried.
type trial struct {
	in   *invocation
	user string
	conn *client.Client
}

// newTrial connects to the socket of auth.
func (in *invocation) newTrial(ctx context.Context, socket string) (*trial, error) {
	user, ok := in.text("user")
	if !ok {
		return nil, errUsage
	}
	path, err := in.socketPath(socket)
	if err != nil {
		return nil, err
	}
	conn, err := client.Dial(ctx, "unix", path, client.Options{})
	if err != nil {
		return nil, fatalf(exTempFail, "Couldn't connect to auth socket: connect(%s) failed: %s", path, reason(err))
	}
	return &trial{in, user, conn}, nil
}

// run tries the login and prints what is answered. A failure is errReported.
func (t *trial) run(ctx context.Context) (*client.Result, error) {
	in := t.in
	info, err := in.authInfo()
	if err != nil {
		return nil, err
	}
	password, ok := in.text("password")
	if !ok {
		if password, err = in.askPassword("Password: "); err != nil {
			return nil, err
		}
	}
	request := &client.Request{
		Mechanism: "PLAIN", Service: info.Service, Session: info.Session, LocalName: info.LocalName,
		Local: info.Local, Remote: info.Remote, RealLocal: info.RealLocal, RealRemote: info.RealRemote,
		ForwardFields: info.ForwardFields, Extra: info.Extra, HasInitial: true,
	}
	master := t.user
	if name, ok := in.text("master-user"); ok {
		master = name
	}
	request.Initial = []byte(t.user + "\x00" + master + "\x00" + password)
	result, err := t.conn.Authenticate(ctx, request, func([]byte) ([]byte, error) { return nil, client.ErrAborted })
	var refused *client.Failure
	switch {
	case err == nil:
		in.stdout.put("passdb: " + t.user + " auth succeeded\nextra fields:\n")
		for _, f := range result.Fields {
			in.stdout.put("  " + fieldText(f) + "\n")
		}
		return &result, nil
	case errors.As(err, &refused):
		t.refused(refused)
		return nil, exitStatus(exNoPerm)
	}
	return nil, fatalf(exTempFail, "%v", err)
}

func (t *trial) refused(f *client.Failure) {
	out := t.in.stdout
	out.put("passdb: " + t.user + " auth failed\nextra fields:\n  user=" + f.User + "\n")
	if f.Code != "" {
		out.put("  code=" + f.Code + "\n")
	}
	if f.Reason != "" {
		out.put("  reason=" + f.Reason + "\n")
	}
}

// runAuthTest tries a login.
func runAuthTest(in *invocation) error {
	ctx := context.Background()
	t, err := in.newTrial(ctx, "auth-client")
	if err != nil {
		return err
	}
	defer t.conn.Close()
	_, err = t.run(ctx)
	return err
}

// runAuthLogin does what a login process does and then a mail process: it tries the
// login, and has it confirmed.
func runAuthLogin(in *invocation) error {
	ctx := context.Background()
	t, err := in.newTrial(ctx, "auth-login")
	if err != nil {
		return err
	}
	defer t.conn.Close()
	result, err := t.run(ctx)
	if err != nil {
		return err
	}
	socket, ok := in.text("auth-master-socket-path")
	if !ok {
		if socket, err = in.baseDir("auth-master"); err != nil {
			return err
		}
	}
	conn, err := client.DialMaster(ctx, "unix", socket, nil)
	if err != nil {
		return fatalf(exTempFail, "auth-master: connect(%s) failed: %s", socket, reason(err))
	}
	defer conn.Close()
	user, err := conn.Request(ctx, result.PID, result.ID, result.Cookie)
	if err != nil {
		in.log.errorf("auth-master: login: request [%d]: Login auth request failed: Internal auth failure (client-pid=%d client-id=%d)", os.Getpid(), result.PID, result.ID)
		in.log.errorf("userdb lookup failed: Internal error occurred. Refer to server log for more information.")
		return exitStatus(exNoPerm)
	}
	fmt.Fprintf(in.stdout, "userdb extra fields:\n  %s\n", user.Username)
	for _, f := range user.Fields {
		if f.Name == "auth_token" { // which a session gets, and nobody else
			continue
		}
		in.stdout.put("  " + fieldText(f) + "\n")
	}
	return nil
}
