package store

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/dict"
	"github.com/dovetail-mail/dovetail/internal/mda/store/acl"
)

// sharedBoxes begins the keys of the dictionary acl_shared_dict, by which users find those who
// share mailboxes with them: shared-boxes/user/TO/OWNER, shared-boxes/group/NAME/OWNER and
// shared-boxes/anyone/OWNER, with the value 1.
const sharedBoxes = dict.Shared + "shared-boxes/"

// maxSharers bounds how many owners one session learns of.
const maxSharers = maxOwners

// openDict returns the dictionary; nil if there is none.
func (a *access) openDict() (dict.Dict, error) {
	if a.dictURI == "" || a.dict != nil {
		return a.dict, nil
	}
	d, err := a.u.openDict(a.dictURI)
	if err == nil {
		a.dict = d
	}
	return d, err
}

// sharers returns who shares mailboxes with the user.
func (a *access) sharers(ctx context.Context) ([]string, error) {
	a.u.mu.Lock()
	d, err := a.openDict()
	a.u.mu.Unlock()
	if err != nil || d == nil {
		return nil, err
	}
	ids := []string{"anyone", "user/" + a.u.info.Username}
	for _, group := range a.who.Groups {
		ids = append(ids, "group/"+group)
	}
	var owners []string
	for _, id := range ids {
		prefix := sharedBoxes + id + "/"
		err := dict.Iterate(ctx, d, a.u.dictUser(), dict.Query{Prefix: prefix, Recurse: true, NoValue: true}, func(key, _ string) bool {
			owners = append(owners, strings.TrimPrefix(key, prefix))
			return len(owners) < maxSharers
		})
		if err != nil && !errors.Is(err, dict.ErrNotFound) {
			return nil, err
		}
	}
	slices.Sort(owners)
	return slices.Compact(owners), nil
}

// rebuildDict writes what the dictionary should say of the user, with the fewest changes.
func (a *access) rebuildDict(ctx context.Context) error {
	a.u.mu.Lock()
	d, err := a.openDict()
	a.u.mu.Unlock()
	if err != nil || d == nil {
		return err
	}
	want := map[string]bool{}
	var failed error
	for _, ns := range a.u.namespaces {
		if ns.Type != Private || !a.checks(ns) {
			continue
		}
		failed = errors.Join(failed, a.eachACL(ns, func(_ place, l acl.List) {
			for i := range l {
				if key := a.sharedKey(&l[i]); key != "" {
					want[key] = true
				}
			}
		}))
	}
	have := map[string]bool{}
	err = dict.Iterate(ctx, d, a.u.dictUser(), dict.Query{Prefix: sharedBoxes, Recurse: true, NoValue: true}, func(key, _ string) bool {
		if strings.HasSuffix(key, "/"+a.u.info.Username) {
			have[key] = true
		}
		return true
	})
	if err != nil && !errors.Is(err, dict.ErrNotFound) {
		return errors.Join(failed, err)
	}
	tx := dict.Begin(d, a.u.dictUser())
	for key := range want {
		if !have[key] {
			tx.Set(key, "1")
		}
	}
	for key := range have {
		if !want[key] && failed == nil { // what could not be read may still be shared
			tx.Unset(key)
		}
	}
	return errors.Join(failed, tx.Commit(ctx))
}

// sharedKey is the key for an entry, "" if it shares nothing.
func (a *access) sharedKey(e *acl.Entry) string {
	if !e.GivesLookup() || e.Kind == acl.User && e.Name == a.u.info.Username {
		return ""
	}
	id := "anyone"
	switch e.Kind {
	case acl.User:
		id = "user/" + e.Name
	case acl.Group, acl.GroupOverride:
		id = "group/" + e.Name
	}
	return sharedBoxes + id + "/" + a.u.info.Username
}

// useSharers makes the namespaces of those who share mailboxes with the user, if a pattern reaches them.
func (u *User) useSharers(ctx context.Context, root *Namespace, globs []glob) error {
	if u.access == nil || u.access.dictURI == "" || root.shared == nil {
		return nil
	}
	owners, err := u.access.sharers(ctx)
	if err != nil { // what is shared is not found, and all else is
		u.log.Errorf("acl_shared_dict: %v", err)
	}
	for _, name := range owners {
		if name == u.info.Username {
			continue
		}
		user, domain, _ := strings.Cut(name, "@")
		o := otherUser{name: name, user: user, domain: domain}
		prefix, err := dovecot.ExpandVars(root.shared.pattern, o.vars(""))
		if err != nil {
			return err
		}
		if prefix = root.Prefix + prefix; below(globs, prefix) || matches(globs, strings.TrimSuffix(prefix, string(root.Sep))) {
			if err := u.useSharer(ctx, prefix); err != nil {
				return err
			}
		}
	}
	return nil
}

// useSharer makes the namespace of somebody who shares mailboxes, unless none of them may be seen.
func (u *User) useSharer(ctx context.Context, prefix string) error {
	known := len(u.allNamespaces())
	ns := u.namespaceOf(prefix)
	if ns == nil || len(u.allNamespaces()) == known {
		return nil
	}
	visible, err := u.hasVisible(ctx, ns)
	if err != nil || visible {
		return err
	}
	u.mu.Lock()
	u.dynamic = slices.DeleteFunc(slices.Clone(u.dynamic), func(other *Namespace) bool { return other == ns })
	u.mu.Unlock()
	ns.close()
	return nil
}
