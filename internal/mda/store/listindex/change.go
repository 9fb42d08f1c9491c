package listindex

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// A Change is the tree with what is being changed of it.
type Change struct {
	*Tree
	list *List

	added    []*Node
	flags    []*Node // whose flags changed
	records  []*Node // whose list record changed
	removed  []index.Expunged
	status   []statusOf
	newNames []uint32
	refresh  *bool
	subs     bool
}

type statusOf struct {
	uid     uint32
	records []record
}

// Limits of a tree, far above what anybody has.
const (
	maxNodes = 1 << 20
	maxNames = 16<<20 - 1<<10
)

var errTooMany = errors.New("too many mailboxes")

// Add makes a node below parent, or returns the one that is there. A new one is NonExistent.
func (c *Change) Add(parent *Node, name string) *Node {
	if n := parent.children[name]; n != nil {
		return n
	}
	next := c.st.Hdr.NextUID()
	if len(c.added) > 0 {
		next = c.added[len(c.added)-1].UID + 1
	}
	n := &Node{UID: next, Name: name, Flags: NonExistent}
	c.rename(n)
	parent.add(n)
	c.nodes[n.UID] = n
	c.added = append(c.added, n)
	c.records = append(c.records, n)
	return n
}

// AddPath is Add for a whole name.
func (c *Change) AddPath(parts []string) *Node {
	n := &c.top
	for _, part := range parts {
		n = c.Add(n, part)
	}
	return n
}

// rename gives the name of a node an id.
func (c *Change) rename(n *Node) {
	n.nameID = c.names.add(n.Name)
	c.newNames = append(c.newNames, n.nameID)
}

// SetFlags says what a node is.
func (c *Change) SetFlags(n *Node, flags Flags) {
	if n.Flags != flags {
		n.Flags = flags
		c.flags = append(c.flags, n)
	}
}

// SetMailbox says which mailbox has the name.
func (c *Change) SetMailbox(n *Node, guid [16]byte, validity uint32) {
	if n.GUID != guid || n.UIDValidity != validity {
		n.GUID, n.UIDValidity = guid, validity
		c.records = append(c.records, n)
	}
}

// SetStatus records what STATUS tells of a mailbox.
func (c *Change) SetStatus(n *Node, s *Status, format string) {
	i, known := c.st.Find(n.UID)
	u := statusOf{uid: n.UID}
	for _, r := range s.records(format) {
		if known && slices.Equal(c.st.ExtRecord(i, c.st.ExtNumber(r.ext.Name)), r.data) {
			continue
		}
		u.records = append(u.records, r)
	}
	if len(u.records) > 0 {
		c.status = append(c.status, u)
	}
}

// Move gives a node, with all below it, another name.
func (c *Change) Move(n, parent *Node, name string) {
	delete(n.Parent.children, n.Name)
	n.Name, n.Flags = name, n.Flags&^CorruptedName
	c.flags = append(c.flags, n)
	c.rename(n)
	parent.add(n)
	c.records = append(c.records, n)
}

// Remove forgets a node and those below it.
func (c *Change) Remove(n *Node) {
	for _, below := range n.children {
		c.remove(below)
	}
	n.children = nil
	c.remove(n)
	delete(n.Parent.children, n.Name)
}

func (c *Change) remove(n *Node) {
	for _, below := range n.children {
		c.remove(below)
	}
	delete(c.nodes, n.UID)
	c.removed = append(c.removed, index.Expunged{UID: n.UID})
}

// SetRefresh says whether mailboxes were changed without changing this.
func (c *Change) SetRefresh(on bool) {
	if c.Refresh != on {
		c.Refresh = on
		c.refresh = &on
	}
}

// SubscriptionsChanged tells those who wait for that.
func (c *Change) SubscriptionsChanged() { c.subs = true }

// commit writes the change as one transaction.
func (c *Change) commit() error {
	if len(c.nodes) > maxNodes {
		return errTooMany
	}
	var tx index.Tx
	c.appendNodes(&tx)
	header, err := c.appendHeader(&tx)
	if err != nil {
		return err
	}
	c.appendFlags(&tx)
	c.appendRecords(&tx, header)
	c.appendStatus(&tx)
	if c.subs {
		c.appendSubs(&tx)
	}
	if len(c.removed) > 0 {
		slices.SortFunc(c.removed, func(a, b index.Expunged) int { return int(int64(a.UID) - int64(b.UID)) })
		tx.Expunge(c.removed)
	}
	if tx.Empty() {
		return nil
	}
	x := c.list.ix
	if err := x.Commit(&tx); err != nil {
		return err
	}
	c.st = x.State()
	c.names.size = len(c.st.ExtHeader(extList.Name))
	if !c.list.opt.Authoritative || c.list.opt.Index.NoSync {
		return nil
	}
	log := x.Log()
	defer log.Close()
	return log.Flush()
}

