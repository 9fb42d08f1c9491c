package store

import (
	"context"
	"strings"
)

// A ListQuery is one LIST, LSUB or LIST-EXTENDED command (RFC 3501 6.3.8,
// RFC 5258, RFC 6154). Names and patterns are UTF-8.
type ListQuery struct {
	Reference string
	Patterns  []string
	Select    ListSelect
	Return    ListReturn
}

// ListSelect are the selection options of RFC 5258.
type ListSelect uint8

// The selection options.
const (
	SelectSubscribed     ListSelect = 1 << iota // SUBSCRIBED
	SelectRecursiveMatch                        // RECURSIVEMATCH
	SelectSpecialUse                            // SPECIAL-USE
	SelectRemote                                // REMOTE, no effect
	SelectLSub                                  // the LSUB command: subscriptions as RFC 3501 6.3.9 wants them
)

// ListReturn are the return options of RFC 5258.
type ListReturn uint8

// The return options. LIST of RFC 3501 is ReturnChildren|ReturnSpecialUse.
const (
	ReturnSubscribed ListReturn = 1 << iota // SUBSCRIBED
	ReturnChildren                          // CHILDREN
	ReturnSpecialUse                        // SPECIAL-USE
)

// plain reports whether this is the LIST of RFC 3501, which has no \NonExistent.
func (q *ListQuery) plain() bool {
	return q.Select == 0 && q.Return == ReturnChildren|ReturnSpecialUse
}

// ListFlags are the attributes of a listed name.
type ListFlags uint16

// The attributes in the order in which Dovecot writes them.
const (
	FlagSubscribed ListFlags = 1 << iota
	FlagNoSelect
	FlagNonExistent
	FlagNoInferiors
	FlagHasChildren
	FlagHasNoChildren
	FlagMarked
	FlagUnmarked
	FlagChildSubscribed // CHILDINFO ("SUBSCRIBED") of RECURSIVEMATCH, not an attribute
)

// listFlagNames are the attributes as text, by bit.
var listFlagNames = [...]string{
	`\Subscribed`, `\Noselect`, `\NonExistent`, `\NoInferiors`, `\HasChildren`, `\HasNoChildren`, `\Marked`, `\UnMarked`,
}

// A ListEntry is one name that matched.
type ListEntry struct {
	Name       string // UTF-8, with prefix
	Sep        byte
	Flags      ListFlags
	SpecialUse string // special-use attributes such as `\Sent`, separated by blanks
}

// AppendFlags appends the attributes as LIST shows them, without parentheses.
func (e *ListEntry) AppendFlags(b []byte) []byte {
	start := len(b)
	for i, name := range listFlagNames {
		if e.Flags&(1<<i) == 0 {
			continue
		}
		if len(b) > start {
			b = append(b, ' ')
		}
		b = append(b, name...)
	}
	if e.SpecialUse == "" {
		return b
	}
	if len(b) > start {
		b = append(b, ' ')
	}
	return append(b, e.SpecialUse...)
}

// List returns the names that match: each namespace's INBOX first and then in
// the order of their bytes, parents before children; subscriptions in the order
// of the file. A query with one empty pattern returns the root of the reference.
func (u *User) List(ctx context.Context, q ListQuery) ([]ListEntry, error) {
	if len(q.Patterns) == 1 && q.Patterns[0] == "" {
		return u.listRoot(q.Reference), nil
	}
	for _, pattern := range q.Patterns {
		u.useShared(q.Reference + pattern)
	}
	if err := u.findShared(ctx, &q); err != nil {
		return nil, internal(err)
	}
	l := lister{u: u, q: &q}
	for _, ns := range u.allNamespaces() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := l.namespace(ctx, ns); err != nil {
			return nil, internal(err)
		}
	}
	return l.out, nil
}

// listRoot answers LIST with an empty pattern (RFC 3501 6.3.8).
func (u *User) listRoot(reference string) []ListEntry {
	sep := byte('/')
	if ns := u.namespaceOf(reference); ns != nil {
		sep = ns.Sep
	} else if len(u.namespaces) > 0 {
		sep = u.namespaces[0].Sep
	}
	root := reference[:strings.LastIndexByte(reference, sep)+1]
	return []ListEntry{{Name: root, Sep: sep, Flags: FlagNoSelect}}
}

// A lister collects the answer to one query.
type lister struct {
	u     *User
	q     *ListQuery
	ns    *Namespace
	globs []glob
	out   []ListEntry
}

