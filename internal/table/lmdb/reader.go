package lmdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"
)

const (
	pageSize    = 4096
	headerSize  = 16
	magic       = 0xBEEFC0DE
	version     = 1
	flagBranch  = 1
	flagLeaf    = 2
	flagOver    = 4
	flagMeta    = 8
	nodeHeader  = 8
	nodeBigData = 1
	noPage      = ^uint64(0)
	mainRecord  = 88 // on the meta page
	maxDepth    = 64
	// maxItem bounds a value, so that a damaged file cannot make us allocate much.
	maxItem = 16 << 20
)

// ErrFormat is a file that is no LMDB file, or a damaged one.
var ErrFormat = errors.New("not an LMDB file, or damaged")

func format(what string) error { return fmt.Errorf("%w: %s", ErrFormat, what) }

var le = binary.LittleEndian

// A Reader looks keys up in a file. Each lookup sees the newest transaction that is
// complete when it begins. It is safe for concurrent use.
type Reader struct {
	in    io.ReaderAt
	cache blocks // nil if in has none
}

// blocks is a reader that may have pages at hand, and lends them.
type blocks interface {
	Block(off int64, size int) (b []byte, ok bool)
}

// NewReader checks the meta pages.
func NewReader(in io.ReaderAt) (*Reader, error) {
	r := &Reader{in: in}
	r.cache, _ = in.(blocks)
	_, err := r.meta()
	return r, err
}

// pages returns pages, which must not be changed.
func (r *Reader) pages(number int64, count int) ([]byte, error) {
	if r.cache != nil {
		if b, ok := r.cache.Block(number*pageSize, count*pageSize); ok {
			return b, nil
		}
	}
	b := make([]byte, count*pageSize)
	_, err := r.in.ReadAt(b, number*pageSize)
	return b, err
}

// A snapshot is the database as of one transaction.
type snapshot struct {
	*Reader
	root     uint64
	lastPage uint64
}

// meta reads both meta pages and returns the newer state.
func (r *Reader) meta() (*snapshot, error) {
	var newest []byte
	for number := range int64(2) {
		p, err := r.pages(number, 1)
		if err != nil {
			return nil, format("no meta pages")
		}
		if newest == nil {
			newest = p
		}
		switch {
		case le.Uint16(p[10:])&flagMeta == 0 || le.Uint32(p[16:]) != magic:
			return nil, format("wrong magic number")
		case le.Uint32(p[20:]) != version:
			return nil, format(fmt.Sprintf("version %d", le.Uint32(p[20:])))
		case le.Uint32(p[40:]) != pageSize:
			return nil, format(fmt.Sprintf("page size %d", le.Uint32(p[40:])))
		case le.Uint16(p[mainRecord+4:]) != 0:
			return nil, format("duplicates or keys of a special order")
		}
		if le.Uint64(p[144:]) > le.Uint64(newest[144:]) {
			newest = p
		}
	}
	return &snapshot{r, le.Uint64(newest[mainRecord+40:]), le.Uint64(newest[136:])}, nil
}

// read reads count pages. Only the first of them has a header.
func (s *snapshot) read(number, count uint64) ([]byte, error) {
	if number < 2 || number > s.lastPage || count > s.lastPage-number+1 {
		return nil, format(fmt.Sprintf("page %d of %d", number, s.lastPage))
	}
	b, err := s.pages(int64(number), int(count))
	if err != nil {
		return nil, format(fmt.Sprintf("page %d: %v", number, err))
	}
	if le.Uint64(b) != number {
		return nil, format(fmt.Sprintf("page %d calls itself %d", number, le.Uint64(b)))
	}
	return b, nil
}

// A page is a branch or leaf.
type page struct {
	b     []byte
	leaf  bool
	nodes int
}

func (s *snapshot) page(number uint64) (*page, error) {
	b, err := s.read(number, 1)
	if err != nil {
		return nil, err
	}
	p := &page{b: b, leaf: le.Uint16(b[10:])&^0x10 == flagLeaf, nodes: (int(le.Uint16(b[12:])) - headerSize) / 2}
	if !p.leaf && le.Uint16(b[10:])&^0x10 != flagBranch {
		return nil, format(fmt.Sprintf("page %d has flags %#x", number, le.Uint16(b[10:])))
	}
	if p.nodes < 0 || headerSize+2*p.nodes > len(b) || !p.leaf && p.nodes == 0 {
		return nil, format(fmt.Sprintf("page %d has %d nodes", number, p.nodes))
	}
	return p, nil
}

