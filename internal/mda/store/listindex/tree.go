package listindex

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// Flags say what a node is.
type Flags byte

// The flags of nodes.
const (
	NoInferiors   Flags = 0x01
	syncExists    Flags = 0x02
	NonExistent   Flags = 0x04
	CorruptedName Flags = 0x08
	NoSelect      Flags = 0x10
)

// A Node is a name.
type Node struct {
	UID         uint32
	Name        string // the last part, as on disk
	Flags       Flags
	GUID        [16]byte // zero if unknown or no mailbox
	UIDValidity uint32
	Parent      *Node // nil for the top

	nameID   uint32
	children map[string]*Node
}

// Selectable reports whether the node is a mailbox.
func (n *Node) Selectable() bool { return n.Flags&(NonExistent|NoSelect) == 0 }

// Child returns the node below with that part as its name, nil if there is none.
func (n *Node) Child(name string) *Node { return n.children[name] }

// HasChildren reports whether anything is below.
func (n *Node) HasChildren() bool { return len(n.children) > 0 }

// Children returns the nodes below in the order of their names.
func (n *Node) Children() []*Node {
	list := make([]*Node, 0, len(n.children))
	for _, c := range n.children {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *Node) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return list
}

// Path returns the parts of the name.
func (n *Node) Path() []string {
	depth := 0
	for p := n; p.Parent != nil; p = p.Parent {
		depth++
	}
	parts := make([]string, depth)
	for p := n; p.Parent != nil; p = p.Parent {
		depth--
		parts[depth] = p.Name
	}
	return parts
}

func (n *Node) add(c *Node) {
	if n.children == nil {
		n.children = make(map[string]*Node)
	}
	c.Parent = n
	n.children[c.Name] = c
}

// A Tree is all names. It is valid until the function that got it returns.
type Tree struct {
	// Refresh says that mailboxes were changed without changing this.
	Refresh bool

	st    *index.State
	top   Node
	nodes map[uint32]*Node
	names nameTable
}

// Empty returns a tree without names.
func Empty() *Tree { return &Tree{st: index.Empty()} }

// Top returns the node above all names.
func (t *Tree) Top() *Node { return &t.top }

// Len returns the number of nodes.
func (t *Tree) Len() int { return len(t.nodes) }

// Lookup returns the node with that name, nil if there is none.
func (t *Tree) Lookup(parts []string) *Node {
	n := &t.top
	for _, part := range parts {
		if n = n.children[part]; n == nil {
			return nil
		}
	}
	return n
}

// All calls fn with every node.
func (t *Tree) All(fn func(*Node)) {
	for _, n := range t.nodes {
		fn(n)
	}
}

// extList is the extension with the tree. Its header has another size in each file.
var extList = index.ExtDef{Name: "list", RecordSize: listRecordSize, RecordAlign: 4}

const listRecordSize = 28

// parse makes the tree of a state. What contradicts itself is mended so that every node can
// be reached by a name of its own; the first contradiction is returned.
func parse(st *index.State) (*Tree, error) {
	t := &Tree{st: st, nodes: make(map[uint32]*Node, st.Len())}
	header := st.ExtHeader(extList.Name)
	problem := t.names.parse(header)
	t.Refresh = len(header) > 0 && header[0] != 0
	ext := st.ExtNumber(extList.Name)
	complain := func(format string, args ...any) {
		if problem == nil {
			problem = fmt.Errorf(format, args...)
		}
	}
	parents := make([]uint32, st.Len())
	for i := range st.Len() {
		n := &Node{UID: st.UID(i), Flags: Flags(st.Flags(i)) &^ syncExists}
		t.nodes[n.UID] = n
		b := st.ExtRecord(i, ext)
		if len(b) < listRecordSize {
			complain("uid %d has no name", n.UID)
			b = make([]byte, listRecordSize)
		}
		n.nameID, parents[i] = binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
		copy(n.GUID[:], b[8:])
		n.UIDValidity = binary.LittleEndian.Uint32(b[24:])
		var ok bool
		if n.Name, ok = t.names.text[n.nameID]; !ok {
			complain("uid %d: name %d is missing", n.UID, n.nameID)
			n.Name, n.Flags = lostName(n), n.Flags|CorruptedName
		}
	}
	for i := range st.Len() {
		n := t.nodes[st.UID(i)]
		parent := &t.top
		if parents[i] != 0 {
			parent = t.nodes[parents[i]]
		}
		if parent == nil || parent.within(n) {
			complain("uid %d: parent %d is missing or below it", n.UID, parents[i])
			parent = &t.top
		}
		if parent.children[n.Name] != nil {
			complain("uid %d: %q is there twice", n.UID, n.Name)
			n.Name, n.Flags = n.Name+"-"+lostName(n), n.Flags|CorruptedName
		}
		parent.add(n)
	}
	return t, problem
}

// within reports whether n is above p or p itself.
func (p *Node) within(n *Node) bool {
	for ; p != nil; p = p.Parent {
		if p == n {
			return true
		}
	}
	return false
}

// lostName is a name for a node without one.
func lostName(n *Node) string {
	if n.GUID != [16]byte{} {
		return fmt.Sprintf("unknown-%x", n.GUID)
	}
	return fmt.Sprintf("unknown-%d", n.UID)
}
