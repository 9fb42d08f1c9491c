package store

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/listindex"
)

// indexLayout has the names of mailboxes nowhere but in dovecot.list.index; their directories
// are named by GUIDs. A mailbox's own index has its name as well, from which a lost list is
// made again.
type indexLayout struct{}

var errRenameAcross = &Error{Code: CodeCannot, Text: "Renaming not supported across namespaces."}

// view calls fn with the names. Where the list was lost it is made again first.
func (indexLayout) view(ns *Namespace, fn func(*listindex.Tree) error) error {
	ctx := context.Background() // nothing but a repair takes long, and that is for all
	l := ns.listIndex()
	err := l.View(ctx, func(*listindex.Tree) error { return nil })
	if errors.Is(err, listindex.ErrNotExist) || l.Lost() {
		if err := ns.findMailboxes(ctx); err != nil {
			return err
		}
	}
	return orEmpty(l.View(ctx, fn), fn)
}

// orEmpty calls fn with no names if there is no list.
func orEmpty(err error, fn func(*listindex.Tree) error) error {
	if errors.Is(err, listindex.ErrNotExist) {
		return fn(listindex.Empty())
	}
	return err
}

// diskName returns the directory of a mailbox, "" if there is none of the name.
func (l indexLayout) diskName(ns *Namespace, parts []string) (disk string, err error) {
	err = l.view(ns, func(t *listindex.Tree) error {
		if n := t.Lookup(parts); n != nil && n.Selectable() && n.GUID != [16]byte{} {
			disk = hex.EncodeToString(n.GUID[:])
		}
		return nil
	})
	return disk, err
}

func (l indexLayout) tree(ns *Namespace, _ []glob) (*node, error) {
	top := &node{exists: true, name: ns.Prefix}
	err := l.view(ns, func(t *listindex.Tree) error {
		l.grow(ns, top, t.Top())
		return nil
	})
	return top, err
}

// grow adds the names below from to those below n.
func (l indexLayout) grow(ns *Namespace, n *node, from *listindex.Node) {
	for _, c := range from.Children() {
		part := ns.st.decode(c.Name)
		child := &node{exists: c.Flags&listindex.NonExistent == 0, selectable: c.Selectable(), noInferiors: c.Flags&listindex.NoInferiors != 0}
		if child.name = ns.full(part); from.Parent != nil {
			child.name = n.name + string(ns.Sep) + part
		}
		if child.exists {
			child.disk = c.Name // not a path; it says that the name is somewhere
		}
		n.children = append(n.children, child)
		l.grow(ns, child, c)
	}
	n.sort()
}

func (l indexLayout) look(ns *Namespace, n *node, _ bool) error {
	parts, err := ns.split(ns.relative(n.name))
	if err != nil {
		return nil //nolint:nilerr // no name, no mailbox
	}
	// A lost list was found again when the name was resolved; now it is locked.
	fn := func(t *listindex.Tree) error {
		found := t.Lookup(parts)
		if found == nil {
			return nil
		}
		n.exists, n.selectable, n.implied = true, found.Selectable(), found.Flags&listindex.NonExistent != 0
		if found.HasChildren() {
			n.children = []*node{{exists: true}}
		}
		return nil
	}
	return orEmpty(ns.listIndex().View(context.Background(), fn), fn)
}

// prepare gives the mailbox a GUID.
func (indexLayout) prepare(p *place) error {
	if p.guid == ([16]byte{}) {
		p.guid = dbox.NewGUID()
	}
	p.disk = hex.EncodeToString(p.guid[:])
	root, err := p.ns.open()
	if err != nil {
		return err
	}
	perm, err := permissionsOf(root, ".")
	if err != nil {
		return err
	}
	return p.makeBeside(perm)
}

// created adds the mailbox to the names.
func (l indexLayout) created(u *User, p place, validity uint32) error {
	parts, err := p.ns.split(p.ns.relative(p.name))
	if err != nil {
		return err
	}
	ctx := context.Background() // what was begun is finished
	err = p.ns.listIndex().Change(ctx, func(c *listindex.Change) error {
		n := c.AddPath(parts)
		if n.Selectable() {
			return errExists
		}
		c.SetFlags(n, n.Flags&^(listindex.NonExistent|listindex.NoSelect|listindex.NoInferiors))
		c.SetMailbox(n, p.guid, validity)
		return nil
	})
	if err == nil {
		err = u.nameMailbox(ctx, p, parts)
	}
	if err != nil {
		err = errors.Join(err, u.pool.Delete(ctx, p.location(), u.set))
	}
	return err
}

