package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// autoexpungeLock is the file that only one session of a user holds at a time: the others need not
// do the same, and what lazy_expunge keeps is kept once.
const autoexpungeLock = "dovecot.autoexpunge.lock"

// autoexpungeBatch is how many messages are expunged together.
const autoexpungeBatch = 1000

// expires reports whether messages of the mailbox do not stay for ever.
func (box *MailboxSetting) expires() bool { return box.AutoExpunge > 0 || box.AutoExpungeMax > 0 }

// AutoExpunges reports whether [User.AutoExpunge] has anything to do.
func (u *User) AutoExpunges() bool {
	for _, ns := range u.namespaces {
		if ns.aliasFor == nil && ns.expires() {
			return true
		}
	}
	return false
}

func (ns *Namespace) expires() bool {
	for _, name := range ns.order {
		if ns.boxes[name].expires() {
			return true
		}
	}
	return false
}

// AutoExpunge expunges what is older than autoexpunge or more than autoexpunge_max_mails, unless
// another session is doing so, and returns how many messages went. It is called when a session is over.
func (u *User) AutoExpunge(ctx context.Context) (expunged int) {
	if !u.AutoExpunges() {
		return 0
	}
	lock, err := u.lockAutoexpunge(ctx)
	switch {
	case errors.Is(err, mailbox.ErrLocked):
		return 0
	case err != nil:
		u.log.Errorf("autoexpunge: Couldn't create %s lock: %v", autoexpungeLock, err)
	default:
		defer lock.unlock()
	}
	for _, ns := range u.namespaces {
		if ns.aliasFor != nil || !ns.expires() {
			continue
		}
		for _, name := range ns.order {
			if box := ns.boxes[name]; box.expires() {
				expunged += u.autoexpungeSetting(ctx, ns, box)
			}
		}
	}
	return expunged
}

// lockAutoexpunge takes the lock without waiting. An ErrLocked says that another session has it.
func (u *User) lockAutoexpunge(ctx context.Context) (*listLock, error) {
	if u.info.Home == "" {
		return nil, errors.New("User has no home directory")
	}
	dir := u.info.Home
	for _, ns := range u.namespaces {
		if !ns.Inbox || ns.st.volatile == "" {
			continue
		}
		dir = ns.st.volatile
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	return takeLock(ctx, filepath.Join(dir, autoexpungeLock), time.Now())
}

// autoexpungeSetting works on the mailboxes that a section is about.
func (u *User) autoexpungeSetting(ctx context.Context, ns *Namespace, box *MailboxSetting) (expunged int) {
	names := []string{ns.fullSetting(box.Name)}
	if strings.ContainsAny(box.Name, "*?") {
		var err error
		if names, err = ns.namesOf(newGlob(ns.full(box.Name), ns.Sep, true)); err != nil {
			u.log.Errorf("Failed to iterate autoexpunge mailboxes '%s': %v", ns.full(box.Name), err)
			return 0
		}
	}
	for _, name := range names {
		n, err := u.autoexpungeMailbox(ctx, name, box)
		if err != nil {
			u.log.Errorf("Mailbox %s: Failed to autoexpunge: %v", name, err)
		}
		expunged += n
	}
	return expunged
}

// fullSetting returns the name of the mailbox that a section is about.
func (ns *Namespace) fullSetting(name string) string {
	if name == "" {
		return ns.prefixName()
	}
	return ns.full(ns.canonical(name))
}

// namesOf returns the mailboxes on disk whose names match.
func (ns *Namespace) namesOf(g glob) (names []string, err error) {
	top, err := ns.st.names().tree(ns, []glob{g})
	if err != nil {
		return nil, err
	}
	top.each(func(n *node) {
		if n.selectable && g.match(n.name) && !ns.isAliasInbox(n.name) {
			names = append(names, n.name)
		}
	})
	return names, nil
}

// autoexpungeMailbox works on one mailbox.
func (u *User) autoexpungeMailbox(ctx context.Context, name string, box *MailboxSetting) (expunged int, err error) {
	p, err := u.resolve(name)
	if err != nil {
		return 0, err
	}
	if s, ok := u.knownStatus(ctx, p); ok && (s.Messages == 0 || box.AutoExpunge == 0 && s.Messages <= box.AutoExpungeMax) {
		return 0, nil
	}
	if made, err := u.made(p.ns, p.name); err != nil || !made {
		return 0, err // it is made when it is needed
	}
	m, err := u.openFor(ctx, name, toExpire)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	for {
		snap, err := m.Sync(ctx)
		if err != nil {
			return expunged, err
		}
		uids, err := expired(m, snap, box, time.Now())
		if len(uids) > 0 {
			err = errors.Join(err, m.Expunge(ctx, uids))
		}
		if err != nil {
			return expunged, err
		}
		expunged += len(uids)
		if len(uids) < autoexpungeBatch {
			return expunged, nil
		}
	}
}

// knownStatus returns what the list index tells of a mailbox without its being opened.
func (u *User) knownStatus(ctx context.Context, p place) (Status, bool) {
	if !u.statusCached(p) {
		return Status{}, false
	}
	return u.listStatus(ctx, p, false)
}

// expired returns the first messages that are to go. The oldest are first: at one that may stay
// it ends.
func expired(m *mailbox.Mailbox, snap *mailbox.Snapshot, box *MailboxSetting, now time.Time) (uids []uint32, err error) {
	limit := now.Add(-box.AutoExpunge)
	renamed := m.Renamed()
	if renamed.After(now.Add(time.Minute)) {
		renamed = time.Time{} // nobody has renamed it in the future
	}
	for i := range min(snap.Len(), autoexpungeBatch) {
		if box.AutoExpungeMax > 0 && snap.Len()-i > int(box.AutoExpungeMax) {
			uids = append(uids, snap.UID(i))
			continue
		}
		if box.AutoExpunge == 0 {
			break
		}
		saved, err := savedAt(m, snap.UID(i))
		if errors.Is(err, mailbox.ErrExpunged) {
			continue
		}
		if err != nil {
			return uids, err
		}
		if saved.After(limit) || renamed.After(limit) {
			break
		}
		uids = append(uids, snap.UID(i))
	}
	return uids, nil
}

func savedAt(m *mailbox.Mailbox, uid uint32) (time.Time, error) {
	msg, err := m.Message(uid)
	if err != nil {
		return time.Time{}, err
	}
	return msg.Saved()
}
