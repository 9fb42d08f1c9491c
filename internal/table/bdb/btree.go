package bdb

import (
	"bytes"
	"fmt"
	"io"
	"sort"
)

const (
	btreeMagic   = 0x00053162
	typeInternal = 3
	typeLeaf     = 5
	btreeBytes   = 1
	btreeOffPage = 3
	deletedMark  = 0x80
	// maxDepth bounds the way down: a tree of this height would not fit on any disk.
	maxDepth = 32
)

// A Btree looks keys up in a btree file. It reads pages as it needs them and is
// safe for concurrent use.
type Btree struct {
	pager
	root uint32
}

// NewBtree reads the meta page of a btree file.
func NewBtree(in io.ReaderAt) (*Btree, error) {
	p, meta, err := newPager(in, btreeMagic, 8)
	if err != nil {
		return nil, err
	}
	return &Btree{pager: p, root: p.order.Uint32(meta[88:])}, nil
}

// A node is a page of the tree.
type node struct {
	b       []byte
	leaf    bool
	entries int
	next    uint32
}

func (t *Btree) node(number uint32) (*node, error) {
	b, err := t.read(number)
	if err != nil {
		return nil, err
	}
	n := &node{b: b, leaf: b[25] == typeLeaf, entries: int(t.order.Uint16(b[20:])), next: t.order.Uint32(b[16:])}
	if !n.leaf && b[25] != typeInternal {
		return nil, format(fmt.Sprintf("page %d is of type %d", number, b[25]))
	}
	if headerSize+2*n.entries > len(b) || !n.leaf && n.entries == 0 {
		return nil, format(fmt.Sprintf("page %d has %d entries", number, n.entries))
	}
	return n, nil
}

// raw returns what follows the offset of an entry on its page.
func (t *Btree) raw(n *node, i, atLeast int) ([]byte, error) {
	start := int(t.order.Uint16(n.b[headerSize+2*i:]))
	if start < headerSize+2*n.entries || start+atLeast > len(n.b) {
		return nil, format("item out of its page")
	}
	return n.b[start:], nil
}

// item returns the bytes of an entry of a leaf.
func (t *Btree) item(n *node, i int) (item []byte, deleted bool, err error) {
	raw, err := t.raw(n, i, 3)
	if err != nil {
		return nil, false, err
	}
	deleted = raw[2]&deletedMark != 0
	switch raw[2] &^ deletedMark {
	case btreeBytes:
		size := int(t.order.Uint16(raw))
		if 3+size > len(raw) {
			return nil, false, format("item out of its page")
		}
		return raw[3 : 3+size], deleted, nil
	case btreeOffPage:
		item, err = t.offPage(raw)
		return item, deleted, err
	}
	return nil, false, format(fmt.Sprintf("item of type %d", raw[2]))
}

// offPage reads the overflow pages that a reference of 12 bytes names.
func (t *Btree) offPage(raw []byte) ([]byte, error) {
	if len(raw) < 12 {
		return nil, format("item out of its page")
	}
	return t.overflow(t.order.Uint32(raw[4:]), t.order.Uint32(raw[8:]))
}

// separator returns the key of an entry of an internal page, and the page below it.
func (t *Btree) separator(n *node, i int) (key []byte, child uint32, err error) {
	raw, err := t.raw(n, i, 12)
	if err != nil {
		return nil, 0, err
	}
	child = t.order.Uint32(raw[4:])
	size := int(t.order.Uint16(raw))
	switch {
	case i == 0: // less than all keys, whatever is there
	case 12+size > len(raw):
		return nil, 0, format("item out of its page")
	case raw[2] == btreeBytes:
		key = raw[12 : 12+size]
	case raw[2] == btreeOffPage:
		key, err = t.offPage(raw[12:])
	default:
		err = format(fmt.Sprintf("item of type %d", raw[2]))
	}
	return key, child, err
}

// leaf goes down from the root to the leaf where key would be.
func (t *Btree) leaf(key []byte) (*node, error) {
	number := t.root
	for range maxDepth {
		n, err := t.node(number)
		if err != nil || n.leaf {
			return n, err
		}
		// The first entry whose key is greater; the one before it leads to the key.
		i := 1 + sort.Search(n.entries-1, func(i int) bool {
			sep, _, e := t.separator(n, i+1)
			if e != nil {
				err = e
			}
			return bytes.Compare(sep, key) > 0
		})
		if err != nil {
			return nil, err
		}
		if _, number, err = t.separator(n, i-1); err != nil {
			return nil, err
		}
	}
	return nil, format("tree is too deep")
}

// Lookup returns the value of a key.
func (t *Btree) Lookup(key []byte) (value []byte, found bool, err error) {
	n, err := t.leaf(key)
	if err != nil {
		return nil, false, err
	}
	pairs := n.entries / 2
	i := sort.Search(pairs, func(i int) bool {
		k, _, e := t.item(n, 2*i)
		if e != nil {
			err = e
		}
		return bytes.Compare(k, key) >= 0
	})
	if err != nil || i == pairs {
		return nil, false, err
	}
	k, deleted, err := t.item(n, 2*i)
	if err != nil || deleted || !bytes.Equal(k, key) {
		return nil, false, err
	}
	value, deleted, err = t.item(n, 2*i+1)
	return value, !deleted && err == nil, err
}

// Walk calls fn for each record, in the order of keys.
func (t *Btree) Walk(fn func(key, value []byte) error) error {
	n, err := t.leaf(nil)
	for pages := uint32(0); err == nil; pages++ {
		if pages > t.lastPage {
			return format("pages in a circle")
		}
		if !n.leaf {
			return format("an internal page among the leaves")
		}
		if err := t.walkLeaf(n, fn); err != nil {
			return err
		}
		if n.next == 0 {
			return nil
		}
		n, err = t.node(n.next)
	}
	return err
}

func (t *Btree) walkLeaf(n *node, fn func(key, value []byte) error) error {
	for i := 0; i+1 < n.entries; i += 2 {
		key, gone, err := t.item(n, i)
		if err != nil {
			return err
		}
		value, goneToo, err := t.item(n, i+1)
		if err != nil {
			return err
		}
		if gone || goneToo {
			continue
		}
		if err := fn(key, value); err != nil {
			return err
		}
	}
	return nil
}
