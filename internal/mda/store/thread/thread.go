package thread

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/message"
)

// An Algorithm is one of those of this package.
type Algorithm uint8

// The algorithms.
const (
	References Algorithm = iota
	Refs
	OrderedSubject
)

var names = [...]string{References: "REFERENCES", Refs: "REFS", OrderedSubject: "ORDEREDSUBJECT"}

// String returns the name that IMAP has for it.
func (a Algorithm) String() string { return names[a] }

// Parse returns the algorithm of a name.
func Parse(name string) (a Algorithm, ok bool) {
	i := slices.IndexFunc(names[:], func(n string) bool { return strings.EqualFold(n, name) })
	return Algorithm(max(i, 0)), i >= 0
}

// A Message is what threads are made from.
type Message struct {
	UID      uint32
	Sent     time.Time // the Date field, or the internal date if there is no valid one
	Received time.Time // the internal date
	Subject  string    // the field as it is
	ID       string    // the first id of Message-ID, "" for none
	Parents  []string  // the ids of References or, if there are none, the first of In-Reply-To
}

// A Node is a message and those that answer it.
type Node struct {
	UID      uint32 // 0 for none, at the top only
	Children []*Node
}

// All calls fn with each message of a thread.
func (n *Node) All(fn func(uid uint32)) {
	if n.UID != 0 {
		fn(n.UID)
	}
	for _, child := range n.Children {
		child.All(fn)
	}
}

// Build returns the threads of messages, which are ordered by UID.
func Build(a Algorithm, messages []Message) []*Node {
	switch a {
	case OrderedSubject:
		return orderedSubject(messages)
	case Refs:
		return refs(link(messages))
	}
	return references(link(messages))
}

// orderedSubject is RFC 5256's ORDEREDSUBJECT.
func orderedSubject(messages []Message) []*Node {
	var threads [][]*Message
	bySubject := make(map[string]int)
	for i := range messages {
		subject, _ := message.BaseSubject(messages[i].Subject)
		n, ok := bySubject[subject]
		if !ok {
			n = len(threads)
			threads, bySubject[subject] = append(threads, nil), n
		}
		threads[n] = append(threads[n], &messages[i])
	}
	for _, t := range threads {
		slices.SortFunc(t, bySent)
	}
	slices.SortFunc(threads, func(a, b []*Message) int { return bySent(a[0], b[0]) })
	nodes := make([]*Node, len(threads))
	for n, t := range threads {
		nodes[n] = &Node{UID: t[0].UID}
		for _, m := range t[1:] {
			nodes[n].Children = append(nodes[n].Children, &Node{UID: m.UID})
		}
	}
	return nodes
}

func bySent(a, b *Message) int {
	return cmp.Or(cmp.Compare(a.Sent.Unix(), b.Sent.Unix()), cmp.Compare(a.UID, b.UID))
}

// Append adds the thread in the form of IMAP's THREAD response, with the number that fn gives
// each UID.
func (n *Node) Append(b []byte, fn func(uid uint32) uint32) []byte {
	b = append(b, '(')
	for {
		if n.UID != 0 {
			b = strconv.AppendUint(b, uint64(fn(n.UID)), 10)
			if len(n.Children) > 0 {
				b = append(b, ' ')
			}
		}
		if len(n.Children) != 1 || n.UID == 0 {
			break
		}
		n = n.Children[0]
	}
	for _, child := range n.Children {
		b = child.Append(b, fn)
	}
	return append(b, ')')
}