// namespace adds what matches in one namespace.
func (l *lister) namespace(ctx context.Context, ns *Namespace) error {
	l.ns = ns
	l.globs = l.globs[:0]
	for _, pattern := range l.q.Patterns {
		// A pattern that begins with the separator stands for itself
		// (RFC 3501 6.3.8 leaves the joining to the server).
		if !strings.HasPrefix(pattern, string(ns.Sep)) {
			pattern = l.q.Reference + pattern
		}
		if ns.List == ListNo && (ns.Prefix == "" || !strings.HasPrefix(pattern, ns.Prefix)) {
			continue
		}
		l.globs = append(l.globs, newGlob(pattern, ns.Sep, true))
	}
	prefix := ns.prefixName()
	if !below(l.globs, ns.Prefix) && !matches(l.globs, prefix) && !(ns.Inbox && matches(l.globs, inbox)) {
		return nil
	}
	if l.q.Select&(SelectSubscribed|SelectLSub) != 0 {
		return l.subscribed()
	}
	if ns.unusable {
		return l.sharedRoot(ctx)
	}
	if l.u.access.checks(ns) {
		top, err := l.wholeTree()
		if err != nil {
			return err
		}
		return l.mailboxes(top)
	}
	top, err := ns.tree(l.globs)
	if err != nil {
		return err
	}
	return l.mailboxes(top)
}

// sharedRoot adds what all shared namespaces begin with, if there are any.
func (l *lister) sharedRoot(ctx context.Context) error {
	prefix := l.ns.prefixName()
	if l.ns.shared == nil || prefix == "" || !matches(l.globs, prefix) {
		return nil
	}
	for _, ns := range l.u.allNamespaces() {
		if !ns.inboxAny || ns.unusable || !strings.HasPrefix(ns.Prefix, l.ns.Prefix) {
			continue
		}
		l.add(&node{name: prefix, children: []*node{{exists: true}}}, nil)
		break
	}
	return ctx.Err()
}

// mailboxes adds the matching nodes of a tree.
func (l *lister) mailboxes(top *node) error {
	var subs map[string]bool
	if l.q.Return&ReturnSubscribed != 0 {
		names, err := l.u.subscriptionsOf(l.ns)
		if err != nil {
			return err
		}
		subs = make(map[string]bool, len(names))
		for _, name := range names {
			subs[name] = true
		}
	}
	prefix := l.ns.prefixName()
	if box := takeInbox(l.ns, top); box != nil {
		// INBOX of a namespace "INBOX." has the others as its children.
		above := prefix == inbox || l.ns.inboxAny
		if above {
			box.children = append(box.children, top.children...)
		}
		l.node(box, subs, !above)
	} else if prefix != "" && matches(l.globs, prefix) && (l.ns.List == ListYes || top.hasChildren()) {
		top.name = prefix
		l.add(top, subs)
	}
	for _, c := range top.children {
		if l.ns.isAliasInbox(c.name) {
			continue // INBOX is listed once
		}
		l.node(c, subs, true)
	}
	return nil
}

// takeInbox removes INBOX from the tree and returns it.
func takeInbox(ns *Namespace, top *node) *node {
	for i, c := range top.children {
		if ns.Inbox && c.name == inbox || ns.inboxAny && c.name == ns.prefixName() {
			top.children = append(top.children[:i:i], top.children[i+1:]...)
			return c
		}
	}
	return nil
}

// node adds a node and, if deep, those below it.
func (l *lister) node(n *node, subs map[string]bool, deep bool) {
	if matches(l.globs, n.name) && !l.elsewhere(n.name) && l.shown(n) {
		l.add(n, subs)
	}
	if !deep {
		return
	}
	for _, c := range n.children {
		l.node(c, subs, true)
	}
}

// elsewhere reports whether a name on disk belongs to another namespace.
func (l *lister) elsewhere(name string) bool {
	ns := l.u.configuredFor(name)
	return ns != nil && ns != l.ns && !l.ns.inboxAny
}

func (l *lister) add(n *node, subs map[string]bool) {
	e := ListEntry{Name: n.name, Sep: l.ns.Sep}
	switch {
	case n.selectable:
	case n.disk != "" || l.q.plain():
		e.Flags |= FlagNoSelect
	default:
		e.Flags |= FlagNonExistent // only the prefix of a namespace
	}
	if subs[n.name] {
		e.Flags |= FlagSubscribed
	}
	if n.noInferiors {
		e.Flags |= FlagNoInferiors
	}
	l.finish(e, n.hasChildren())
}

// finish adds what the query asks to be returned, and the entry to the answer.
func (l *lister) finish(e ListEntry, hasChildren bool) {
	use := l.ns.specialUse(e.Name)
	if l.q.Select&SelectSpecialUse != 0 && use == "" {
		return
	}
	if l.q.Return&ReturnSpecialUse != 0 || l.q.Select&SelectLSub != 0 {
		e.SpecialUse = use
	}
	if l.q.Return&ReturnChildren != 0 && e.Flags&FlagNoInferiors == 0 {
		if hasChildren {
			e.Flags |= FlagHasChildren
		} else {
			e.Flags |= FlagHasNoChildren
		}
	}
	l.out = append(l.out, e)
}

func (ns *Namespace) specialUse(name string) string {
	if box := ns.Setting(name); box != nil {
		return box.SpecialUse
	}
	return ""
}
