package imap

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/search"
)

var (
	errSourceMissing = bad("Missing source mailboxes")
	errNotInMany     = bad("Message numbers and saved results need the selected mailbox alone")
	errUpdateMany    = bad("UPDATE needs the selected mailbox alone") // RFC 7377 2.1
)

// searchSource is which mailboxes ESEARCH looks at (RFC 7377 2.2).
type searchSource struct {
	selected bool
	filters  []notifyFilter
}

// esearch is ESEARCH (RFC 7377): SEARCH in several mailboxes, which answers with uids. A mailbox that has no match,
// or that the user may not read, is not told of.
func (c *command) esearch() error {
	args, err := c.dec.Args(0)
	if err != nil {
		return err
	}
	src, args, err := c.searchSource(args)
	if err != nil {
		return err
	}
	opt, args, err := parseReturn(args)
	if err != nil {
		return err
	}
	alone := len(src.filters) == 0
	switch {
	case src.selected && c.box == nil:
		return errNotSelected
	case opt.what&returnUpdate != 0 && !alone:
		return errUpdateMany
	case opt.what&returnSave != 0 && !alone:
		return errNotInMany
	}
	if opt.what == 0 {
		opt.what = returnAll
	}
	c.uid = true
	if alone {
		return c.searchSelected(args, opt)
	}
	p := c.searchParser()
	p.many = true
	key, err := p.parse(args, "")
	if err != nil {
		return err
	}
	return c.searchMany(src, key, p.modseq, opt)
}

// searchSource reads IN (mailboxes), without which the selected mailbox is meant.
func (c *command) searchSource(args imapwire.Args) (src searchSource, rest imapwire.Args, err error) {
	if len(args) == 0 || !args[0].Is("IN") {
		return searchSource{selected: true}, args, nil
	}
	if args = args.Rest(); len(args) == 0 || args[0].Kind != imapwire.List || len(args.List()) == 0 {
		return src, nil, errSourceMissing
	}
	for list := args.List(); len(list) > 0; {
		filter := notifyFilter{}
		scope := list[0]
		list = list.Rest()
		switch {
		case scope.Is("SELECTED"):
			src.selected = true
			continue
		case scope.Is("INBOXES"), scope.Is("PERSONAL"):
			filter.scope = notifyPersonal
		case scope.Is("SUBSCRIBED"):
			filter.scope = notifySubscribed
		case scope.Is("SUBTREE"):
			filter.scope = notifySubtree
		case scope.Is("SUBTREE-ONE"):
			filter.scope = notifyChildren
		case scope.Is("MAILBOXES"):
			filter.scope = notifyMailboxes
		default: // nor are there scope options, which a list would be
			return src, nil, bad("Unknown source mailboxes")
		}
		if filter.scope >= notifySubtree {
			if filter.names, err = c.notifyNames(list); err != nil {
				return src, nil, err
			}
			list = list.Rest()
		}
		src.filters = append(src.filters, filter)
	}
	return src, args.Rest(), nil
}

// searchSelected is a search of the selected mailbox.
func (c *command) searchSelected(args imapwire.Args, opt searchOptions) error {
	if err := c.mayUpdate(opt); err != nil {
		return err
	}
	key, modseq, err := c.searchKey(args, "", opt)
	if err != nil {
		return err
	}
	uids, err := c.find(key, modseq, opt)
	if err != nil {
		return err
	}
	in := foundIn{name: c.box.name, snap: c.box.told}
	if err := c.keepUpdated(opt, key, uids, nil); err != nil {
		return err
	}
	return c.foundIn(&in, uids, modseq, opt)
}

// searchMany searches mailbox after mailbox.
func (c *command) searchMany(src searchSource, key *search.Key, modseq bool, opt searchOptions) error {
	names, err := c.sourceNames(src)
	if err != nil {
		return err
	}
	if modseq {
		if err := c.enableCondstore(); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := c.searchIn(name, key, modseq, opt); err != nil {
			return err
		}
		if c.ended != nil {
			return c.ended
		}
	}
	return nil
}

// sourceNames returns the mailboxes that there are of those meant, each once.
func (c *command) sourceNames(src searchSource) (names []string, err error) {
	if src.selected {
		names = append(names, c.box.name)
	}
	entries, err := c.user.List(c.ctx, store.ListQuery{Patterns: []string{"*"}})
	if err != nil {
		return nil, err
	}
	subscriptions, err := c.user.Subscriptions(c.ctx)
	if err != nil {
		return nil, err
	}
	for i := range entries {
		e := &entries[i]
		ns, ok := c.user.Namespace(e.Name)
		if !ok || e.Flags&(store.FlagNoSelect|store.FlagNonExistent) != 0 || slices.Contains(names, e.Name) {
			continue
		}
		subscribed := slices.Contains(subscriptions, e.Name)
		if slices.ContainsFunc(src.filters, func(f notifyFilter) bool { return f.matches(e.Name, ns, subscribed) }) {
			names = append(names, e.Name)
		}
	}
	return names, nil
}

// searchIn searches one mailbox. One that cannot be opened is passed over (RFC 7377 2.1).
func (c *command) searchIn(name string, key *search.Key, modseq bool, opt searchOptions) error {
	mbox, err := c.user.Mailbox(c.ctx, name)
	if err != nil {
		return c.ctx.Err()
	}
	defer mbox.Close()
	if modseq {
		if err := mbox.EnableModSeq(c.ctx); err != nil {
			return err
		}
	}
	snap, err := mbox.Sync(c.ctx)
	if err != nil {
		return c.ctx.Err()
	}
	env := &search.Env{Now: c.started, FirstRecent: snap.FirstRecent(), Mailbox: name, FullText: c.user.FullText(mbox), Progress: c.newProgress().report}
	if opt.what&returnRelevancy != 0 {
		c.scores = make(map[uint32]float64)
		env.Scores = c.scores
	}
	uids, err := search.Run(c.ctx, mbox, snap, key, env)
	mbox.CommitCache(c.ctx)
	if errors.Is(err, search.ErrIndexing) {
		return errIndexing
	}
	if err != nil {
		return err
	}
	return c.foundIn(&foundIn{name: name, snap: snap}, uids, modseq, opt)
}

// foundIn is where an answer of ESEARCH is from.
type foundIn struct {
	name string
	snap *mailbox.Snapshot
}

// append appends what tells the mailbox in the answer (RFC 7377 2.1).
func (in *foundIn) append(b []byte, s *session) []byte {
	b = s.appendName(append(b, " MAILBOX "...), in.name)
	b = append(b, " UIDVALIDITY "...)
	return strconv.AppendUint(b, uint64(in.snap.UIDValidity()), 10)
}

// foundIn saves and answers what was found in a mailbox.
func (c *command) foundIn(in *foundIn, uids []uint32, modseq bool, opt searchOptions) error {
	r := searchResult{command: c, searchOptions: opt, uids: uids, in: in}
	if opt.what&returnSave != 0 {
		c.box.saved = asRanges(r.toSave())
	}
	if len(uids) == 0 || opt.what == returnSave {
		return nil
	}
	if modseq {
		r.modseq = r.highestModSeq()
	}
	return r.writeExtended()
}

// isBelow reports whether name is a child of top.
func isBelow(name, top string, sep byte) bool {
	rest, ok := strings.CutPrefix(name, top)
	if !ok || rest == "" {
		return false
	}
	if top != "" {
		if rest[0] != sep {
			return false
		}
		rest = rest[1:]
	}
	return strings.IndexByte(rest, sep) < 0
}
