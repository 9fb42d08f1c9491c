package store

import (
	"context"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store/acl"
)

// visibility tells a lister which names the user may see.
type visibility struct {
	l     *lister
	cache map[string]bool
	err   error
}

// visible reports whether the user has the right "lookup". A failure is kept in err, and nothing
// is visible.
func (v *visibility) visible(name string) bool {
	if can, ok := v.cache[name]; ok {
		return can
	}
	can := false
	p, err := v.l.u.resolve(name)
	if err == nil && p.ns == v.l.ns {
		var s acl.Set
		s, err = v.l.u.access.rights(p)
		can = s.Has(acl.Lookup)
		if err != nil {
			v.err = err
		}
	}
	if v.cache == nil {
		v.cache = map[string]bool{}
	}
	v.cache[name] = can && err == nil
	return can && err == nil
}

// filter takes from a tree what the user may not see. Of a name that he may not see stays a
// place, if there is something to see below it that the patterns do not show.
func (v *visibility) filter(top *node) {
	kept := top.children[:0]
	for _, c := range top.children {
		v.filter(c)
		switch {
		case v.visible(c.name), v.l.toldInbox(c.name):
			kept = append(kept, c)
		case c.hasChildren():
			c.exists, c.selectable, c.disk, c.noInferiors, c.hidden = false, false, "", false, true
			kept = append(kept, c)
		}
	}
	top.children = kept
}

// toldInbox reports whether a name is an INBOX of which clients are told without "lookup": the
// user's own, and another user's in which he may read or save.
func (l *lister) toldInbox(name string) bool {
	if !l.ns.inboxAny || name != l.ns.prefixName() {
		return l.ns.Inbox && name == inbox
	}
	p, err := l.u.resolve(name)
	if err != nil {
		return false
	}
	told, err := l.u.access.maySubscribe(p)
	return told && err == nil
}

// shown reports whether a name of a filtered tree is told.
func (l *lister) shown(n *node) bool {
	if !n.hidden {
		return true
	}
	if l.allBelow(n) {
		return false
	}
	told := false
	n.each(func(c *node) { told = told || !c.hidden && matches(l.globs, c.name) })
	return !told
}

// allBelow reports whether the patterns match all that is below a name.
func (l *lister) allBelow(n *node) bool {
	for _, pattern := range l.q.Patterns {
		if i := strings.IndexByte(pattern, '*'); i < 0 || i != len(pattern)-1 {
			return false
		}
	}
	return matches(l.globs, n.name+string(l.ns.Sep)+"x")
}

// wholeTree returns the tree of a namespace as the user may see it.
func (l *lister) wholeTree() (*node, error) {
	top, err := l.ns.tree([]glob{newGlob("*", l.ns.Sep, true)})
	if err != nil {
		return nil, err
	}
	v := &visibility{l: l}
	v.filter(top)
	return top, v.err
}

// hasVisible reports whether the user may see anything of another user's mailboxes.
func (u *User) hasVisible(ctx context.Context, ns *Namespace) (bool, error) {
	if ns.unusable || !u.access.checks(ns) {
		return !ns.unusable, ctx.Err()
	}
	l := &lister{u: u, ns: ns, q: &ListQuery{}}
	top, err := l.wholeTree()
	return err == nil && top.hasChildren(), err
}

// findShared makes the namespaces of users whose mailboxes a query can match.
func (u *User) findShared(ctx context.Context, q *ListQuery) error {
	if u.access == nil {
		return nil
	}
	for _, root := range u.namespaces {
		var globs []glob
		for _, pattern := range q.Patterns {
			globs = append(globs, newGlob(q.Reference+pattern, root.Sep, true))
		}
		if err := u.useSharers(ctx, root, globs); err != nil {
			return err
		}
	}
	return nil
}

// mayTell reports whether the user may learn that a mailbox exists.
func (l *lister) mayTell(name string) bool {
	if l.u.access == nil {
		return true
	}
	p, err := l.u.resolve(name)
	if err != nil {
		return true // there is none
	}
	s, err := l.u.access.rights(p)
	return err == nil && s.Has(acl.Lookup)
}