// nameMailbox writes the name into the mailbox's own index.
func (u *User) nameMailbox(ctx context.Context, p place, parts []string) error {
	m, err := u.pool.Open(ctx, p.location(), u.set)
	if err != nil {
		return err
	}
	defer m.Close()
	return m.SetName(ctx, strings.Join(parts, "\x00"))
}

func (l indexLayout) makeDir(p place) error {
	parts, err := p.ns.split(p.ns.relative(p.name))
	if err != nil {
		return err
	}
	err = p.ns.listIndex().Change(context.Background(), func(c *listindex.Change) error {
		c.SetFlags(c.AddPath(parts), listindex.NoSelect)
		return nil
	})
	if err == nil {
		p.ns.logChange(changeCreateDir, nameGUID(p.name))
	}
	return err
}

// removed makes the name one without mailbox, or none if nothing is below it.
func (l indexLayout) removed(u *User, p place, _ *node) error {
	p.removeBeside()
	if root, err := p.ns.open(); err == nil && p.disk != "" {
		root.Remove(p.disk) //nolint:errcheck // an empty directory without name is nothing
	}
	parts, err := p.ns.split(p.ns.relative(p.name))
	if err != nil {
		return err
	}
	gone := false
	err = p.ns.listIndex().Change(context.Background(), func(c *listindex.Change) error {
		n := c.Lookup(parts)
		if n == nil {
			return nil
		}
		if n.Selectable() {
			c.SetFlags(n, listindex.NoSelect)
			c.SetMailbox(n, [16]byte{}, 0)
		}
		if gone = !n.HasChildren(); !gone {
			return nil
		}
		parent := n.Parent
		c.Remove(n)
		if p.ns.st.noNoselect {
			removeEmptyNodes(c, parent)
		}
		return nil
	})
	if err == nil && gone {
		p.ns.logChange(changeDeleteDir, nameGUID(p.name))
	}
	return err
}

// removeEmptyNodes removes names without mailbox as long as nothing is below them.
func removeEmptyNodes(c *listindex.Change, n *listindex.Node) {
	for n.Parent != nil && !n.HasChildren() && !n.Selectable() {
		parent := n.Parent
		c.Remove(n)
		n = parent
	}
}

func (l indexLayout) rename(u *User, src, dst place) error {
	if src.ns != dst.ns {
		return errRenameAcross
	}
	ns := src.ns
	from, err := ns.split(ns.relative(src.name))
	if err != nil {
		return err
	}
	to, err := ns.split(ns.relative(dst.name))
	if err != nil {
		return err
	}
	var moved []renamedBox
	err = ns.listIndex().Change(context.Background(), func(c *listindex.Change) error {
		n := c.Lookup(from)
		switch {
		case n == nil || n.Flags&listindex.NonExistent != 0 && !n.HasChildren():
			return missing(src.name)
		case c.Lookup(to) != nil:
			return errTargetExists
		}
		parent := n.Parent
		c.Move(n, c.AddPath(to[:len(to)-1]), to[len(to)-1])
		if ns.st.noNoselect {
			removeEmptyNodes(c, parent)
		}
		moved = appendRenamed(nil, n)
		return nil
	})
	if err != nil {
		return err
	}
	for _, box := range moved {
		// Should the list be lost, these have the old names. That is no reason to fail.
		p := place{ns: ns, name: dst.name, disk: box.disk}
		if err := u.nameMailbox(context.Background(), p, box.parts); err != nil {
			u.log.Errorf("Mailbox %s: %v", dst.name, err)
		}
	}
	ns.logChange(changeRename, nameGUID(dst.name))
	return nil
}

// A renamedBox is a mailbox with another name.
type renamedBox struct {
	disk  string
	parts []string
}

func appendRenamed(list []renamedBox, n *listindex.Node) []renamedBox {
	if n.Selectable() {
		list = append(list, renamedBox{hex.EncodeToString(n.GUID[:]), n.Path()})
	}
	for _, c := range n.Children() {
		list = appendRenamed(list, c)
	}
	return list
}

// setSeparator chooses what is between the parts of names in the subscriptions. It is the
// namespace's separator, unless that begins what is escaped.
func (s *storage) setSeparator(sep byte) {
	switch {
	case s.layout != layoutIndex:
	case sep != s.escapeChar:
		s.listSep = sep
	default:
		s.listSep = '~'
	}
}
