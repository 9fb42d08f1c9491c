package thread

import "slices"

// A container is a message, or one that is only known by its id (RFC 5256 REFERENCES, step 1).
type container struct {
	m        *Message // nil if there is no such message
	parent   *container
	children []*container // below no parent that is a message too
}

// link makes containers of messages and links them by ids. The result has all, also those
// without message, in the order in which they were first named.
func link(messages []Message) []*container {
	l := linker{byID: make(map[string]*container)}
	for i := range messages {
		l.add(&messages[i])
	}
	// Among messages there are none without (step 3), but at the top.
	for _, c := range l.all {
		if c.m == nil {
			continue
		}
		p := c.parent
		for p != nil && p.m == nil && p.parent != nil {
			p = p.parent
		}
		if p != nil {
			p.children = append(p.children, c)
		}
	}
	return l.all
}

type linker struct {
	byID map[string]*container
	all  []*container
}

func (l *linker) new() *container {
	c := new(container)
	l.all = append(l.all, c)
	return c
}

func (l *linker) named(id string) *container {
	c := l.byID[id]
	if c == nil {
		c = l.new()
		l.byID[id] = c
	}
	return c
}

// add links a message with those that it names.
func (l *linker) add(m *Message) {
	var c *container
	if m.ID != "" {
		c = l.named(m.ID)
	}
	if c == nil || c.m != nil { // another message has the id: the first keeps it
		c = l.new()
	}
	c.m = m
	var parent *container
	for _, id := range m.Parents {
		next := l.named(id)
		if parent != nil {
			next.below(parent)
		}
		parent = next
	}
	if c.parent != parent {
		c.parent = nil // what the message itself says counts
	}
	if parent != nil {
		c.below(parent)
	}
}

// below makes a container the child of another, unless it has a parent or that would make
// a loop.
func (c *container) below(parent *container) {
	for p := parent; p != nil; p = p.parent {
		if p == c {
			return
		}
	}
	if c.parent == nil {
		c.parent = parent
	}
}

// sortBySent orders messages that have one parent, or are at the top.
func sortBySent(list []*container) {
	slices.SortFunc(list, func(a, b *container) int { return bySent(a.first(), b.first()) })
}

// first is the message by which a thread is sorted: its own, or the first child's.
func (c *container) first() *Message {
	if c.m != nil || len(c.children) == 0 {
		return c.m
	}
	return slices.MinFunc(c.children, func(a, b *container) int { return bySent(a.first(), b.first()) }).first()
}

func (c *container) promoted() *container {
	if c.m == nil && len(c.children) == 1 {
		return c.children[0]
	}
	return c
}

// node returns the thread below a container.
func (c *container) node() *Node {
	n := new(Node)
	if c.m != nil {
		n.UID = c.m.UID
	}
	sortBySent(c.children)
	for _, child := range c.children {
		n.Children = append(n.Children, child.node())
	}
	return n
}

// roots are the containers at the top that are no dummies without children.
func roots(all []*container) []*container {
	var top []*container
	for _, c := range all {
		if c.parent == nil && (c.m != nil || len(c.children) > 0) {
			top = append(top, c)
		}
	}
	return top
}

// nodes returns threads. A dummy with one child gives its place to that (step 3).
func nodes(list []*container) []*Node {
	result := make([]*Node, len(list))
	for i, c := range list {
		result[i] = c.promoted().node()
	}
	return result
}
