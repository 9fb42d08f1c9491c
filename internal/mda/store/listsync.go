package store

import (
	"context"
	"errors"
	"path"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store/listindex"
)

// dovecot.list.index of a namespace whose names are directories or files. It saves STATUS
// from opening mailboxes, and is how running Dovecot processes learn of new names. It is
// written when STATUS has found out something, and when a name is made, renamed or
// deleted; deliveries do not touch it. Where there is none, only STATUS makes it.

// hasListIndex reports whether there is one besides the directories.
func (ns *Namespace) hasListIndex() bool {
	return ns.conf.ListIndex && ns.st.layout != layoutIndex && ns.st.listIndexPath() != ""
}

// changeList has the list index follow a change of names. It is no reason to fail if it cannot:
// then it is told to look itself.
func (ns *Namespace) changeList(fn func(*listindex.Change)) {
	if !ns.hasListIndex() {
		return
	}
	ctx := context.Background() // what was begun is finished
	l := ns.listIndex()
	err := l.View(ctx, func(*listindex.Tree) error { return nil })
	if err == nil {
		err = l.Change(ctx, func(c *listindex.Change) error {
			fn(c)
			return nil
		})
	}
	if err != nil && !errors.Is(err, listindex.ErrNotExist) {
		ns.log.Errorf("%s: %v", ns.st.listIndexPath(), err)
	}
}

// listCreated adds a name.
func (p place) listCreated(flags listindex.Flags) {
	parts, err := p.ns.listed(p.name)
	if err != nil {
		return
	}
	p.ns.changeList(func(c *listindex.Change) {
		addName(c, parts, flags, p.ns.parentFlags())
	})
}

// parentFlags are those of a name that is only there because others are below it.
func (ns *Namespace) parentFlags() listindex.Flags {
	if ns.st.inRoot() {
		return listindex.NonExistent
	}
	return listindex.NoSelect
}

func addName(c *listindex.Change, parts []string, flags, parent listindex.Flags) *listindex.Node {
	n := c.Top()
	for i, part := range parts {
		had := n.Child(part) != nil
		n = c.Add(n, part)
		if !had {
			c.SetFlags(n, parent)
		}
		if i == len(parts)-1 {
			c.SetFlags(n, flags)
		}
	}
	return n
}

// listDeleted removes a name, or says that only others are below it.
func (p place) listDeleted(gone bool) {
	parts, err := p.ns.listed(p.name)
	if err != nil {
		return
	}
	p.ns.changeList(func(c *listindex.Change) {
		n := c.Lookup(parts)
		if n == nil {
			return
		}
		c.SetMailbox(n, [16]byte{}, 0)
		c.SetFlags(n, p.ns.parentFlags())
		if gone || !n.HasChildren() {
			parent := n.Parent
			c.Remove(n)
			if p.ns.st.inRoot() || p.ns.st.noNoselect {
				removeEmptyNodes(c, parent)
			}
		}
	})
}

// listRenamed gives a name and those below it another one.
func listRenamed(src, dst place) {
	from, err1 := src.ns.listed(src.name)
	to, err2 := dst.ns.listed(dst.name)
	if err1 != nil || err2 != nil {
		return
	}
	if src.ns != dst.ns {
		src.listDeleted(true)
		dst.ns.changeList(func(c *listindex.Change) { c.SetRefresh(true) })
		return
	}
	src.ns.changeList(func(c *listindex.Change) {
		n := c.Lookup(from)
		if n == nil || c.Lookup(to) != nil {
			c.SetRefresh(true)
			return
		}
		parent := n.Parent
		up := c.Top()
		if len(to) > 1 {
			above := to[:len(to)-1]
			flags := src.ns.parentFlags()
			if have := c.Lookup(above); have != nil {
				flags = have.Flags
			}
			up = addName(c, above, flags, src.ns.parentFlags())
		}
		c.Move(n, up, to[len(to)-1])
		removeEmptyNodes(c, parent)
	})
}

// syncList makes the list index agree with the directories.
func (ns *Namespace) syncList(ctx context.Context) error {
	return ns.listIndex().Change(ctx, func(c *listindex.Change) error {
		// Under the lock: a name that is made meanwhile is not missed.
		top, err := ns.st.names().tree(ns, []glob{newGlob("*", ns.Sep, false)})
		if err != nil {
			return err
		}
		found := map[*listindex.Node]bool{}
		top.each(func(n *node) {
			parts := ns.listParts(n)
			if parts == nil {
				return
			}
			flags := ns.parentFlags()
			switch {
			case n.selectable && n.noInferiors:
				flags = listindex.NoInferiors
			case n.selectable:
				flags = 0
			case n.exists:
				flags = listindex.NoSelect
			}
			found[addName(c, parts, flags, ns.parentFlags())] = true
		})
		if ns.Inbox {
			ns.syncInbox(c, found)
		}
		removeMissing(c, c.Top(), found)
		c.SetRefresh(false)
		return nil
	})
}

// syncInbox adds an INBOX that is not among the other mailboxes.
func (ns *Namespace) syncInbox(c *listindex.Change, found map[*listindex.Node]bool) {
	n := c.Top().Child(inbox)
	if n != nil && found[n] && n.Selectable() {
		return
	}
	disk, err := ns.diskName(inbox, []string{inbox})
	if err != nil {
		return
	}
	if box, err := (place{ns: ns, name: inbox, disk: disk}).node(false); err == nil && box.selectable {
		found[addName(c, []string{inbox}, 0, 0)] = true
	}
}

// removeMissing removes the nodes that were not found, and below which none was.
func removeMissing(c *listindex.Change, n *listindex.Node, found map[*listindex.Node]bool) (keep bool) {
	for _, child := range n.Children() {
		if !removeMissing(c, child, found) {
			c.Remove(child)
			continue
		}
		keep = true
	}
	return keep || found[n]
}

// listParts returns the parts of the name of a node as the list index has them.
func (ns *Namespace) listParts(n *node) []string {
	switch {
	case ns.isOtherInbox(n.name):
		return nil
	case n.disk == "":
		parts, err := ns.split(ns.relative(n.name))
		if err != nil {
			return nil
		}
		return parts
	case n.disk == inboxDisk:
		return []string{inbox}
	case ns.st.inRoot():
		return ns.partsOf(strings.Split(n.disk[1:], "."))
	}
	return ns.partsOf(strings.Split(path.Clean(n.disk), "/"))
}
