package store

// A layout is how the names of mailboxes are kept: as directories in each other
// (LAYOUT=fs), side by side in one (maildir++), as files (mbox), or only in
// dovecot.list.index (index). What changes something is called with the lock on
// the list held.
type layout interface {
	// tree returns the names that the globs can match, below a node that stands for
	// the namespace. Children are in the order of their bytes.
	tree(ns *Namespace, globs []glob) (*node, error)
	// look finds out about the node of one name, of which name and disk are set: whether
	// it exists and can be selected and, if asked for, what is below it, as far as
	// that is needed to know whether anything is.
	look(ns *Namespace, n *node, children bool) error
	// prepare makes what must be there before the mailbox itself is made.
	prepare(p *place) error
	// created completes a mailbox that was made.
	created(u *User, p place, validity uint32) error
	// makeDir makes a name that only others are below.
	makeDir(p place) error
	// removed forgets a name whose mailbox, if it was one, is deleted.
	removed(u *User, p place, n *node) error
	// rename gives a name and those below it another one.
	rename(u *User, src, dst place) error
}

// names returns how the names of the mailboxes are kept.
func (s *storage) names() layout {
	if s.format == "mbox" && s.layout != layoutIndex {
		return mboxLayout{}
	}
	switch s.layout {
	case layoutMaildirPlus:
		return plusLayout{}
	case layoutIndex:
		return indexLayout{}
	}
	return fsLayout{}
}

// node returns what is on disk of the name.
func (p place) node(children bool) (*node, error) {
	n := &node{name: p.name, disk: p.disk}
	err := p.ns.st.names().look(p.ns, n, children)
	return n, err
}
