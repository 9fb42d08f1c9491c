package bdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
)

const (
	headerSize   = 26
	metaSize     = 512
	hashMagic    = 0x00061561
	minPage      = 512
	maxPage      = 65536
	typeHashOld  = 2 // unsorted
	typeOverflow = 7
	typeHash     = 13
	itemBytes    = 1
	itemOffPage  = 3
	// maxItem bounds a value, so that a damaged file cannot make us allocate much.
	maxItem = 16 << 20
)

// ErrFormat is a file that is not of the access method it should be, or a damaged one.
var ErrFormat = errors.New("not such a Berkeley DB file, or damaged")

func format(what string) error { return fmt.Errorf("%w: %s", ErrFormat, what) }

// A pager reads pages of a file.
type pager struct {
	in       io.ReaderAt
	order    binary.ByteOrder
	big      bool // order is big-endian
	pageSize int
	lastPage uint32
	cache    blocks // nil if in has none
}

// blocks is a reader that may have pages at hand, and lends them.
type blocks interface {
	Block(off int64, size int) (b []byte, ok bool)
}

// newPager reads the meta page and checks what all access methods have there.
func newPager(in io.ReaderAt, magic, oldest uint32) (p pager, meta []byte, err error) {
	meta = make([]byte, metaSize)
	if _, err := in.ReadAt(meta, 0); err != nil {
		return p, nil, format("no meta page")
	}
	p = pager{in: in, order: binary.LittleEndian}
	if binary.BigEndian.Uint32(meta[12:]) == magic {
		p.order, p.big = binary.BigEndian, true
	} else if binary.LittleEndian.Uint32(meta[12:]) != magic {
		return p, nil, format("wrong magic number")
	}
	if v := p.order.Uint32(meta[16:]); v < oldest || v > 9 {
		return p, nil, format(fmt.Sprintf("version %d", v))
	}
	p.pageSize = int(p.order.Uint32(meta[20:]))
	if p.pageSize < minPage || p.pageSize > maxPage || p.pageSize&(p.pageSize-1) != 0 {
		return p, nil, format(fmt.Sprintf("page size %d", p.pageSize))
	}
	if meta[24] != 0 || meta[26] != 0 || p.order.Uint32(meta[48:]) != 0 {
		return p, nil, format("encryption, checksums, partitions or duplicates")
	}
	p.lastPage = p.order.Uint32(meta[32:])
	p.cache, _ = in.(blocks)
	return p, meta, nil
}

// A Reader looks keys up in a hash file. It reads pages as it needs them and is
// safe for concurrent use.
type Reader struct {
	pager
	maxBucket uint32
	highMask  uint32
	lowMask   uint32
	spares    [32]uint32
}

// NewReader reads the meta page of a hash file.
func NewReader(in io.ReaderAt) (*Reader, error) {
	p, meta, err := newPager(in, hashMagic, 7)
	if err != nil {
		return nil, err
	}
	r := &Reader{pager: p}
	r.maxBucket, r.highMask, r.lowMask = r.order.Uint32(meta[72:]), r.order.Uint32(meta[76:]), r.order.Uint32(meta[80:])
	for i := range r.spares {
		r.spares[i] = r.order.Uint32(meta[96+4*i:])
	}
	if r.maxBucket > r.lastPage {
		return nil, format("more buckets than pages")
	}
	return r, nil
}

// Hash is the hash function of the file format.
func Hash(key []byte) uint32 {
	var h uint32
	for _, c := range key {
		h = h*16777619 ^ uint32(c)
	}
	return h
}

func (r *Reader) bucketPage(bucket uint32) uint32 {
	return bucket + r.spares[bits.Len32(bucket)&31]
}

// Lookup returns the value of a key.
func (r *Reader) Lookup(key []byte) (value []byte, found bool, err error) {
	h := Hash(key)
	bucket := h & r.highMask
	if bucket > r.maxBucket {
		bucket = h & r.lowMask
	}
	err = r.chain(r.bucketPage(bucket), func(p *page) (bool, error) {
		i, err := r.find(p, key)
		if err != nil || i < 0 {
			return err == nil, err
		}
		found = true
		value, err = r.item(p, i+1)
		return false, err
	})
	return value, found, err
}

// find returns which item of a page is the key, or -1. Look-ups spend their time here: most
// keys of a page are told from the one that is wanted by their length.
func (r *Reader) find(p *page, key []byte) (int, error) {
	first, end := headerSize+2*p.entries, len(p.b)
	for i := 0; i+1 < p.entries; i += 2 {
		at := headerSize + 2*i
		start, value := int(r.uint16(p.b[at:])), int(r.uint16(p.b[at+2:]))
		switch {
		case start < first || start >= end || end > len(p.b):
			return -1, format("item out of its page")
		case p.b[start] != itemBytes:
			match, err := r.equalLong(p, i, key)
			if err != nil || match {
				return i, err
			}
		case end-start == len(key)+1 && bytes.Equal(p.b[start+1:end], key):
			return i, nil
		}
		end = value
	}
	return -1, nil
}

