package doveadm

import (
	"context"
	"errors"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// metadataCommands are about attributes of mailboxes (RFC 5464).
var metadataCommands = []*command{
	{
		name: "mailbox metadata set", usage: "[-s] <mailbox> <key> <value>",
		params: mailParams(emptyName, argument("mailbox"), argument("key"), argument("value")),
		mail:   prepareMetadataSet,
	},
	{
		name: "mailbox metadata unset", usage: "[-s] <mailbox> <key>",
		params: mailParams(emptyName, argument("mailbox"), argument("key")), mail: prepareMetadataUnset,
	},
	{
		name: "mailbox metadata get", usage: "[-s] <mailbox> <key>", format: "flow",
		params: mailParams(emptyName, argument("mailbox"), argument("key")), mail: prepareMetadataGet,
	},
	{
		name: "mailbox metadata list", usage: "[-s] [-p] <mailbox> [<key prefix>]", format: "flow",
		params: mailParams(emptyName, flag('p', "prepend-prefix"), argument("mailbox"), argument("key-prefix")),
		mail:   prepareMetadataList,
	},
}

// emptyName permits an empty name of a mailbox, which stands for the server.
var emptyName = flag('s', "allow-empty-mailbox-name")

// parseAttribute reads the name of an attribute: "/private/comment".
func parseAttribute(name, key string) (store.Attribute, error) {
	a := store.Attribute{Mailbox: name}
	low := strings.ToLower(key)
	kind, rest, _ := strings.Cut(strings.TrimPrefix(low, "/"), "/")
	if !strings.HasPrefix(low, "/") || kind != "private" && kind != "shared" {
		return a, fatalf(exUsage, "Invalid metadata key '%s': Must begin with /private or /shared", low)
	}
	a.Shared, a.Key = kind == "shared", rest
	return a, nil
}

// attribute reads the arguments that name an attribute.
func (in *invocation) attribute() (a store.Attribute, err error) {
	name, ok1 := in.text("mailbox")
	key, ok2 := in.text("key")
	if !ok1 || !ok2 {
		return a, errUsage
	}
	return parseAttribute(name, key)
}

// allowed reports an empty name that -s has not permitted; it is not noticed before
// the user is known.
func (u *mailUser) allowed(name, what string) error {
	if name != "" || u.in.set(emptyName.name) {
		return nil
	}
	return withStatus(exUsage, "Failed to %s: mailbox name cannot be empty", what)
}

func prepareMetadataSet(in *invocation) (runFunc, error) {
	a, err := in.attribute()
	value, ok := in.text("value")
	if err == nil && !ok {
		err = errUsage
	}
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, u *mailUser) error {
		return u.changeAttribute(a, func() error { return u.SetMetadata(ctx, a, value) })
	}, nil
}

func prepareMetadataUnset(in *invocation) (runFunc, error) {
	a, err := in.attribute()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, u *mailUser) error {
		return u.changeAttribute(a, func() error { return u.UnsetMetadata(ctx, a) })
	}, nil
}

func (u *mailUser) changeAttribute(a store.Attribute, change func() error) error {
	if err := u.allowed(a.Mailbox, "set attribute"); err != nil {
		return err
	}
	err := change()
	if err == nil {
		return nil
	}
	if statusOf(err) == exNotFound {
		return failed(err, "Failed to open mailbox")
	}
	return failed(err, "Failed to set attribute")
}

func prepareMetadataGet(in *invocation) (runFunc, error) {
	a, err := in.attribute()
	if err != nil {
		return nil, err
	}
	in.column("value", hidden)
	return func(ctx context.Context, u *mailUser) error {
		if err := u.allowed(a.Mailbox, "get attribute"); err != nil {
			return err
		}
		value, _, err := u.Metadata(ctx, a)
		if err != nil {
			return failed(err, "Failed to get attribute")
		}
		u.print(value)
		return nil
	}, nil
}

func prepareMetadataList(in *invocation) (runFunc, error) {
	name, ok := in.text("mailbox")
	if !ok {
		return nil, errUsage
	}
	a := store.Attribute{Mailbox: name}
	if key, ok := in.text("key-prefix"); ok {
		var err error
		if a, err = parseAttribute(name, key); err != nil {
			return nil, err
		}
	}
	in.column("key", hidden)
	withPrefix := in.set("prepend-prefix")
	return func(ctx context.Context, u *mailUser) error {
		if err := u.allowed(name, "list attribute"); err != nil {
			return err
		}
		// As Dovecot: a prefix that has no key, or none at all, means both kinds; the
		// server's keys always have one.
		var errs []error
		both := a.Key == "" && name != ""
		for _, shared := range []bool{false, true} {
			if both || shared == a.Shared {
				a := a
				a.Shared = shared
				errs = append(errs, u.listAttributes(ctx, a, withPrefix))
			}
		}
		for _, err := range errs {
			u.report(err)
		}
		return nil
	}, nil
}

func (u *mailUser) listAttributes(ctx context.Context, a store.Attribute, withPrefix bool) error {
	prefix := ""
	if withPrefix {
		prefix = "/private/"
		if a.Shared {
			prefix = "/shared/"
		}
	}
	keys, err := u.ListMetadata(ctx, a)
	for _, key := range keys {
		u.print(prefix + key)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		return failed(err, "Mailbox %s: Failed to iterate mailbox attributes", a.Mailbox)
	}
	return nil
}
