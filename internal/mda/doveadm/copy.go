package doveadm

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

var (
	copyCommand = copying("copy", false)
	moveCommand = copying("move", true)
)

func copying(name string, move bool) *command {
	return &command{
		name: name, usage: "<destination> [user <source user>] <search query>", format: "flow",
		params: mailParams(arguments("query")),
		mail: func(in *invocation) (runFunc, error) {
			c := &copier{move: move}
			if err := c.prepare(in); err != nil {
				return nil, err
			}
			return c.run, nil
		},
	}
}

// A copier copies or moves messages to a mailbox.
type copier struct {
	move   bool
	dest   string
	source *store.UserInfo // another user than that of the destination; nil if not
	q      *query
}

func (c *copier) prepare(in *invocation) error {
	words := in.array("query")
	if len(words) < 2 {
		return errUsage
	}
	c.dest, words = words[0], words[1:]
	if len(words) > 1 && strings.EqualFold(words[0], "user") {
		if !in.selectsUsers() {
			return fatalf(exTempFail, "Use -u parameter to specify destination user")
		}
		var err error
		if c.source, err = in.lookup(words[1]); err != nil {
			return err
		}
		words = words[2:]
	}
	var err error
	if c.q, err = parseQuery(words); err == nil && c.move {
		err = c.q.careful("move")
	}
	return err
}

// selectsUsers reports whether an option says which user the command is for.
func (in *invocation) selectsUsers() bool {
	return in.set("user") || in.set("user-file") || in.set("all-users")
}

// lookup asks the userdb for a user besides that of the command.
func (in *invocation) lookup(name string) (*store.UserInfo, error) {
	db, err := newUserdb(in.session)
	if err != nil {
		return nil, err
	}
	defer db.close()
	info, err := db.user(name)
	if errors.Is(err, errNoUser) {
		return nil, fatalf(exTempFail, "Couldn't lookup user %s: User doesn't exist", name)
	}
	if err == nil {
		err = (&mailRun{in: in}).complete(info)
	}
	if err != nil && fatalOf(err) == nil {
		err = fatalf(exTempFail, "Couldn't lookup user %s: %v", name, err)
	}
	return info, err
}

// withOther calls fn with another user's mail, opened with the rights of this one. An
// empty location is that of the user; else mail is there and nowhere else.
func (u *mailUser) withOther(ctx context.Context, info *store.UserInfo, location string, fn func(*mailUser) error) error {
	log := u.in.log.logger()
	pool := mailbox.NewPool(log)
	defer pool.Close()
	open := store.OpenUser
	if location != "" {
		open = func(ctx context.Context, cfg *dovecot.Config, info store.UserInfo, pool *mailbox.Pool, log *maillog.Logger) (*store.User, error) {
			return store.OpenLocation(ctx, cfg, info, location, pool, log)
		}
	}
	other, err := open(ctx, u.in.cfg, *info, pool, log)
	if err != nil {
		return err
	}
	defer other.Close()
	return fn(&mailUser{User: other, in: u.in, name: info.Username})
}

func (c *copier) run(ctx context.Context, u *mailUser) error {
	dest, err := u.openBox(ctx, c.dest)
	if err != nil {
		return failed(err, "Can't open mailbox '%s'", c.dest)
	}
	defer dest.Close() //nolint:errcheck // what was to be saved is
	from := func(src *mailUser) error {
		return src.changeBoxes(ctx, c.q, func(b *box) error { return c.box(ctx, b, dest) })
	}
	if c.source == nil {
		return from(u)
	}
	err = u.withOther(ctx, c.source, "", from)
	if err != nil && fatalOf(err) == nil {
		err = fmt.Errorf("Couldn't open mail of user %s: %w", c.source.Username, err)
	}
	return err
}

// box copies what matches. A message is expunged only after its copy is durable.
func (c *copier) box(ctx context.Context, b, dest *box) error {
	uids, err := b.uids(ctx)
	if err != nil {
		return err
	}
	return eachBatch(ctx, uids, func(uids []uint32) error {
		if c.move {
			if _, err := b.Move(ctx, uids, dest.Mailbox); err != nil {
				return failed(err, "Committing moved mails failed")
			}
			return nil
		}
		if _, err := b.Copy(ctx, uids, dest.Mailbox); err != nil {
			return failed(err, "Committing copied mails failed")
		}
		return nil
	})
}