func (c *Change) appendNodes(tx *index.Tx) {
	if len(c.added) == 0 {
		return
	}
	msgs := make([]index.New, len(c.added))
	for i, n := range c.added {
		msgs[i] = index.New{UID: n.UID, Flags: byte(n.Flags)}
	}
	tx.Append(msgs...)
}

// appendHeader writes the names that are new, or all of them when many are of no use any more.
// It returns the size of the header.
func (c *Change) appendHeader(tx *index.Tx) (size int, err error) {
	t := &c.names
	size = t.size
	if len(c.newNames) == 0 {
		if c.refresh != nil {
			introList(tx, size)
			tx.ExtHeader(0, []byte{refreshByte(*c.refresh)})
		}
		return size, nil
	}
	text, at := c.newText()
	if at+len(text) > size && len(t.text) > 2*len(c.nodes)+16 {
		text, at = c.allText()
	}
	if at+len(text) > maxNames {
		return 0, errTooMany
	}
	if at+len(text) > size {
		size = roomFor(at + len(text))
	}
	introList(tx, size)
	tx.ExtHeader32(at, text)
	if c.refresh != nil {
		tx.ExtHeader(0, []byte{refreshByte(*c.refresh)})
	}
	t.end, t.size = at+len(text)-4, size
	return size, nil
}

func refreshByte(on bool) byte {
	if on {
		return 1
	}
	return 0
}

// newText returns the new names and where they are written.
func (c *Change) newText() (text []byte, at int) {
	for _, id := range c.newNames {
		text = appendName(text, id, c.names.text[id])
	}
	return append(text, 0, 0, 0, 0), c.names.end
}

// allText returns the names of all nodes, and forgets the others.
func (c *Change) allText() (text []byte, at int) {
	used := make(map[uint32]string, len(c.nodes))
	ids := make([]uint32, 0, len(c.nodes))
	for _, n := range c.nodes {
		if _, ok := used[n.nameID]; !ok {
			ids = append(ids, n.nameID)
		}
		used[n.nameID] = n.Name
	}
	slices.Sort(ids)
	for _, id := range ids {
		text = appendName(text, id, used[id])
	}
	c.names.text = used
	return append(text, 0, 0, 0, 0), 1
}

func (c *Change) appendFlags(tx *index.Tx) {
	for _, n := range c.flags {
		if _, known := c.st.Find(n.UID); !known || c.nodes[n.UID] != n {
			continue // written with its flags, or gone
		}
		tx.Flags([]index.Range{{First: n.UID, Last: n.UID}}, byte(n.Flags), 0x1f&^byte(n.Flags))
	}
}

// appendRecords writes the list records that changed.
func (c *Change) appendRecords(tx *index.Tx, header int) {
	nodes := make(map[uint32]*Node, len(c.records))
	uids := make([]uint32, 0, len(c.records))
	for _, n := range c.records {
		if c.nodes[n.UID] == n && nodes[n.UID] == nil {
			nodes[n.UID] = n
			uids = append(uids, n.UID)
		}
	}
	if len(uids) == 0 {
		return
	}
	slices.Sort(uids)
	data := make([]byte, 0, len(uids)*listRecordSize)
	for _, uid := range uids {
		n := nodes[uid]
		data = binary.LittleEndian.AppendUint32(data, n.nameID)
		data = binary.LittleEndian.AppendUint32(data, n.Parent.UID)
		data = append(data, n.GUID[:]...)
		data = binary.LittleEndian.AppendUint32(data, n.UIDValidity)
	}
	introList(tx, header)
	tx.ExtRecords(uids, listRecordSize, data)
}

func (c *Change) appendStatus(tx *index.Tx) {
	for _, s := range c.status {
		if c.nodes[s.uid] == nil {
			continue
		}
		for _, r := range s.records {
			tx.Intro(r.ext)
			tx.ExtRecords([]uint32{s.uid}, len(r.data), r.data)
		}
	}
}

// appendSubs changes the number that stands for the subscriptions.
func (c *Change) appendSubs(tx *index.Tx) {
	counter := uint32(time.Now().Unix())
	if h := c.st.ExtHeader(extSubs.Name); len(h) == 4 {
		counter = max(counter, binary.LittleEndian.Uint32(h)+1)
	}
	tx.Intro(&extSubs)
	tx.ExtHeader(0, binary.LittleEndian.AppendUint32(nil, counter))
}
