package imap

import (
	"context"
	"slices"
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// qresync is what a client that selects a mailbox says it knows of it (RFC 7162
// 3.2.5).
type qresync struct {
	uidValidity uint32
	modseq      uint64
	known       []imapwire.Range // uids; nil means all
	samples     []sample         // ascending
}

// A sample is a sequence number and the uid that the client has for it.
type sample struct{ seq, uid uint32 }

var (
	errQResyncOff    = bad("QRESYNC not enabled")
	errQResyncParams = bad("Invalid QRESYNC parameters")
	errQResyncSets   = bad("Invalid QRESYNC sets")
)

// parseQResync reads the list after QRESYNC: uidvalidity, modseq, and what is known.
func parseQResync(list imapwire.Args) (*qresync, error) {
	if list.Count() < 2 {
		return nil, errQResyncParams
	}
	uidValidity, ok1 := atomNumber(list[0])
	list = list.Rest()
	modseq, ok2 := atomNumber(list[0])
	list = list.Rest()
	if !ok1 || !ok2 || uidValidity >= 1<<32 {
		return nil, errQResyncParams
	}
	q := &qresync{uidValidity: uint32(uidValidity), modseq: modseq}
	var err error
	if len(list) > 0 && list[0].Kind == imapwire.Atom {
		if q.known, err = numberSet(list[0], "Invalid QRESYNC known-uids"); err != nil {
			return nil, err
		}
		list = list.Rest()
	}
	if len(list) > 0 && list[0].Kind == imapwire.List {
		if q.samples, err = parseSamples(list.List()); err != nil {
			return nil, err
		}
		list = list.Rest()
	}
	if len(list) > 0 {
		return nil, errQResyncParams
	}
	return q, nil
}

// parseSamples reads the message sequence match data: as many sequence numbers as
// uids. Only the ends of each run of uids are looked at.
func parseSamples(list imapwire.Args) ([]sample, error) {
	if len(list) == 0 {
		return nil, bad("Invalid QRESYNC known-sequence-set")
	}
	seqs, err := numberSet(list[0], "Invalid QRESYNC known-sequence-set")
	if err != nil {
		return nil, err
	}
	if list = list.Rest(); len(list) == 0 {
		return nil, bad("Invalid QRESYNC known-uid-set")
	}
	uids, err := numberSet(list[0], "Invalid QRESYNC known-uid-set")
	if err != nil {
		return nil, err
	}
	if len(list.Rest()) > 0 {
		return nil, bad("Too many parameters to QRESYNC known set")
	}
	if countNumbers(seqs) != countNumbers(uids) {
		return nil, errQResyncSets
	}
	var samples []sample
	n := uint64(0)      // numbers before the run of uids
	before := uint64(0) // numbers before seqs[0]
	nth := func(n uint64) uint32 {
		for n-before >= size(seqs[0]) {
			before += size(seqs[0])
			seqs = seqs[1:]
		}
		return seqs[0].Min + uint32(n-before)
	}
	for _, r := range uids {
		samples = append(samples, sample{nth(n), r.Min})
		n += size(r)
		if r.Min < r.Max {
			samples = append(samples, sample{nth(n - 1), r.Max})
		}
	}
	return samples, nil
}

func size(r imapwire.Range) uint64 { return uint64(r.Max-r.Min) + 1 }

func countNumbers(set []imapwire.Range) (n uint64) {
	for _, r := range set {
		n += size(r)
	}
	return n
}

func atomNumber(arg imapwire.Arg) (uint64, bool) {
	if arg.Kind != imapwire.Atom {
		return 0, false
	}
	return imapwire.ParseUint(arg.Data)
}

// numberSet reads a set without "*", sorted and merged.
func numberSet(arg imapwire.Arg, text string) ([]imapwire.Range, error) {
	if arg.Kind != imapwire.Atom {
		return nil, bad(text)
	}
	set, ok := imapwire.ParseSet(nil, arg.Data)
	if !ok || slices.ContainsFunc(set, func(r imapwire.Range) bool { return r.Max == imapwire.Star }) {
		return nil, bad(text)
	}
	return mergeRanges(set), nil
}

// mergeRanges sorts set and joins ranges that touch.
func mergeRanges(set []imapwire.Range) []imapwire.Range {
	slices.SortFunc(set, func(a, b imapwire.Range) int {
		if a.Min < b.Min {
			return -1
		}
		return 1
	})
	out := set[:0]
	for _, r := range set {
		if n := len(out); n > 0 && uint64(r.Min) <= uint64(out[n-1].Max)+1 {
			out[n-1].Max = max(out[n-1].Max, r.Max)
		} else {
			out = append(out, r)
		}
	}
	return out
}

// resynchronize tells a client that selects a mailbox what has changed since the
// state that it knows.
func (c *command) resynchronize(q *qresync) error {
	known := q.known
	if known == nil {
		known = []imapwire.Range{{Min: 1, Max: imapwire.Star}}
	}
	if err := c.writeVanished(known, q.modseq, q.samples); err != nil {
		return err
	}
	p := &program{changedSince: q.modseq}
	if !c.isUIDOnly() {
		p.add(itemUID)
	}
	p.add(itemFlags)
	p.add(itemModSeq)
	spans, err := c.box.resolve(known, true)
	if err != nil {
		return err
	}
	f := fetcher{command: c, program: p}
	return f.run(spans)
}

// writeVanished tells which messages with uids of known have been expunged since
// modseq, or, if the logs do not go back so far, which of these uids have no
// message.
func (c *command) writeVanished(known []imapwire.Range, since uint64, samples []sample) error {
	gone, err := c.box.vanished(c.ctx, known, since, samples)
	if err != nil || len(gone) == 0 {
		return err
	}
	b := append(c.buf(), "* VANISHED (EARLIER) "...)
	b = imapwire.AppendRanges(b, gone)
	return c.put(append(b, "\r\n"...))
}

// vanished returns the uids of known without message in the view. What has been
// expunged since the view was taken is told of later, like any expunge.
func (b *selected) vanished(ctx context.Context, known []imapwire.Range, since uint64, samples []sample) ([]imapwire.Range, error) {
	uids, ok, err := b.mbox.Vanished(ctx, since)
	if err != nil {
		return nil, err
	}
	if !ok {
		return missing(b.view, known, b.knownUpTo(samples)), nil
	}
	var gone []imapwire.Range
	for _, uid := range uids {
		for len(known) > 0 && known[0].Max < uid {
			known = known[1:]
		}
		if len(known) == 0 {
			break
		}
		if _, exists := b.view.Find(uid); exists || uid < known[0].Min {
			continue
		}
		if n := len(gone); n > 0 && gone[n-1].Max+1 == uid {
			gone[n-1].Max = uid
		} else {
			gone = append(gone, imapwire.Range{Min: uid, Max: uid})
		}
	}
	return gone, nil
}

// knownUpTo returns the last uid up to which the client's numbering is right, so
// that it knows of every expunge below.
func (b *selected) knownUpTo(samples []sample) (uid uint32) {
	for _, s := range samples {
		if int64(s.seq) > int64(b.view.Len()) || b.view.UID(int(s.seq)-1) != s.uid {
			break
		}
		uid = s.uid
	}
	return uid
}

// missing returns the uids of known above the given one that have been used and
// have no message.
func missing(view *mailbox.Snapshot, known []imapwire.Range, above uint32) (gone []imapwire.Range) {
	for _, r := range known {
		next := max(r.Min, above+1)
		last := min(r.Max, view.UIDNext()-1)
		for i, _ := view.Find(next); next <= last; i++ {
			uid := last + 1
			if i < view.Len() {
				uid = min(uid, view.UID(i))
			}
			if next < uid {
				gone = append(gone, imapwire.Range{Min: next, Max: uid - 1})
			}
			next = uid + 1
		}
	}
	return gone
}

// highestModSeq returns the response code that tells a client with QRESYNC what
// it may take for the modseq of its copy, or "": after expunges it could not find
// out itself, and while expunges are held back it would take too high a one.
func (s *session) highestModSeq() string {
	b := s.box
	if b == nil || s.enabled&enabledQResync == 0 {
		return ""
	}
	delayed := b.view != b.told
	var n uint64
	highest := b.told.HighestModSeq()
	switch {
	case delayed && b.fetched > b.complete:
		n = b.complete
	case !delayed && highest > max(b.complete, b.fetched):
		n = highest
	}
	if !delayed {
		b.complete = highest
	}
	b.fetched = 0
	if n == 0 {
		return ""
	}
	return "[HIGHESTMODSEQ " + strconv.FormatUint(n, 10) + "] "
}

// tellHighestModSeq does so untagged, where no tagged reply can have it.
func (s *session) tellHighestModSeq() error {
	code := s.highestModSeq()
	if code == "" {
		return nil
	}
	return s.write("* OK " + code + "Highest\r\n")
}