// Walk calls fn for each record, in the order of buckets and pages.
func (r *Reader) Walk(fn func(key, value []byte) error) error {
	for bucket := uint32(0); bucket <= r.maxBucket; bucket++ {
		err := r.chain(r.bucketPage(bucket), func(p *page) (bool, error) {
			for i := 0; i+1 < p.entries; i += 2 {
				key, err := r.item(p, i)
				if err != nil {
					return false, err
				}
				value, err := r.item(p, i+1)
				if err != nil {
					return false, err
				}
				if err := fn(key, value); err != nil {
					return false, err
				}
			}
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// page is one page of a bucket.
type page struct {
	b       []byte
	entries int
	next    uint32
}

// chain reads the pages of a bucket until fn has enough. A chain cannot have more
// pages than the file: a longer one runs in a circle.
func (r *Reader) chain(number uint32, fn func(*page) (more bool, err error)) error {
	for n := uint32(0); ; n++ {
		if n > r.lastPage {
			return format("pages in a circle")
		}
		p, err := r.page(number)
		if err != nil || p == nil {
			return err
		}
		more, err := fn(p)
		if err != nil || !more || p.next == 0 {
			return err
		}
		number = p.next
	}
}

// page reads a page of a bucket; nil is an empty one that was never written.
func (r *Reader) page(number uint32) (*page, error) {
	b, err := r.read(number)
	if err != nil {
		return nil, err
	}
	switch b[25] {
	case 0:
		return nil, nil
	case typeHash, typeHashOld:
	default:
		return nil, format(fmt.Sprintf("page %d is of type %d", number, b[25]))
	}
	p := &page{b: b, entries: int(r.order.Uint16(b[20:])), next: r.order.Uint32(b[16:])}
	if headerSize+2*p.entries > len(b) {
		return nil, format(fmt.Sprintf("page %d has %d entries", number, p.entries))
	}
	return p, nil
}

// uint16 is order.Uint16 without the cost of an interface.
func (r *pager) uint16(b []byte) uint16 {
	if r.big {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

func (r *pager) read(number uint32) ([]byte, error) {
	if number == 0 || number > r.lastPage {
		return nil, format(fmt.Sprintf("page %d of %d", number, r.lastPage))
	}
	if r.cache != nil {
		if b, ok := r.cache.Block(int64(number)*int64(r.pageSize), r.pageSize); ok {
			return b, nil
		}
	}
	b := make([]byte, r.pageSize)
	if _, err := r.in.ReadAt(b, int64(number)*int64(r.pageSize)); err != nil {
		return nil, format(fmt.Sprintf("page %d: %v", number, err))
	}
	return b, nil
}

// raw returns an item with its type byte.
func (r *Reader) raw(p *page, i int) ([]byte, error) {
	end := len(p.b)
	if i > 0 {
		end = int(r.order.Uint16(p.b[headerSize+2*(i-1):]))
	}
	start := int(r.order.Uint16(p.b[headerSize+2*i:]))
	if start < headerSize+2*p.entries || start >= end || end > len(p.b) {
		return nil, format("item out of its page")
	}
	return p.b[start:end], nil
}

// equalLong compares a key that lies on pages of its own.
func (r *Reader) equalLong(p *page, i int, key []byte) (bool, error) {
	raw, err := r.raw(p, i)
	if err != nil || len(raw) == 12 && int(r.order.Uint32(raw[8:])) != len(key) {
		return false, err
	}
	full, err := r.item(p, i)
	return err == nil && bytes.Equal(full, key), err
}

// item returns the bytes of an item, from overflow pages if they are there.
func (r *Reader) item(p *page, i int) ([]byte, error) {
	raw, err := r.raw(p, i)
	if err != nil {
		return nil, err
	}
	switch {
	case raw[0] == itemBytes:
		return raw[1:], nil
	case raw[0] == itemOffPage && len(raw) == 12:
		return r.overflow(r.order.Uint32(raw[4:]), r.order.Uint32(raw[8:]))
	}
	return nil, format(fmt.Sprintf("item of type %d", raw[0]))
}

func (r *pager) overflow(number, total uint32) ([]byte, error) {
	if total > maxItem {
		return nil, format(fmt.Sprintf("item of %d bytes", total))
	}
	var out []byte
	for uint32(len(out)) < total {
		b, err := r.read(number)
		if err != nil {
			return nil, err
		}
		n := int(r.order.Uint16(b[22:]))
		if b[25] != typeOverflow || n == 0 || headerSize+n > len(b) {
			return nil, format(fmt.Sprintf("overflow page %d", number))
		}
		out = append(out, b[headerSize:headerSize+n]...)
		number = r.order.Uint32(b[16:])
	}
	if uint32(len(out)) != total {
		return nil, format("overflow item of the wrong length")
	}
	return out, nil
}
