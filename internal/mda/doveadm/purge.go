package doveadm

import "context"

var purgeCommand = &command{
	name: "purge", params: mailParams(),
	mail: func(*invocation) (runFunc, error) {
		return func(ctx context.Context, u *mailUser) error { return u.purge(ctx) }, nil
	},
}

// purge gives back the space of expunged messages.
func (u *mailUser) purge(ctx context.Context) error {
	if err := u.Purge(ctx); err != nil {
		return failed(err, "Purging namespace '%s' failed", u.inboxPrefix())
	}
	return nil
}

// inboxPrefix is the prefix of the namespace that has INBOX.
func (u *mailUser) inboxPrefix() string {
	for _, ns := range u.Namespaces() {
		if ns.Inbox {
			return ns.Prefix
		}
	}
	return ""
}
