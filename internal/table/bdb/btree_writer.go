package bdb

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
)

// bigBtreeItem is the longest key or value that is kept on a page of a btree: two pairs
// fit on each page.
const bigBtreeItem = (writePage-headerSize)/4 - 10

// A branch leads to a page of the tree. The keys there are not less than sep; those of
// the page to its left are.
type branch struct {
	sep  []byte
	page int
}

// WriteBtree writes a btree file with the given records, whose keys must differ. It
// sorts them.
func WriteBtree(out io.Writer, records []Record) error {
	slices.SortFunc(records, func(a, b Record) int { return bytes.Compare(a.Key, b.Key) })
	w := &writer{order: binary.LittleEndian, pages: make([][]byte, 1, 16)}
	root := w.newPage(typeLeaf)
	leaves := split(len(records), 0, func(i int) int {
		return btreeSize(records[i].Key) + btreeSize(records[i].Value) + 4
	})
	if len(leaves) < 2 {
		w.fillLeaf(root, records)
	} else {
		w.raise(root, w.leaves(records, leaves))
	}
	meta := w.generic(btreeMagic, 9)
	w.order.PutUint32(meta[76:], 2)    // least number of keys on a page
	w.order.PutUint32(meta[84:], 0x20) // what would pad fixed records
	w.order.PutUint32(meta[88:], uint32(root))
	return w.writeTo(out, meta)
}

// btreeSize is what an item takes on a leaf.
func btreeSize(b []byte) int {
	if len(b) > bigBtreeItem {
		return 12
	}
	return (3 + len(b) + 3) &^ 3
}

// split tells where pages end when n items of the given sizes are put on as few as
// possible. No page but the only one has less than atLeast.
func split(n, atLeast int, size func(int) int) (ends []int) {
	used := headerSize
	for i := range n {
		s := size(i)
		if used+s > writePage {
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

// leaves writes all leaves, chained from left to right.
func (w *writer) leaves(records []Record, ends []int) []branch {
	list := make([]branch, 0, len(ends))
	start := 0
	for _, end := range ends {
		b := branch{page: w.newPage(typeLeaf)}
		if k := len(list); k > 0 {
			prev := list[k-1].page
			w.order.PutUint32(w.pages[prev][16:], uint32(b.page))
			w.order.PutUint32(w.pages[b.page][12:], uint32(prev))
			b.sep = separate(records[start-1].Key, records[start].Key)
		}
		w.fillLeaf(b.page, records[start:end])
		list = append(list, b)
		start = end
	}
	return list
}

// separate returns the shortest beginning of b that is greater than a.
func separate(a, b []byte) []byte {
	n := 0
	for n < len(a) && a[n] == b[n] {
		n++
	}
	return b[:n+1]
}

func (w *writer) fillLeaf(number int, records []Record) {
	w.pages[number][24] = 1
	for _, r := range records {
		w.putLeaf(number, r.Key)
		w.putLeaf(number, r.Value)
	}
}

func (w *writer) putLeaf(number int, b []byte) {
	if len(b) > bigBtreeItem {
		w.append(number, w.reference(b))
		return
	}
	item := make([]byte, btreeSize(b))
	w.order.PutUint16(item, uint16(len(b)))
	item[2] = btreeBytes
	copy(item[3:], b)
	w.append(number, item)
}

// reference puts b on overflow pages and returns the item that names them.
func (w *writer) reference(b []byte) []byte {
	item := make([]byte, 12)
	item[2] = btreeOffPage
	w.order.PutUint32(item[4:], uint32(w.overflow(b)))
	w.order.PutUint32(item[8:], uint32(len(b)))
	return item
}

// raise builds the levels above the leaves, up to the root.
func (w *writer) raise(root int, below []branch) {
	for level := byte(2); ; level++ {
		ends := split(len(below), 2, func(i int) int { return internalSize(below[i].sep) })
		if len(ends) == 1 {
			w.fillInternal(root, level, below)
			return
		}
		above := make([]branch, 0, len(ends))
		start := 0
		for _, end := range ends {
			b := branch{sep: below[start].sep, page: w.newPage(typeInternal)}
			w.fillInternal(b.page, level, below[start:end])
			above = append(above, b)
			start = end
		}
		below = above
	}
}

// internalSize is what a separator takes on its page, with its index entry.
func internalSize(sep []byte) int {
	n := len(sep)
	if n > bigBtreeItem {
		n = 12
	}
	return (12+n+3)&^3 + 2
}

func (w *writer) fillInternal(number int, level byte, list []branch) {
	p := w.pages[number]
	p[24], p[25] = level, typeInternal
	for i, b := range list {
		sep := b.sep
		if i == 0 {
			sep = nil // less than all keys
		}
		item := make([]byte, internalSize(sep)-2)
		item[2] = btreeBytes
		if len(sep) > bigBtreeItem {
			item[2] = btreeOffPage
			sep = w.reference(sep)
		}
		w.order.PutUint16(item, uint16(len(sep)))
		w.order.PutUint32(item[4:], uint32(b.page))
		copy(item[12:], sep)
		w.append(number, item)
	}
}
