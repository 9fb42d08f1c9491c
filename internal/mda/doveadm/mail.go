package doveadm

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// A mailUser is the user for whom a mail command runs now: with the rights of that
// user, in the home directory.
type mailUser struct {
	*store.User
	in   *invocation
	name string // as it was asked for
}

// print prints the next value of the row.
func (u *mailUser) print(value string) { u.in.print.print(value) }

// stream prints the next value of the row, which may be long.
func (u *mailUser) stream(r io.Reader) error { return u.in.print.stream(r) }

// report prints an error of a command that goes on.
func (u *mailUser) report(err error) { u.in.log.report(err) }

// A mailRun is a mail command on its way through users.
type mailRun struct {
	in       *invocation
	work     runFunc
	users    *userdb
	lookup   bool // users are looked up in the userdb
	several  bool
	servers  *servers // that run the command instead of this process; nil for none
	identity identity
	killed   chan os.Signal
}

// mail runs a mail command for the users that its options select.
func (in *invocation) mail() error {
	r := &mailRun{in: in, lookup: in.client != nil || in.set("user") || in.set("user-file") || in.set("all-users"), killed: make(chan os.Signal, 1)}
	name, mask := r.selection()
	if mask != "" {
		in.titled("username", "Username", sticky|hidden)
	}
	if r.several = mask != ""; r.several && in.client != nil {
		name, r.several = in.client.user, false // one of them; the client asks for each
		in.stick("username", name)
	}
	if !r.several && name == "" {
		return fatalf(exUsage, "USER environment is missing and -u option not used")
	}
	var err error
	if r.work, err = in.cmd.mail(in); err != nil {
		return err
	}
	if r.users, err = newUserdb(in.session); err != nil {
		return err
	}
	defer r.users.close()
	if r.servers, err = newServers(in, r.users); err != nil {
		return err
	}
	defer r.servers.close()
	syscall.Umask(0o077)
	signal.Notify(r.killed, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(r.killed)
	if r.several {
		return r.all(mask)
	}
	return r.single(name)
}

// selection returns the user, or the mask of several.
func (r *mailRun) selection() (name, mask string) {
	name = os.Getenv("USER")
	if r.in.client != nil {
		name = r.in.client.user
	}
	if user, ok := r.in.text("user"); ok {
		if r.in.client == nil {
			name = user
		}
		if strings.ContainsAny(user, "*?") {
			mask = user
		}
	}
	if mask == "" && (r.in.set("all-users") || r.in.set("user-file")) {
		mask = "*"
	}
	return name, mask
}

// single runs the command for one user. That is who this process remains.
func (r *mailRun) single(name string) error {
	found, _, err := r.next(name)
	switch {
	case fatalOf(err) != nil:
		return err
	case err != nil:
		r.in.log.errorf("%v", err)
		r.in.log.fail(exTempFail)
	case !found:
		r.in.log.errorf("User doesn't exist")
		r.in.log.fail(exNoUser)
	}
	return nil
}

// all runs the command for all users that match the mask.
func (r *mailRun) all(mask string) error {
	each, err := r.names(mask)
	failed := err != nil
	if err == nil {
		failed = each(func(name string) (more bool) {
			r.in.stick("username", name)
			var found, stop bool
			if found, stop, err = r.next(name); fatalOf(err) != nil {
				return false
			}
			switch {
			case err != nil:
				r.in.log.errorf("%v", err)
				r.in.log.fail(exTempFail)
			case !found:
				r.in.log.infof("User no longer exists, skipping")
			}
			return !stop
		})
	}
	if fatalOf(err) != nil {
		return err
	}
	if r.in.global.verbose {
		r.in.stdout.put("\n") // behind the progress that Dovecot shows
	}
	r.in.log.prefix = "doveadm: "
	if failed {
		r.in.log.errorf("Failed to iterate through some users")
		r.in.log.fail(exTempFail)
	}
	return nil
}

// next runs the command for one user. An error is why that was impossible; what
// went wrong in the command is reported. stop says that other users will not
// fare better.
func (r *mailRun) next(name string) (found, stop bool, err error) {
	r.in.log.prefix = "doveadm(" + r.in.client.tag() + name + "): "
	if r.in.global.format == "formatted" {
		return true, true, fatalf(exTempFail, "formatted formatter cannot be used without a format.")
	}
	if done, found, err := r.servers.run(name); done || err != nil {
		return found, err != nil, err
	}
	info, err := r.info(name)
	switch {
	case err == errNoUser:
		return false, false, nil
	case err != nil:
		return true, r.users.lost, err
	}
	if err := r.become(info); err != nil {
		return true, true, err
	}
	defer r.restore()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	stopWatching := r.watch(cancel)
	err = r.run(ctx, name, info)
	stopWatching()
	if why := context.Cause(ctx); why != nil {
		r.in.log.line(maillog.Warning, why.Error())
		r.in.log.fail(exTempFail)
		return true, true, nil
	}
	return true, false, err
}

// watch cancels the command at a signal, until it is told to stop watching.
func (r *mailRun) watch(cancel context.CancelCauseFunc) (stop func()) {
	done := make(chan struct{})
	go func() {
		select {
		case sig := <-r.killed:
			cancel(fmt.Errorf("Killed with signal %d", sig))
		case <-done:
		}
	}()
	return func() { close(done) }
}

// run opens the user's mail and does the command's work.
func (r *mailRun) run(ctx context.Context, name string, info *store.UserInfo) error {
	log := r.in.log.logger()
	pool := mailbox.NewPool(log)
	defer pool.Close()
	if r.identity.changed {
		pool.RecoverForeign(func(top string) error { return r.recoverForeign(top, log) })
	}
	user, err := store.OpenUser(ctx, r.in.cfg, *info, pool, log)
	if err != nil {
		return err
	}
	defer user.Close()
	if _, ok := r.in.text("user"); ok || r.several {
		user.LookUpOwners(r.users.owner)
	}
	err = r.work(ctx, &mailUser{User: user, in: r.in, name: name})
	if fatalOf(err) != nil {
		return err
	}
	if ctx.Err() == nil {
		r.in.log.report(err)
	}
	return nil
}
