package queuetool

import (
	"context"
	"fmt"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/mta/submitter"
)

// Settings are the parameters about users who ask about the queue.
type Settings struct {
	MailqUsers string `set:"authorized_mailq_users" default:"static:anyone" doc:"users who may list the queue"`
	FlushUsers string `set:"authorized_flush_users" default:"static:anyone" doc:"users who may have the queue flushed"`
}

var _ = postfix.Register("postqueue", Settings{})

// Access is who may list and flush the queue besides root and the mail system. A nil
// Access allows it to everyone.
type Access struct {
	mailq, flush resolve.List
}

// NewAccess returns the Access of a configuration.
func NewAccess(main *postfix.Main, open resolve.Opener) (*Access, error) {
	set, err := postfix.Get[Settings](main)
	if err != nil {
		return nil, err
	}
	a := new(Access)
	if a.mailq, err = open.OpenList("authorized_mailq_users", set.MailqUsers, resolve.StringList); err != nil {
		return nil, err
	}
	a.flush, err = open.OpenList("authorized_flush_users", set.FlushUsers, resolve.StringList)
	return a, err
}

// A deniedError says what a user may not do.
type deniedError struct{ text string }

func (e *deniedError) Error() string { return e.text }

// check returns an error if the user who asks may not have a request done.
func (a *Access) check(may right, asks who) error {
	switch {
	case asks.root:
		return nil
	case may == reading:
		return &deniedError{"open queue file: " + reason(syscall.EACCES)}
	case may == changing:
		return &deniedError{"use of this command is reserved for the superuser"}
	case a == nil:
		return nil
	}
	users, what := a.mailq, "view"
	if may == flushing {
		users, what = a.flush, "flush"
	}
	name := submitter.Lookup(asks.uid).Name
	if name == "" {
		name = "unknown"
	}
	ok, err := users.Match(context.Background(), name)
	if err != nil {
		return fmt.Errorf("look up who may %s the mail queue: %w", what, err)
	}
	if !ok {
		return &deniedError{fmt.Sprintf("User %s(%d) is not allowed to %s the mail queue", name, asks.uid, what)}
	}
	return nil
}
