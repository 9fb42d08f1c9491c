package doveadm

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

var importCommand = &command{
	name: "import", usage: "[-U source-user] [-s] <source mail location> <dest parent mailbox> <search query>",
	params: mailParams(
		option('U', "source-user"), flag('s', "subscribe"),
		argument("source-location"), argument("dest-parent-mailbox"), arguments("query"),
	),
	mail: func(in *invocation) (runFunc, error) {
		im := &importer{subscribe: in.set("subscribe")}
		if err := im.prepare(in); err != nil {
			return nil, err
		}
		return im.run, nil
	},
}

// An importer copies messages from another location into mailboxes of the same names.
type importer struct {
	location  string
	parent    string // above the mailboxes; "" for none
	source    *store.UserInfo
	subscribe bool
	q         *query
}

func (im *importer) prepare(in *invocation) error {
	words := in.array("query")
	var ok bool
	if im.location, ok = in.text("source-location"); !ok || len(words) == 0 {
		return errUsage
	}
	im.parent, _ = in.text("dest-parent-mailbox")
	var err error
	if im.q, err = parseQuery(words); err != nil {
		return err
	}
	if name, ok := in.text("source-user"); ok {
		if im.source, err = in.lookup(name); err != nil {
			return err
		}
	}
	return nil
}

func (im *importer) run(ctx context.Context, u *mailUser) error {
	source := im.source
	if source == nil {
		source = u.Info()
	}
	err := u.withOther(ctx, source, im.location, func(src *mailUser) error {
		return src.changeBoxes(ctx, im.q, func(b *box) error { return im.box(ctx, u, src, b) })
	})
	var bad *store.LocationError
	if errors.As(err, &bad) {
		return fatalf(exTempFail, "Import namespace initialization failed: %s",
			strings.Replace(err.Error(), "mail_location setting", "mail_location parameter", 1))
	}
	return err
}

// box imports what matches in one mailbox.
func (im *importer) box(ctx context.Context, u, src *mailUser, b *box) error {
	uids, err := b.uids(ctx)
	if err != nil || len(uids) == 0 {
		return err
	}
	name := im.name(u, src, b.name)
	if err := u.Create(ctx, name); err != nil {
		var e *store.Error
		if !errors.As(err, &e) || e.Code != store.CodeAlreadyExists {
			return failed(err, "Couldn't create mailbox %s", name)
		}
	}
	if im.subscribe {
		if err := u.SubscribeName(ctx, name); err != nil {
			u.report(failed(err, "Couldn't subscribe to mailbox %s", name))
		}
	}
	dest, err := u.openBox(ctx, name)
	if err != nil {
		return failed(err, "Syncing mailbox %s failed", name)
	}
	defer dest.Close() //nolint:errcheck // what was to be saved is
	return eachBatch(ctx, uids, func(uids []uint32) error {
		if _, err := b.Copy(ctx, uids, dest.Mailbox); err != nil {
			return failed(err, "Committing copied mails to %s failed", name)
		}
		return nil
	})
}

// name is where the messages of a source mailbox go. A separator of the destination
// that is none in the source becomes "_".
func (im *importer) name(u, src *mailUser, name string) string {
	from, to := byte('/'), byte('/')
	if ns, ok := src.Namespace(name); ok {
		from = ns.Sep
	}
	parent := im.parent
	if parent == "" {
		parent = name
	}
	if ns, ok := u.Namespace(parent); ok {
		to = ns.Sep
	}
	name = strings.Map(func(c rune) rune {
		switch c {
		case rune(from):
			return rune(to)
		case rune(to):
			return '_'
		}
		return c
	}, name)
	if im.parent == "" {
		return name
	}
	return fmt.Sprintf("%s%c%s", im.parent, to, name)
}
