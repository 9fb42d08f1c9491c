package lmdb

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
)

const (
	// bigNode is the greatest node that is kept on its leaf.
	bigNode = ((pageSize-headerSize)/2)&^1 - 2
	// MaxKey is the longest key that LMDB can hold.
	MaxKey = 511
	// mapSize is the least size of the map, lmdb_map_size's default.
	mapSize = 16 << 20
)

// ErrKeySize is a key that LMDB cannot hold, in its own words.
var ErrKeySize = errors.New("MDB_BAD_VALSIZE: Unsupported size of key/DB name/data, or wrong DUPFIXED size")

// A Record is a key and its value as they are stored, with NULs if any.
type Record = struct{ Key, Value []byte }

// Write writes a file with the given records, whose keys must differ. It sorts them.
func Write(out io.Writer, records []Record) error {
	for _, r := range records {
		if len(r.Key) == 0 || len(r.Key) > MaxKey {
			return ErrKeySize
		}
	}
	slices.SortFunc(records, func(a, b Record) int { return bytes.Compare(a.Key, b.Key) })
	w := &writer{pages: [][]byte{make([]byte, pageSize), make([]byte, pageSize)}, root: noPage}
	if len(records) > 0 {
		w.build(records)
	}
	w.meta(0, 0)
	w.meta(1, len(records))
	b := bufio.NewWriterSize(out, 1<<16)
	for _, p := range w.pages {
		if _, err := b.Write(p); err != nil {
			return err
		}
	}
	return b.Flush()
}

type writer struct {
	pages                       [][]byte // by number; 0 and 1 are the meta pages
	depth                       int
	branches, leaves, overflows uint64
	root                        uint64
}

// A branch leads to a page of the tree, whose first key it has.
type branch struct {
	key  []byte
	page uint64
}

// build writes leaves and then the levels above them.
func (w *writer) build(records []Record) {
	var level []branch
	start := 0
	for _, end := range split(len(records), 0, func(i int) int { return leafSize(records[i]) }) {
		level = append(level, branch{records[start].Key, w.leaf(records[start:end])})
		start = end
	}
	w.depth = 1
	for len(level) > 1 {
		var above []branch
		start := 0
		for _, end := range split(len(level), 2, func(i int) int { return even(nodeHeader+len(level[i].key)) + 2 }) {
			above = append(above, branch{level[start].key, w.branch(level[start:end])})
			start = end
		}
		level = above
		w.depth++
	}
	w.root = level[0].page
}

func even(n int) int { return (n + 1) &^ 1 }

// leafSize is what a record takes on its leaf.
func leafSize(r Record) int {
	n := nodeHeader + len(r.Key) + len(r.Value)
	if n > bigNode {
		n = nodeHeader + len(r.Key) + 8
	}
	return even(n) + 2
}

// split tells where pages end when n nodes of the given sizes are put on as few as possible. No page
// but the only one has less than atLeast.
func split(n, atLeast int, size func(int) int) (ends []int) {
	used := headerSize
	for i := range n {
		s := size(i)
		if used+s > pageSize {
			ends = append(ends, i)
			used = headerSize
		}
		used += s
	}
	if k := len(ends); k > 0 && n-ends[k-1] < atLeast {
		ends[k-1] = n - atLeast
	}
	return append(ends, n)
}

// newPage appends an empty page.
func (w *writer) newPage(flags uint16) (number uint64, p []byte) {
	number = uint64(len(w.pages))
	p = make([]byte, pageSize)
	le.PutUint64(p, number)
	le.PutUint16(p[10:], flags)
	le.PutUint16(p[12:], headerSize)
	le.PutUint16(p[14:], pageSize)
	w.pages = append(w.pages, p)
	return number, p
}

// add puts a node on its page.
func add(p, node []byte) {
	lower := le.Uint16(p[12:])
	upper := le.Uint16(p[14:]) - uint16(even(len(node)))
	copy(p[upper:], node)
	le.PutUint16(p[lower:], upper)
	le.PutUint16(p[12:], lower+2)
	le.PutUint16(p[14:], upper)
}

func (w *writer) leaf(records []Record) uint64 {
	number, p := w.newPage(flagLeaf)
	w.leaves++
	for _, r := range records {
		node := make([]byte, nodeHeader, nodeHeader+len(r.Key)+len(r.Value))
		le.PutUint32(node, uint32(len(r.Value)))
		le.PutUint16(node[6:], uint16(len(r.Key)))
		node = append(node, r.Key...)
		if len(node)+len(r.Value) > bigNode {
			le.PutUint16(node[4:], nodeBigData)
			node = le.AppendUint64(node, w.overflow(r.Value))
		} else {
			node = append(node, r.Value...)
		}
		add(p, node)
	}
	return number
}

func (w *writer) branch(list []branch) uint64 {
	number, p := w.newPage(flagBranch)
	w.branches++
	for i, b := range list {
		if i == 0 {
			b.key = nil // less than all
		}
		node := make([]byte, nodeHeader, nodeHeader+len(b.key))
		le.PutUint16(node, uint16(b.page))
		le.PutUint16(node[2:], uint16(b.page>>16))
		le.PutUint16(node[4:], uint16(b.page>>32))
		le.PutUint16(node[6:], uint16(len(b.key)))
		add(p, append(node, b.key...))
	}
	return number
}

// overflow puts a value on pages of its own.
func (w *writer) overflow(value []byte) uint64 {
	count := overflowPages(len(value))
	number, p := w.newPage(flagOver)
	le.PutUint32(p[12:], uint32(count))
	rest := value[copy(p[headerSize:], value):]
	for range count - 1 {
		p := make([]byte, pageSize)
		rest = rest[copy(p, rest):]
		w.pages = append(w.pages, p)
	}
	w.overflows += count
	return number
}

// meta writes a meta page: that of transaction 0, when nothing was there, or of 1.
func (w *writer) meta(transaction uint64, entries int) {
	p := w.pages[transaction]
	le.PutUint64(p, transaction)
	le.PutUint16(p[10:], flagMeta)
	le.PutUint32(p[16:], magic)
	le.PutUint32(p[20:], version)
	le.PutUint64(p[32:], uint64(max(mapSize, len(w.pages)*pageSize)))
	le.PutUint32(p[40:], pageSize)
	le.PutUint16(p[44:], 0x4008) // no subdirectory; transactions are integers
	le.PutUint64(p[80:], noPage)
	le.PutUint64(p[mainRecord+40:], noPage)
	le.PutUint64(p[136:], 1)
	le.PutUint64(p[144:], transaction)
	if transaction == 0 {
		return
	}
	le.PutUint16(p[mainRecord+6:], uint16(w.depth))
	le.PutUint64(p[mainRecord+8:], w.branches)
	le.PutUint64(p[mainRecord+16:], w.leaves)
	le.PutUint64(p[mainRecord+24:], w.overflows)
	le.PutUint64(p[mainRecord+32:], uint64(entries))
	le.PutUint64(p[mainRecord+40:], w.root)
	le.PutUint64(p[136:], uint64(len(w.pages)-1))
}