// node returns a node from its header on, and its key.
func (p *page) node(i int) (node, key []byte, err error) {
	start := int(le.Uint16(p.b[headerSize+2*i:]))
	if start < headerSize+2*p.nodes || start+nodeHeader > len(p.b) {
		return nil, nil, format("node out of its page")
	}
	node = p.b[start:]
	size := int(le.Uint16(node[6:]))
	if nodeHeader+size > len(node) {
		return nil, nil, format("key out of its page")
	}
	return node, node[nodeHeader : nodeHeader+size], nil
}

// child returns the page below a node of a branch.
func child(node []byte) uint64 {
	return uint64(le.Uint16(node)) | uint64(le.Uint16(node[2:]))<<16 | uint64(le.Uint16(node[4:]))<<32
}

// value returns the data of a node of a leaf.
func (s *snapshot) value(node, key []byte) ([]byte, error) {
	size := uint64(le.Uint16(node)) | uint64(le.Uint16(node[2:]))<<16
	data := node[nodeHeader+len(key):]
	switch flags := le.Uint16(node[4:]); {
	case flags == 0 && size <= uint64(len(data)):
		return data[:size], nil
	case flags != nodeBigData || len(data) < 8:
		return nil, format(fmt.Sprintf("node with flags %#x and %d bytes", flags, size))
	case size > maxItem:
		return nil, format(fmt.Sprintf("value of %d bytes", size))
	}
	b, err := s.read(le.Uint64(data), overflowPages(int(size)))
	if err != nil {
		return nil, err
	}
	if le.Uint16(b[10:])&flagOver == 0 {
		return nil, format("value that is not in overflow pages")
	}
	return b[headerSize : headerSize+size], nil
}

// overflowPages is how many pages a value takes.
func overflowPages(size int) uint64 { return uint64((headerSize-1+size)/pageSize + 1) }

// search returns the first node, from the given one on, whose key is not less than key.
func (p *page) search(from int, key []byte) (n int, equal bool, err error) {
	n = from + sort.Search(p.nodes-from, func(i int) bool {
		_, k, e := p.node(from + i)
		if e != nil {
			err = e
			return true
		}
		c := bytes.Compare(k, key)
		equal = equal || c == 0
		return c >= 0
	})
	return n, equal, err
}

// Lookup returns the value of a key.
func (r *Reader) Lookup(key []byte) (value []byte, found bool, err error) {
	s, err := r.meta()
	if err != nil || s.root == noPage {
		return nil, false, err
	}
	number := s.root
	for range maxDepth {
		p, err := s.page(number)
		if err != nil {
			return nil, false, err
		}
		first := 1 // of a branch is not compared
		if p.leaf {
			first = 0
		}
		n, equal, err := p.search(first, key)
		if err != nil || p.leaf && !equal {
			return nil, false, err
		}
		if !p.leaf && !equal {
			n--
		}
		node, k, err := p.node(n)
		if err != nil {
			return nil, false, err
		}
		if p.leaf {
			value, err = s.value(node, k)
			return value, err == nil, err
		}
		number = child(node)
	}
	return nil, false, format("tree is too deep")
}

// Walk calls fn for each record, in the order of keys.
func (r *Reader) Walk(fn func(key, value []byte) error) error {
	s, err := r.meta()
	if err != nil || s.root == noPage {
		return err
	}
	left := s.lastPage // pages that there can be
	return s.walk(s.root, maxDepth, &left, fn)
}

func (s *snapshot) walk(number uint64, depth int, left *uint64, fn func(key, value []byte) error) error {
	if depth == 0 || *left == 0 {
		return format("tree is too deep, or runs in a circle")
	}
	*left--
	p, err := s.page(number)
	if err != nil {
		return err
	}
	for i := range p.nodes {
		node, key, err := p.node(i)
		if err != nil {
			return err
		}
		if !p.leaf {
			if err := s.walk(child(node), depth-1, left, fn); err != nil {
				return err
			}
			continue
		}
		value, err := s.value(node, key)
		if err != nil {
			return err
		}
		if err := fn(key, value); err != nil {
			return err
		}
	}
	return nil
}
