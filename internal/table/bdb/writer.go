package bdb

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"io"
	"math/bits"
	"slices"
)

// writePage is the page size of files that we write, libdb's on usual file systems.
const writePage = 4096

// bigItem is the longest key or value that is kept on its bucket's page.
const bigItem = writePage / 4

// A Record is a key and its value as they are stored, with NULs if any.
type Record = struct{ Key, Value []byte }

// Write writes a hash file with the given records, whose keys must differ.
func Write(out io.Writer, records []Record) error {
	w := &writer{order: binary.LittleEndian}
	w.layout(records)
	return w.writeTo(out, w.meta(len(records)))
}

// writeTo writes the meta page and all others.
func (w *writer) writeTo(out io.Writer, meta []byte) error {
	b := bufio.NewWriterSize(out, 1<<16)
	if _, err := b.Write(meta); err != nil {
		return err
	}
	for _, p := range w.pages[1:] {
		if _, err := b.Write(p); err != nil {
			return err
		}
	}
	return b.Flush()
}

type writer struct {
	order   binary.ByteOrder
	buckets int
	pages   [][]byte // by number; 0 is the meta page
}

// layout puts the records on pages: bucket pages first, then what they chain to.
func (w *writer) layout(records []Record) {
	total := 0
	for _, r := range records {
		total += size(r.Key) + size(r.Value) + 4
	}
	// Buckets are filled to about 60 %: few chains, little waste.
	w.buckets = 2
	for w.buckets*(writePage-headerSize)*6/10 < total {
		w.buckets *= 2
	}
	byBucket := make([][]Record, w.buckets)
	for _, r := range records {
		b := Hash(r.Key) & uint32(w.buckets-1)
		byBucket[b] = append(byBucket[b], r)
	}
	w.pages = make([][]byte, 1, w.buckets+1)
	for range w.buckets {
		w.newPage(typeHash)
	}
	for b, list := range byBucket {
		w.fill(b+1, list)
	}
}

// newPage appends an empty page and returns its number.
func (w *writer) newPage(typ byte) int {
	n := len(w.pages)
	p := make([]byte, writePage)
	w.order.PutUint32(p[4:], 1) // log sequence number 0, 1: not logged
	w.order.PutUint32(p[8:], uint32(n))
	w.order.PutUint16(p[22:], writePage)
	p[25] = typ
	w.pages = append(w.pages, p)
	return n
}

// size is what an item takes on its page.
func size(b []byte) int {
	if len(b) > bigItem {
		return 12
	}
	return 1 + len(b)
}

// fill puts the records of a bucket on its page and on chained ones. Each page is sorted.
func (w *writer) fill(number int, list []Record) {
	for {
		n, used := 0, headerSize
		for n < len(list) {
			need := size(list[n].Key) + size(list[n].Value) + 4
			if used+need > writePage {
				break
			}
			used += need
			n++
		}
		here := list[:n]
		slices.SortFunc(here, func(a, b Record) int { return compareKeys(a.Key, b.Key) })
		for _, r := range here {
			w.put(number, r.Key)
			w.put(number, r.Value)
		}
		if list = list[n:]; len(list) == 0 {
			return
		}
		next := w.newPage(typeHash)
		w.order.PutUint32(w.pages[number][16:], uint32(next))
		w.order.PutUint32(w.pages[next][12:], uint32(number))
		number = next
	}
}

// compareKeys is the order of keys on a page: see the package documentation.
// Off-page keys, which libdb compares the usual way, sort the shorter first.
func compareKeys(a, b []byte) int {
	n := min(len(a), len(b))
	if c := bytes.Compare(a[:n], b[:n]); c != 0 {
		return c
	}
	if len(a) > bigItem || len(b) > bigItem {
		return len(a) - len(b)
	}
	return len(b) - len(a)
}

// put adds an item to a page.
func (w *writer) put(number int, b []byte) {
	var item []byte
	if len(b) > bigItem {
		item = make([]byte, 12)
		item[0] = itemOffPage
		w.order.PutUint32(item[4:], uint32(w.overflow(b)))
		w.order.PutUint32(item[8:], uint32(len(b)))
	} else {
		item = append([]byte{itemBytes}, b...)
	}
	w.append(number, item)
}

// append puts the bytes of an item below the others of a page.
func (w *writer) append(number int, item []byte) {
	p := w.pages[number]
	entries := int(w.order.Uint16(p[20:]))
	low := int(w.order.Uint16(p[22:])) - len(item)
	copy(p[low:], item)
	w.order.PutUint16(p[headerSize+2*entries:], uint16(low))
	w.order.PutUint16(p[20:], uint16(entries+1))
	w.order.PutUint16(p[22:], uint16(low))
}

// overflow puts a long item on pages of its own and returns the first.
func (w *writer) overflow(b []byte) int {
	first, prev := 0, 0
	for len(b) > 0 {
		number := w.newPage(typeOverflow)
		p := w.pages[number]
		n := copy(p[headerSize:], b)
		b = b[n:]
		w.order.PutUint16(p[20:], 1) // reference count
		w.order.PutUint16(p[22:], uint16(n))
		w.order.PutUint32(p[12:], uint32(prev))
		if prev == 0 {
			first = number
		} else {
			w.order.PutUint32(w.pages[prev][16:], uint32(number))
		}
		prev = number
	}
	return first
}

// generic makes a meta page with what all access methods have there.
func (w *writer) generic(magic uint32, typ byte) []byte {
	p := make([]byte, writePage)
	put := func(at int, v uint32) { w.order.PutUint32(p[at:], v) }
	put(4, 1)
	put(12, magic)
	put(16, 9)
	put(20, writePage)
	p[25] = typ
	put(32, uint32(len(w.pages)-1))
	rand.Read(p[52:72]) //nolint:errcheck // crypto/rand does not fail
	return p
}

func (w *writer) meta(keys int) []byte {
	p := w.generic(hashMagic, 8)
	put := func(at int, v uint32) { w.order.PutUint32(p[at:], v) }
	high := uint32(w.buckets - 1)
	put(72, high)
	put(76, high)
	put(80, high>>1)
	put(88, uint32(keys))
	put(92, Hash([]byte("%$sniglet^&\x00")))
	for i := 0; i <= bits.Len32(high); i++ {
		put(96+4*i, 1)
	}
	return p
}
