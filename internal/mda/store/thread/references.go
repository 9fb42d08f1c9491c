package thread

import (
	"cmp"
	"slices"

	"github.com/dovetail-mail/dovetail/internal/message"
)

// refs returns the threads, the one whose newest message is the oldest first.
func refs(all []*container) []*Node {
	top := roots(all)
	newest := make(map[*container]int64, len(top))
	for _, c := range all {
		if c.m == nil {
			continue
		}
		root := c
		for root.parent != nil {
			root = root.parent
		}
		newest[root] = max(newest[root], c.m.Sent.Unix())
	}
	slices.SortStableFunc(top, func(a, b *container) int {
		return cmp.Or(cmp.Compare(newest[a], newest[b]), cmp.Compare(a.uid(), b.uid()))
	})
	return nodes(top)
}

// uid is that of the container's own message.
func (c *container) uid() uint32 {
	if c.m == nil {
		return 0
	}
	return c.m.UID
}

// references does the last steps of RFC 5256's REFERENCES.
func references(all []*container) []*Node {
	top := sorted(roots(all))
	if merged, changed := mergeSubjects(top); changed {
		top = sorted(merged)
	}
	return nodes(top)
}

// sorted is step 4, and what is left of step 3.
func sorted(top []*container) []*container {
	for i, c := range top {
		top[i] = c.promoted()
	}
	sortBySent(top)
	return top
}

// A subject is the thread that those with the same base subject are merged with.
type subject struct {
	c     *container
	reply bool // its subject says that it answers or forwards another
}

// mergeSubjects is step 5: threads with the same base subject become one.
func mergeSubjects(top []*container) (merged []*container, changed bool) {
	table := make(map[string]*subject)
	type entry struct {
		base  string
		reply bool
	}
	entries := make([]entry, len(top))
	for i, c := range top {
		e := &entries[i]
		if e.base, e.reply = message.BaseSubject(c.first().Subject); e.base == "" {
			continue
		}
		in := table[e.base]
		if in == nil {
			table[e.base] = &subject{c, e.reply}
		} else if in.c.m != nil && (c.m == nil || in.reply && !e.reply) {
			in.c, in.reply = c, e.reply
		}
	}
	gone := make(map[*container]bool)
	for i, c := range top {
		in := table[entries[i].base]
		if in == nil || in.c == c {
			continue
		}
		changed = true
		gone[c] = true
		switch {
		case c.m == nil: // both are dummies
			in.c.children = append(in.c.children, c.children...)
		case in.c.m == nil, entries[i].reply && !in.reply:
			in.c.children = append(in.c.children, c)
		default:
			both := &container{children: []*container{in.c, c}}
			gone[in.c] = true
			top = append(top, both)
			in.c = both
		}
	}
	return slices.DeleteFunc(top, func(c *container) bool { return gone[c] }), changed
}
