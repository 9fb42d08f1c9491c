package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/quota"
)

var (
	_ = dovecot.RegisterPlugin("quota", "quota", "quota[0-9]", "quota[0-9][0-9]", "quota_vsizes", "quota_max_mail_size", "quota_exceeded_message",
		"quota*_rule", "quota*_rule[0-9]*", "quota*_warning", "quota*_warning[0-9]*", "quota*_grace", "quota*_set",
		"quota*_over_script", "quota*_over_flag", "quota*_over_flag_value", "quota*_over_flag_lazy_check")
	_ = dovecot.RegisterPlugin("imap_quota")
)

// quotaExceeded is said where quota_exceeded_message is not set, mailTooLarge of a message over quota_max_mail_size.
const (
	quotaExceeded = "Quota exceeded (mailbox for user is full)"
	mailTooLarge  = "Mail size is larger than the maximum size allowed by server configuration"
)

// A userQuota is Dovecot's plugin quota for one user. A nil one bounds nothing.
type userQuota struct {
	u        *User
	virtual  bool  // sizes are those with every line end counted as CRLF
	maxMail  int64 // 0 for none
	exceeded string
	roots    []*quotaRoot
	account  *quotaAccount // nil without roots
	clone    *quotaClone   // nil without the plugin quota_clone

	configured bool // there is a root, though perhaps one that is of no use for this user
}

// A quotaRoot is one root with what keeps its usage.
type quotaRoot struct {
	*quota.Root
	ns      *Namespace // the only one; nil for all private ones
	backend quotaBackend

	over     *overFlag // nil if there is nothing to check, or until the user is open
	overOnce sync.Once
}

// A quotaBackend keeps the usage of a root. Its methods are called with the account locked.
type quotaBackend interface {
	// usage returns the usage, and the limits of all mailboxes.
	usage(ctx context.Context) (quota.Usage, quota.Limit, error)
	// add notes a change, which was made.
	add(ctx context.Context, diff quota.Usage) error
	// recalculate looks at all messages anew.
	recalculate(ctx context.Context) error
	// tracks reports whether add does anything.
	tracks() bool
	close()
}

// newUserQuota returns that of a user; nil if the plugin is not asked for, or nothing is configured.
func newUserQuota(u *User) (*userQuota, error) {
	if !u.HasPlugin("quota") {
		for _, name := range [...]string{"imap_quota", "quota_clone"} {
			if u.HasPlugin(name) {
				return nil, fmt.Errorf("Can't load plugin %s_plugin: Plugin quota must be loaded also (you must set: mail_plugins=$mail_plugins quota)", name)
			}
		}
		return nil, nil
	}
	q := &userQuota{u: u}
	if err := q.settings(); err != nil {
		q.close()
		return nil, fmt.Errorf("Failed to initialize quota: %w", err)
	}
	if !q.configured {
		return nil, nil
	}
	return q, nil
}

// settings reads the configuration.
func (q *userQuota) settings() error {
	set, err := q.u.plugin()
	if err != nil {
		return err
	}
	if q.virtual, err = set.getBool("quota_vsizes"); err != nil {
		return err
	}
	var ok bool
	if q.exceeded, ok, err = set.get("quota_exceeded_message"); err != nil {
		return err
	}
	if !ok {
		q.exceeded = quotaExceeded
	}
	if text, ok, err := set.get("quota_max_mail_size"); err != nil {
		return err
	} else if ok {
		size, err := dovecot.ParseSize(text)
		if err != nil {
			return fmt.Errorf("quota_max_mail_size: %w", err)
		}
		q.maxMail = int64(size)
	}
	roots, err := quota.ReadRoots(set.get, func(text string) { q.u.log.Warningf("%s", text) })
	if err != nil {
		return err
	}
	q.configured = len(roots) > 0 || q.maxMail > 0
	for _, r := range roots {
		if r.IgnoreUnlimited && !r.HasLimits() {
			continue
		}
		if err := q.addRoot(r); err != nil {
			return fmt.Errorf("Quota root %s: %s quota init failed: %w", r.Name, r.Backend, err)
		}
	}
	if len(q.roots) > 0 {
		q.account = quotaAccounts.take(q.u.info.Username)
	}
	q.clone, err = newQuotaClone(q)
	return err
}

func (q *userQuota) addRoot(def *quota.Root) error {
	r := &quotaRoot{Root: def}
	if def.InNamespace {
		for _, ns := range q.u.namespaces {
			if ns.Prefix == def.Namespace {
				r.ns = ns
			}
		}
		if r.ns == nil {
			q.u.log.Errorf("quota: Unknown namespace: %s", def.Namespace)
		}
	}
	switch def.Backend {
	case quota.Count:
		if !q.virtual {
			return errors.New("quota count backend requires quota_vsizes=yes")
		}
		r.backend = &quotaCount{q, r}
	case quota.Maildir:
		r.backend = newQuotaMaildir(q, r)
	case quota.Dict:
		d, err := q.u.openDict(def.DictURI)
		if err != nil {
			return err
		}
		r.backend = &quotaDict{q: q, r: r, dict: d}
	}
	q.roots = append(q.roots, r)
	return nil
}

func (q *userQuota) close() {
	if q == nil {
		return
	}
	q.clone.close()
	for _, r := range q.roots {
		r.backend.close()
	}
	if q.account != nil {
		quotaAccounts.release(q.account)
	}
}

// covers reports whether the mailboxes of a namespace count.
func (r *quotaRoot) covers(ns *Namespace) bool {
	if ns.aliasFor != nil {
		ns = ns.aliasFor
	}
	if r.InNamespace {
		return r.ns == ns
	}
	return ns.Type == Private
}

// namespaces returns those whose mailboxes count, each place on disk once.
func (q *userQuota) namespaces(r *quotaRoot) (list []*Namespace) {
	seen := map[string]int{}
	for _, ns := range q.u.namespaces {
		if ns.aliasFor != nil || ns.unusable || !r.covers(ns) {
			continue
		}
		path := filepath.Clean(ns.st.boxes())
		switch i, again := seen[path]; {
		case !again:
			seen[path] = len(list)
			list = append(list, ns)
		case ns.Inbox:
			list[i] = ns // which has INBOX besides
		}
	}
	return list
}

// ruleName is the name of a mailbox to rules.
func (p place) ruleName() string {
	if ns := p.ns.aliasFor; ns != nil {
		return ns.full(p.ns.relative(p.name))
	}
	return p.name
}

// attach has a handle ask whether there is room.
func (q *userQuota) attach(m *mailbox.Mailbox, p place, why purpose) {
	if b := q.of(p, why); b != nil {
		m.SetQuota(b)
	}
}

// of returns what a mailbox has to ask; nil for nothing.
func (q *userQuota) of(p place, why purpose) *boxQuota {
	if q == nil {
		return nil
	}
	b := &boxQuota{q: q, ns: p.ns, grace: why == toDeliver}
	name := p.ruleName()
	for _, r := range q.roots {
		if r.covers(p.ns) && !r.Ignores(name) {
			b.roots = append(b.roots, boxRoot{r, name})
		}
	}
	if len(b.roots) == 0 && q.maxMail == 0 {
		return nil
	}
	return b
}
