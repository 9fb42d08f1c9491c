package store

import (
	"slices"
	"strings"
)

// trashDir is where mailboxes go before their files are removed.
const trashDir = "..DOVECOT-TrasH"

// A node is one name of a mailbox tree.
type node struct {
	name       string // full name
	disk       string // path below the directory of the mailboxes
	exists     bool   // on disk, or would be made when opened
	selectable bool
	children   []*node

	noInferiors bool // can have none below
	hidden      bool // the user may see what is below, but not this
	implied     bool // LAYOUT=index: it is there because others were below it
}

// sort puts the children into the order of their names.
func (n *node) sort() {
	slices.SortFunc(n.children, func(a, b *node) int { return strings.Compare(a.name, b.name) })
}

// hasChildren reports whether anything is below.
func (n *node) hasChildren() bool { return len(n.children) > 0 }

// each calls fn with the nodes below.
func (n *node) each(fn func(*node)) {
	for _, c := range n.children {
		fn(c)
		c.each(fn)
	}
}

func cmpOr(s, dflt string) string {
	if s == "" {
		return dflt
	}
	return s
}

// tree reads the part of a namespace that the globs can match.
func (ns *Namespace) tree(globs []glob) (*node, error) {
	top, err := ns.st.names().tree(ns, globs)
	if err != nil {
		return nil, err
	}
	ns.addAuto(top)
	if ns.inboxAny {
		return top, ns.addInbox(top)
	}
	return top, nil
}

// addInbox adds another user's INBOX that is not among his mailboxes.
func (ns *Namespace) addInbox(top *node) error {
	disk, err := ns.diskName(ns.prefixName(), []string{inbox})
	if err != nil || disk != inboxDisk {
		return err
	}
	n, err := place{ns: ns, name: ns.prefixName(), disk: disk}.node(false)
	if err == nil && n.selectable {
		box := ns.insert(top, n.name)
		box.disk, box.exists, box.selectable = disk, true, true
	}
	return err
}

// addAuto adds INBOX and the mailboxes that are made when they are opened.
func (ns *Namespace) addAuto(top *node) {
	if ns.Inbox {
		n := ns.insert(top, inbox)
		n.exists, n.selectable = true, true
	}
	for _, name := range ns.order {
		if ns.boxes[name].Auto == "no" {
			continue
		}
		n := ns.insert(top, ns.full(name))
		n.exists, n.selectable, n.noInferiors = true, true, ns.st.noInferiors() && !n.hasChildren()
	}
}

// insert returns the node of a full name, made with those above it if missing.
func (ns *Namespace) insert(top *node, name string) *node {
	relative := ns.relative(name)
	n := top
	at := 0
	for at <= len(relative) {
		end := strings.IndexByte(relative[at:], ns.Sep)
		if end < 0 {
			end = len(relative)
		} else {
			end += at
		}
		n = n.get(ns.full(relative[:end]))
		at = end + 1
	}
	return n
}

// get returns the child of that full name, made if missing.
func (n *node) get(name string) *node {
	i, ok := slices.BinarySearchFunc(n.children, name, func(c *node, name string) int {
		return strings.Compare(c.name, name)
	})
	if ok {
		return n.children[i]
	}
	c := &node{name: name}
	n.children = slices.Insert(n.children, i, c)
	return c
}

func matches(globs []glob, name string) bool {
	for i := range globs {
		if globs[i].match(name) {
			return true
		}
	}
	return false
}

func below(globs []glob, name string) bool {
	for i := range globs {
		if globs[i].matchBelow(name) {
			return true
		}
	}
	return false
}
