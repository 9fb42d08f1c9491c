package store

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// trashDir is where mailboxes go before their files are removed.
const trashDir = "..DOVECOT-TrasH"

// maxDepth bounds the directories descended into, should links make a circle.
const maxDepth = 200

// A node is one name of a mailbox tree.
type node struct {
	name       string // full name
	disk       string // path below the directory of the mailboxes
	exists     bool   // on disk, or would be made when opened
	selectable bool
	scanned    bool // children are known
	children   []*node
}

// hasChildren reports whether anything is below.
func (n *node) hasChildren() bool { return len(n.children) > 0 }

// scan reads the directory of a node: whether it is a mailbox and what is below.
func (ns *Namespace) scan(root *os.Root, n *node) error {
	n.scanned = true
	dir, err := root.Open(cmpOr(n.disk, "."))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if name == trashDir || !isDirectory(root, n.disk, e) {
			continue
		}
		if name == ns.st.marker() {
			n.selectable = n.disk != ""
			continue
		}
		if ns.st.reserved(name) {
			continue
		}
		n.children = append(n.children, ns.child(n, name))
	}
	slices.SortFunc(n.children, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	return nil
}

// child makes the node for a directory.
func (ns *Namespace) child(n *node, dir string) *node {
	part := ns.st.decode(dir)
	c := &node{disk: path.Join(n.disk, dir), exists: true}
	switch {
	case n.disk != "":
		c.name = n.name + string(ns.Sep) + part
	case ns.Inbox && dir == inbox:
		c.name = inbox
	default:
		c.name = ns.Prefix + part
	}
	return c
}

func isDirectory(root *os.Root, parent string, e fs.DirEntry) bool {
	switch t := e.Type(); {
	case t.IsDir():
		return true
	case t&fs.ModeSymlink != 0 || t == fs.ModeIrregular:
		st, err := root.Stat(path.Join(parent, e.Name()))
		return err == nil && st.IsDir()
	}
	return false
}

func cmpOr(s, dflt string) string {
	if s == "" {
		return dflt
	}
	return s
}

// tree reads the part of a namespace that the globs can match. Every node that
// may be listed has been scanned.
func (ns *Namespace) tree(globs []glob) (*node, error) {
	root, err := ns.open()
	if err != nil {
		return nil, err
	}
	top := &node{exists: true, name: ns.Prefix}
	if ns.st.inRoot() {
		err = ns.readFolders(root, top)
	} else {
		err = ns.grow(root, top, globs, 0)
	}
	if err != nil {
		return nil, err
	}
	ns.addAuto(top)
	return top, nil
}

// grow scans a node and, where the globs may match below, its children.
func (ns *Namespace) grow(root *os.Root, n *node, globs []glob, depth int) error {
	if err := ns.scan(root, n); err != nil {
		return err
	}
	if depth >= maxDepth {
		return nil
	}
	for _, c := range n.children {
		switch {
		case below(globs, c.name+string(ns.Sep)):
			if err := ns.grow(root, c, globs, depth+1); err != nil {
				return err
			}
		case matches(globs, c.name):
			if err := ns.scan(root, c); err != nil {
				return err
			}
		}
	}
	return nil
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
		n.exists, n.selectable = true, true
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
	c := &node{name: name, scanned: true}
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
