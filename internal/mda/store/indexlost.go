package store

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/mda/store/listindex"
)

// lostPrefix begins the names of mailboxes whose names were lost.
const lostPrefix = "recovered-lost-folder-"

// findMailboxes adds those mailboxes to the list that have a directory and no name.
func (ns *Namespace) findMailboxes(ctx context.Context) error {
	root, err := ns.open()
	if err != nil {
		return err
	}
	found, err := ns.nameless(ctx, root)
	if err != nil || len(found) == 0 {
		return err
	}
	lock, err := ns.lock(ctx) // one that is just being made has its name after this
	if err != nil {
		return err
	}
	defer lock.unlock()
	if found, err = ns.nameless(ctx, root); err != nil || len(found) == 0 {
		return err
	}
	return ns.listIndex().Change(ctx, func(c *listindex.Change) error {
		for _, guid := range found {
			disk := hex.EncodeToString(guid[:])
			box := ns.readName(disk)
			if len(box.name) == 0 && box.empty {
				continue // it never was finished
			}
			name := box.name
			if n := c.Lookup(name); len(name) == 0 || n != nil && n.Selectable() {
				name = []string{lostPrefix + disk}
			}
			n := c.AddPath(name)
			c.SetFlags(n, n.Flags&^(listindex.NonExistent|listindex.NoSelect))
			c.SetMailbox(n, guid, box.validity)
			ns.log.Warningf("Mailbox %s was missing in %s", strings.Join(name, string(ns.Sep)), ns.st.listIndexPath())
		}
		return nil
	})
}

// nameless returns the mailboxes that are not in the list.
func (ns *Namespace) nameless(ctx context.Context, root *rootDir) (found [][16]byte, err error) {
	entries, _, err := root.readDir(".")
	if err != nil {
		return nil, err
	}
	known := map[[16]byte]bool{}
	err = ns.listIndex().View(ctx, func(t *listindex.Tree) error {
		t.All(func(n *listindex.Node) { known[n.GUID] = true })
		return nil
	})
	if err != nil && !errors.Is(err, listindex.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		b, err := hex.DecodeString(e.Name())
		if err != nil || len(b) != 16 || known[[16]byte(b)] || !ns.namedByGUID(root, e) {
			continue
		}
		found = append(found, [16]byte(b))
	}
	return found, nil
}

// namedByGUID reports whether a mailbox may be what has the name of one.
func (ns *Namespace) namedByGUID(root *rootDir, e fs.DirEntry) bool {
	if ns.st.format == "mbox" {
		return isMboxFile(root, e.Name())
	}
	return isDirectory(root, "", e)
}

// A foundBox is what the index of a mailbox tells of it.
type foundBox struct {
	name     []string
	validity uint32
	empty    bool // no message ever was in it
}

// readName returns what the index of a mailbox has as its name.
func (ns *Namespace) readName(disk string) (box foundBox) {
	loc := ns.st.location(disk, disk)
	dir, err := index.OpenDir(cmpOr(loc.IndexDir, loc.Dir))
	if err != nil {
		return box
	}
	defer dir.Close()
	x, err := index.Open(dir, index.Options{Log: ns.log, Name: disk})
	if err != nil {
		x.Close()
		return box
	}
	defer x.Close()
	box.validity, box.empty = x.State().Hdr.UIDValidity(), x.State().Hdr.NextUID() <= 1
	text := strings.TrimRight(string(x.State().ExtHeader(boxNameExt)), "\x00")
	if text == "" {
		return box
	}
	for part := range strings.SplitSeq(text, "\x00") {
		if part = unescapePart(part, ns.st.escapeChar); part == "" || path.Clean(part) == "/" {
			box.name = nil
			return box
		}
		box.name = append(box.name, part)
	}
	return box
}

// boxNameExt is the extension with the name of a mailbox.
const boxNameExt = "box-name"
