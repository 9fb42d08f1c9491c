package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// Messages in the mailboxes of other users are charged to those, by the quota roots that the configuration gives
// them. As with Dovecot nobody asks the userdb for their limits: fields of who is logged in are over the
// configuration for them too.

// An ownerQuota is what mailboxes of another user are charged to.
type ownerQuota struct {
	once sync.Once
	user *User // the owner, with a private namespace where his mailboxes are shared
	err  error
}

// errOwnerGone says that the owner of mailboxes is no user any more.
var errOwnerGone = errors.New("there is no such user")

// ownerQuota returns the quota of the owner of a shared namespace, which is made when it is first needed.
func (u *User) ownerQuota(ns *Namespace) (*ownerQuota, error) {
	o := &ns.charged
	o.once.Do(func() {
		if o.user, o.err = u.openOwner(ns); o.err == nil {
			o.user.quota, o.err = newUserQuota(o.user)
		}
		if o.err != nil {
			o.err = fmt.Errorf("Couldn't create namespace '%s' for user %s: %w", ns.Prefix, ns.owner, o.err)
		}
	})
	return o, o.err
}

// openOwner returns the owner of a shared namespace, as far as quotas have to know him.
func (u *User) openOwner(ns *Namespace) (*User, error) {
	name, domain, _ := strings.Cut(ns.owner, "@")
	home, found, err := u.lookUpHome(ns, &otherUser{name: ns.owner, user: name, domain: domain})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errOwnerGone
	}
	info := u.info
	info.Username, info.Home, info.AuthUser = ns.owner, home, cmp.Or(u.info.AuthUser, u.info.Username)
	o := &User{info: info, cfg: u.cfg, set: u.set, pool: u.pool, log: u.log}
	o.namespaces = []*Namespace{{Type: Private, Sep: ns.Sep, Inbox: true, log: u.log, set: ns.set, conf: ns.conf, st: ns.st}}
	return o, nil
}

func (o *ownerQuota) close() {
	if o.user != nil {
		o.user.Close()
	}
}

// quotaFor returns the quota that a mailbox is charged to, and the name that it has there: a mailbox of
// another user that which he knows it by.
func (u *User) quotaFor(p place) (*userQuota, place, error) {
	if u.quota == nil || p.ns.owner == "" {
		return u.quota, p, nil
	}
	o, err := u.ownerQuota(p.ns)
	if err != nil || o.user.quota == nil {
		return nil, p, err
	}
	p.name, p.ns = p.ns.relative(p.name), o.user.namespaces[0]
	return o.user.quota, p, nil
}

// attachQuota has a handle ask whether there is room.
func (u *User) attachQuota(m *mailbox.Mailbox, p place, why purpose) error {
	q, p, err := u.quotaFor(p)
	if err != nil {
		return err
	}
	q.attach(m, p, why)
	return nil
}

// deletingQuota is [userQuota.deleting] of whoever is charged.
func (u *User) deletingQuota(ctx context.Context, m *mailbox.Mailbox, p place) (freed func()) {
	q, p, err := u.quotaFor(p)
	if err != nil {
		u.log.Errorf("quota: Failed to update quota for %s: %v", p.name, err)
		return func() {}
	}
	return q.deleting(ctx, m, p)
}
