package imap

import (
	"slices"
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/search"
)

// maxSearchUpdates is how many searches of a mailbox are kept up to date, as Dovecot's
// CLIENT_MAX_SEARCH_UPDATES.
const maxSearchUpdates = 10

// A searchUpdate is a search whose client is told how its result changes: SEARCH RETURN (UPDATE) and SORT
// RETURN (UPDATE) (RFC 5267 4.3).
type searchUpdate struct {
	tag   string
	uid   bool
	key   *search.Key
	uids  []uint32 // the result, ascending
	order *sorted  // of SORT; nil for SEARCH
	fetch *program // what the client is sent of messages that are added, or nil
	named bool     // of ESEARCH, whose answers name the mailbox (RFC 7377 2.1)
}

// cancelUpdate is CANCELUPDATE (RFC 5267 4.3.6).
func (c *command) cancelUpdate() error {
	args, err := c.dec.Args(0)
	if err != nil {
		return err
	}
	for rest := args; len(rest) > 0; rest = rest.Rest() {
		if rest[0].Kind != imapwire.String {
			args = nil
		}
	}
	if len(args) == 0 {
		return bad("Invalid parameters.")
	}
	for ; len(args) > 0; args = args.Rest() {
		i := c.box.findUpdate(string(args[0].Data))
		if i < 0 {
			return &reply{cond: condNo, text: "Unknown tag."}
		}
		c.box.updates = slices.Delete(c.box.updates, i, i+1)
	}
	return nil
}

// findUpdate returns the index of the search with the given tag, or -1.
func (b *selected) findUpdate(tag string) int {
	return slices.IndexFunc(b.updates, func(u *searchUpdate) bool { return u.tag == tag })
}

// mayUpdate checks that UPDATE can be had under the tag of the command.
func (c *command) mayUpdate(opt searchOptions) error {
	if opt.what&returnUpdate != 0 && c.box.findUpdate(c.tag) >= 0 {
		return bad("Duplicate search update tag")
	}
	return nil
}

// keepUpdated has the result of a search, ascending, kept up to date if the client wants that.
func (c *command) keepUpdated(opt searchOptions, key *search.Key, uids []uint32, order *sorted) error {
	if opt.what&returnUpdate == 0 {
		return nil
	}
	if len(c.box.updates) >= maxSearchUpdates {
		b := append(c.buf(), "* NO [NOUPDATE "...)
		b = imapwire.AppendString(b, c.tag)
		return c.put(append(b, "]\r\n"...))
	}
	c.box.updates = append(c.box.updates, &searchUpdate{tag: c.tag, uid: c.uid, key: key, uids: slices.Clone(uids), order: order, fetch: opt.fetch, named: c.name == "ESEARCH"})
	return nil
}

// tellSearchExpunges tells which results will be told to be expunged: by the numbers that they have
// before that.
func (s *session) tellSearchExpunges(snap *mailbox.Snapshot) error {
	for _, u := range s.box.updates {
		var gone []uint32
		u.uids = slices.DeleteFunc(u.uids, func(uid uint32) bool {
			_, ok := snap.Find(uid)
			if !ok {
				gone = append(gone, uid)
			}
			return !ok
		})
		if err := s.tellSearchUpdate(u, s.removals(u, gone), nil, 0); err != nil {
			return err
		}
	}
	return nil
}

// tellSearchChanges tells how results have changed from told to snap, by the numbers of the view, of
// whose messages it tells; those from uid first on are new to the client.
func (s *session) tellSearchChanges(told, snap *mailbox.Snapshot, first uint32) error {
	if len(s.box.updates) == 0 {
		return nil
	}
	changed := changedSince(told, snap, first, s.box.view.UIDNext())
	if len(changed) == 0 {
		return nil
	}
	among := &search.Key{Op: search.UID, Ranges: searchRanges(changed)}
	for _, u := range s.box.updates {
		matches, err := search.Run(s.ctx, s.box.mbox, snap, &search.Key{Op: search.And, Keys: []*search.Key{among, u.key}}, s.searchEnv())
		if err != nil {
			return s.syncFailed(err)
		}
		var removed, added []uint32
		for _, uid := range changed {
			_, is := slices.BinarySearch(matches, uid)
			at, was := slices.BinarySearch(u.uids, uid)
			switch {
			case was && !is:
				removed = append(removed, uid)
				u.uids = slices.Delete(u.uids, at, at+1)
			case is && !was:
				added = append(added, uid)
				u.uids = slices.Insert(u.uids, at, uid)
			}
		}
		gone := s.removals(u, removed)
		come, err := s.additions(u, added)
		if err != nil {
			return s.syncFailed(err)
		}
		if err := s.tellSearchUpdate(u, gone, come, first); err != nil {
			return err
		}
	}
	return nil
}

// changedSince returns the uids below end of the messages of snap that have other flags than in told, or
// are new: from uid first on.
func changedSince(told, snap *mailbox.Snapshot, first, end uint32) (changed []uint32) {
	at := 0
	for i := 0; i < snap.Len() && snap.UID(i) < end; i++ {
		uid := snap.UID(i)
		j := seek(told, at, uid)
		if j >= 0 && uid < first && told.Flags(j) == snap.Flags(i) && sameKeywords(told, j, snap, i) {
			at = j
			continue
		}
		at = max(j, ^j)
		changed = append(changed, uid)
	}
	return changed
}

// searchRanges returns ascending uids as ranges.
func searchRanges(uids []uint32) (ranges []search.Range) {
	for _, uid := range uids {
		if n := len(ranges); n > 0 && ranges[n-1].Max+1 == uid {
			ranges[n-1].Max = uid
		} else {
			ranges = append(ranges, search.Range{Min: uid, Max: uid})
		}
	}
	return ranges
}

// tellSearchUpdate tells one change of one result (RFC 5267 4.3.1), after what the client wants to
// know of those messages that are new, with uids from first on (4.3.5).
func (s *session) tellSearchUpdate(u *searchUpdate, removed, added []placed, first uint32) error {
	if len(removed)+len(added) == 0 {
		return nil
	}
	c := &command{session: s, entry: commandByName["SEARCH"], tag: u.tag, uid: u.uid}
	if u.fetch != nil {
		f := fetcher{command: c, program: u.fetch}
		for _, p := range added {
			for _, uid := range p.uids {
				i, ok := s.box.view.Find(uid)
				if !ok || uid < first {
					continue
				}
				if err := f.run([]span{{i, i + 1}}); err != nil {
					return err
				}
			}
		}
	}
	r := searchResult{command: c}
	b := append(s.buf(), "* ESEARCH (TAG "...)
	b = imapwire.AppendString(b, u.tag)
	if u.named {
		b = (&foundIn{name: s.box.name, snap: s.box.told}).append(b, s)
	}
	b = append(b, ')')
	if u.uid {
		b = append(b, " UID"...)
	}
	item := func(name string, changes []placed) {
		if len(changes) == 0 {
			return
		}
		b = append(b, name...)
		for i, p := range changes {
			if i > 0 {
				b = append(b, ' ')
			}
			b = strconv.AppendInt(b, int64(p.position), 10)
			r.at = 0
			b = imapwire.AppendSet(append(b, ' '), r.numbers(p.uids))
		}
		b = append(b, ')')
	}
	item(" REMOVEFROM (", removed)
	item(" ADDTO (", added)
	return s.put(append(b, "\r\n"...))
}
