package store

import "strings"

// subscribed adds the matching subscriptions of the namespace.
func (l *lister) subscribed() error {
	names, err := l.u.subscriptionsOf(l.ns)
	if err != nil {
		return err
	}
	seen := map[string]int{} // index in out of parents that were added
	for _, name := range names {
		if matches(l.globs, name) {
			if err := l.subscription(name, seen, FlagSubscribed); err != nil {
				return err
			}
			continue
		}
		if l.q.Select&(SelectRecursiveMatch|SelectLSub) == 0 {
			continue
		}
		if err := l.parent(name, seen); err != nil {
			return err
		}
	}
	return nil
}

// subscription adds a name that is subscribed itself.
func (l *lister) subscription(name string, seen map[string]int, flags ListFlags) error {
	if i, ok := seen[name]; ok {
		if l.q.Select&SelectLSub != 0 {
			l.out[i].Flags = 0 // it was added for one below it
			return nil
		}
		l.out[i].Flags |= flags
		return nil
	}
	if l.q.Select&SelectLSub != 0 {
		seen[name] = len(l.out)
		l.finish(ListEntry{Name: name, Sep: l.ns.Sep}, false)
		return nil
	}
	n, err := l.lookup(name)
	if err != nil {
		return err
	}
	if !l.mayTell(name) {
		n = &node{name: name} // that it was subscribed is all that is told
	}
	e := ListEntry{Name: name, Sep: l.ns.Sep}
	if l.q.Return&ReturnSubscribed != 0 || flags != FlagSubscribed {
		e.Flags = flags
	}
	switch {
	case !n.exists, n.implied && !n.selectable:
		e.Flags |= FlagNonExistent
	case !n.selectable:
		e.Flags |= FlagNoSelect
	}
	if n.noInferiors {
		e.Flags |= FlagNoInferiors
	}
	seen[name] = len(l.out)
	l.finish(e, n.hasChildren())
	return nil
}

// parent adds the name above a subscription that matches in its place: with
// \Noselect for LSUB (RFC 3501 6.3.9), with CHILDINFO for RECURSIVEMATCH
// (RFC 5258 3.5).
func (l *lister) parent(name string, seen map[string]int) error {
	for {
		i := strings.LastIndexByte(name, l.ns.Sep)
		if i <= 0 {
			return nil
		}
		name = name[:i]
		if matches(l.globs, name) {
			break
		}
	}
	if l.q.Select&SelectLSub == 0 {
		return l.subscription(name, seen, FlagChildSubscribed)
	}
	if _, ok := seen[name]; !ok {
		seen[name] = len(l.out)
		l.out = append(l.out, ListEntry{Name: name, Sep: l.ns.Sep, Flags: FlagNoSelect})
	}
	return nil
}

// lookup returns the node of one name.
func (l *lister) lookup(name string) (*node, error) {
	if l.ns.shared == nil {
		return l.u.lookup(l.ns, name)
	}
	ns := l.u.namespaceOf(name)
	if ns == nil || ns.unusable {
		return &node{name: name}, nil
	}
	return l.u.lookup(ns, name)
}

// lookup returns the node of one name of a namespace, with what is below it.
func (u *User) lookup(ns *Namespace, name string) (*node, error) {
	n, err := u.look(ns, name, true)
	if err == nil && (ns.auto(name) != nil || ns.Inbox && name == inbox) {
		n.exists, n.selectable = true, true
	}
	return n, err
}
