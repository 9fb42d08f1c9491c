package doveadm

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// parseGUID reads a GUID of 32 hexadecimal digits.
func parseGUID(text string) (guid [16]byte, ok bool) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(guid) {
		return guid, false
	}
	return [16]byte(b), true
}

func prepareMailboxCreate(in *invocation) (runFunc, error) {
	names, err := in.mailboxNames(in.array("mailbox")...)
	if err != nil {
		return nil, err
	}
	var guid [16]byte
	if text, ok := in.text("guid"); ok {
		if guid, ok = parseGUID(text); !ok {
			return nil, errUsage
		}
	}
	if len(names) == 0 {
		return nil, errUsage
	}
	subscribe := in.set("subscriptions")
	return func(ctx context.Context, u *mailUser) error {
		for _, name := range names {
			err := u.CreateGUID(ctx, name, guid)
			if ns, ok := u.Namespace(name); ok {
				name = strings.TrimSuffix(name, string(ns.Sep))
			}
			if err != nil {
				u.report(failed(err, "Can't create mailbox %s", name))
			}
			if subscribe {
				u.subscribe(ctx, name, true)
			}
		}
		return nil
	}, nil
}

// subscribe changes a subscription. Other than IMAP's it needs no mailbox.
func (u *mailUser) subscribe(ctx context.Context, name string, on bool) {
	if on {
		if err := u.SubscribeName(ctx, name); err != nil {
			u.report(failed(err, "Can't subscribe to mailbox %s", name))
		}
		return
	}
	if err := u.Unsubscribe(ctx, name); err != nil {
		u.report(failed(err, "Can't unsubscribe mailbox %s", name))
	}
}

func prepareMailboxSubscribe(in *invocation) (runFunc, error) { return prepareSubscription(in, true) }

func prepareMailboxUnsubscribe(in *invocation) (runFunc, error) {
	return prepareSubscription(in, false)
}

func prepareSubscription(in *invocation, on bool) (runFunc, error) {
	names, err := in.mailboxNames(in.array("mailbox")...)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errUsage
	}
	return func(ctx context.Context, u *mailUser) error {
		for _, name := range names {
			u.subscribe(ctx, name, on)
		}
		return nil
	}, nil
}

// errNotEmpty is why -e keeps a mailbox.
var errNotEmpty = &store.Error{Code: store.CodeAlreadyExists, Text: "Mailbox isn't empty"}

func prepareMailboxDelete(in *invocation) (runFunc, error) {
	names, err := in.mailboxNames(in.array("mailbox")...)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errUsage
	}
	names = sortedReverse(names)
	recursive, onlyEmpty, unsubscribe := in.set("recursive"), in.set("require-empty"), in.set("subscriptions")
	return func(ctx context.Context, u *mailUser) error {
		names := names
		if recursive {
			var err error
			if names, err = u.withChildren(ctx, names); err != nil {
				return err
			}
		}
		for _, name := range names {
			err := u.deleteMailbox(ctx, name, onlyEmpty)
			if err != nil {
				u.report(failed(err, "Can't delete mailbox %s", name))
			}
			if unsubscribe {
				u.subscribe(ctx, name, false)
			}
		}
		return nil
	}, nil
}

func (u *mailUser) deleteMailbox(ctx context.Context, name string, onlyEmpty bool) error {
	if !onlyEmpty {
		return u.Delete(ctx, name)
	}
	b, err := u.openBox(ctx, name)
	if err == nil {
		n := b.snap.Len()
		if err = b.Close(); err == nil && n > 0 {
			err = errNotEmpty
		}
	}
	if err != nil && statusOf(err) != exNotFound {
		return err
	}
	return u.Delete(ctx, name)
}

// withChildren adds the mailboxes below names. Those below come first.
func (u *mailUser) withChildren(ctx context.Context, names []string) ([]string, error) {
	var all []string
	for _, name := range names {
		pattern := "*"
		if name != "" {
			all = append(all, name)
			ns, ok := u.Namespace(name)
			if !ok {
				continue
			}
			pattern = name + string(ns.Sep) + "*"
		}
		list, err := u.List(ctx, store.ListQuery{Patterns: []string{pattern}})
		if err != nil {
			return nil, failed(err, "Listing mailboxes failed")
		}
		for _, e := range list {
			all = append(all, e.Name)
		}
	}
	return slices.Compact(sortedReverse(all)), nil
}

func prepareMailboxRename(in *invocation) (runFunc, error) {
	from, ok1 := in.text("mailbox")
	to, ok2 := in.text("new-name")
	if !ok1 || !ok2 {
		return nil, errUsage
	}
	if _, err := in.mailboxNames(from, to); err != nil {
		return nil, err
	}
	subscriptions := in.set("subscriptions")
	return func(ctx context.Context, u *mailUser) error {
		if err := u.Rename(ctx, from, to); err != nil {
			u.report(failed(err, "Can't rename mailbox %s to %s", from, to))
		}
		if subscriptions {
			u.subscribe(ctx, from, false)
			u.subscribe(ctx, to, true)
		}
		return nil
	}, nil
}

// pathTypes are what "mailbox path" can tell.
var pathTypes = []string{"dir", "alt-dir", "mailbox", "alt-mailbox", "control", "index", "index-private"}

func prepareMailboxPath(in *invocation) (runFunc, error) {
	names, err := in.mailboxNames(in.array("mailbox")...)
	if err != nil {
		return nil, err
	}
	kind, ok := in.text("type")
	if !ok {
		kind = "index"
	}
	if len(names) != 1 || !slices.Contains(pathTypes, kind) {
		return nil, errUsage
	}
	in.column("path", hidden)
	return func(ctx context.Context, u *mailUser) error {
		path, err := u.Path(names[0], kind)
		if err != nil {
			var e *store.Error
			if errors.As(err, &e) {
				err = failed(err, "Failed to lookup mailbox %s path", names[0])
			}
			return err
		}
		if path != "" {
			u.print(path)
		}
		return nil
	}, nil
}
