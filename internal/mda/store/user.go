package store

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// UserInfo is who logs in, as the userdb described them.
type UserInfo struct {
	Username string
	UID, GID int
	Home     string
	// Fields are the userdb's extra fields. One that names a setting
	// overrides it ("mail=sdbox:~/other", "namespace/inbox/prefix=INBOX/").
	Fields  map[string]string
	Service string // imap, pop3, lmtp, doveadm

	Local, Remote netip.Addr
	SessionID     string
	AuthUser      string // who authenticated, where that is not Username
	Restored      bool   // the session had hibernated: nobody has logged in
}

// A User is an open user: namespaces and what they lead to. Methods may be
// called concurrently.
type User struct {
	info       UserInfo
	cfg        *dovecot.Config
	set        *mailbox.Settings
	pool       *mailbox.Pool
	log        *maillog.Logger
	namespaces []*Namespace
	owners     OwnerLookup
	mailLog    *mailLog      // nil without the plugin
	told       *notifyStatus // nil without the plugin notify_status
	access     *access       // nil without the plugin acl: everything is allowed
	quota      *userQuota    // nil without the plugin quota: there is always room
	lazy       *lazyExpunge  // nil without the plugin lazy_expunge
	fullText   *fullText     // nil without the plugin fts
	trash      *trash        // nil without the plugin trash
	escape     byte          // listescape_char with the plugin listescape, else 0

	background sync.WaitGroup // what goes on beside the session

	mu      sync.Mutex
	dynamic []*Namespace // of other users; replaced, never changed
}

// OpenUser makes the namespaces of the user. It touches no disk: home and mail
// root are made when they are first needed, mailboxes when they are opened.
func OpenUser(ctx context.Context, cfg *dovecot.Config, info UserInfo, pool *mailbox.Pool, log *maillog.Logger) (*User, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cfg, location, err := overridden(cfg, info.Fields)
	if err != nil {
		return nil, err
	}
	t, err := templateFor(cfg, dovecot.Filter{Service: info.Service, Local: info.Local, Remote: info.Remote})
	if err != nil {
		return nil, err
	}
	u := &User{info: info, cfg: cfg, pool: pool, log: log}
	if err := u.makeNamespaces(t, location); err != nil {
		return nil, err
	}
	if u.set, err = u.boxSettings(t); err != nil {
		return nil, err
	}
	if u.mailLog, err = newMailLog(u); err != nil {
		return nil, err
	}
	if u.told, err = newNotifyStatus(u); err != nil {
		return nil, err
	}
	if u.access, err = newAccess(u); err != nil {
		return nil, err
	}
	if u.lazy, err = newLazyExpunge(u); err != nil {
		return nil, err
	}
	if u.trash, err = newTrash(u); err != nil {
		return nil, err
	}
	if u.fullText, err = newFullText(u); err != nil {
		return nil, err
	}
	login, err := newLastLogin(u, time.Now())
	if err != nil {
		return nil, err
	}
	if u.quota, err = newUserQuota(u); err != nil {
		return nil, err
	}
	if err := u.checkOver(ctx); err != nil {
		return nil, err
	}
	if login != nil {
		u.background.Go(func() { login.write(ctx, u) })
	}
	return u, nil
}

// Close releases the user's descriptors. Open mailboxes stay open.
func (u *User) Close() {
	u.background.Wait()
	u.told.close()
	u.quota.close()
	for _, ns := range u.allNamespaces() {
		ns.charged.close()
		ns.close()
	}
}

// Info returns what the user was opened with; Home is filled in from mail_home.
func (u *User) Info() *UserInfo { return &u.info }

// Config returns the configuration with the userdb's overrides laid over it.
func (u *User) Config() *dovecot.Config { return u.cfg }

// Namespaces returns the namespaces in the order of NAMESPACE replies.
func (u *User) Namespaces() []*Namespace { return u.namespaces }

// Namespace returns the namespace a mailbox name belongs to.
func (u *User) Namespace(name string) (*Namespace, bool) {
	ns := u.namespaceOf(name)
	return ns, ns != nil
}
