package imap

import (
	"slices"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// selected is the selected mailbox as its client sees it.
type selected struct {
	mbox     *mailbox.Mailbox
	name     string
	readOnly bool

	// view is what sequence numbers refer to. told is the same or, while
	// expunges are held back, a later state, whose flags the client knows of.
	view, told *mailbox.Snapshot

	recent     []imapwire.Range // uids that are \Recent in this session
	noRecent   bool             // there is no \Recent in IMAP4rev2 (RFC 9051 E)
	toldRecent int              // how many recent messages the client was told of
	toldNext   uint32           // first uid of the messages that the client was told nothing of
	keywords   int              // how many keywords the client was told of

	// For QRESYNC: up to which modseq the client knows everything, and the highest
	// one it has been told since.
	complete, fetched uint64

	updates []*searchUpdate // of SEARCH RETURN (UPDATE)

	saved []imapwire.Range // the uids of SEARCH RETURN (SAVE), "$"
}

// isRecent reports whether the message is \Recent in this session.
func (b *selected) isRecent(uid uint32) bool {
	for i := len(b.recent) - 1; i >= 0; i-- {
		if r := b.recent[i]; uid >= r.Min {
			return uid <= r.Max
		}
	}
	return false
}

// addRecent makes the messages from first on that are in snap recent.
func (b *selected) addRecent(first uint32, snap *mailbox.Snapshot) {
	last := snap.UIDNext() - 1
	if first > last || b.noRecent {
		return
	}
	if n := len(b.recent); n > 0 && b.recent[n-1].Max+1 >= first {
		b.recent[n-1].Max = last
		return
	}
	b.recent = append(b.recent, imapwire.Range{Min: first, Max: last})
}

// forgetRecent makes no message recent any more.
func (b *selected) forgetRecent() {
	b.noRecent, b.recent, b.toldRecent = true, nil, 0
}

// pruneRecent forgets ranges whose messages are all gone.
func (b *selected) pruneRecent(snap *mailbox.Snapshot) {
	b.recent = slices.DeleteFunc(b.recent, func(r imapwire.Range) bool {
		i, _ := snap.Find(r.Min)
		return i >= snap.Len() || snap.UID(i) > r.Max
	})
}

// countRecent returns how many messages of snap are recent.
func (b *selected) countRecent(snap *mailbox.Snapshot) int {
	n := 0
	for _, r := range b.recent {
		from, _ := snap.Find(r.Min)
		to, ok := snap.Find(r.Max)
		if ok {
			to++
		}
		n += to - from
	}
	return n
}

// firstRecent returns the first recent uid, for searches.
func (b *selected) firstRecent() uint32 {
	if len(b.recent) == 0 {
		return imapwire.Star
	}
	return b.recent[0].Min
}

// A span is a run of messages of a snapshot, from index first up to but not
// including end.
type span struct{ first, end int }

// resolve returns the messages that set means, as ascending spans of view that
// do not overlap. Of sequence numbers each must exist (as Dovecot demands); of uids any may be missing.
func (b *selected) resolve(set []imapwire.Range, uid bool) ([]span, error) {
	n := b.view.Len()
	spans := make([]span, 0, len(set))
	for _, r := range set {
		var s span
		if uid {
			s = b.uidSpan(r)
		} else {
			if r.Min == imapwire.Star {
				r.Min = uint32(n)
			}
			if r.Max == imapwire.Star {
				r.Max = uint32(n)
			}
			if r.Min == 0 || r.Min > r.Max || r.Max > uint32(n) {
				return nil, errSet
			}
			s = span{int(r.Min) - 1, int(r.Max)}
		}
		if s.first < s.end {
			spans = append(spans, s)
		}
	}
	return mergeSpans(spans), nil
}

// uidSpan returns the messages with uids in r. "*" is the last message, so N:* always
// has one (RFC 3501 6.4.8).
func (b *selected) uidSpan(r imapwire.Range) span {
	n := b.view.Len()
	if n == 0 {
		return span{}
	}
	last := b.view.UID(n - 1)
	if r.Max == imapwire.Star {
		r.Max = last
		r.Min = min(r.Min, last)
	}
	first, _ := b.view.Find(r.Min)
	end, ok := b.view.Find(r.Max)
	if ok {
		end++
	}
	return span{first, end}
}

func mergeSpans(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return a.first - b.first })
	out := spans[:0]
	for _, s := range spans {
		if n := len(out); n > 0 && s.first <= out[n-1].end {
			out[n-1].end = max(out[n-1].end, s.end)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// uids returns the uids of the messages in spans.
func (b *selected) uids(spans []span) []uint32 {
	n := 0
	for _, s := range spans {
		n += s.end - s.first
	}
	uids := make([]uint32, 0, n)
	for _, s := range spans {
		for i := s.first; i < s.end; i++ {
			uids = append(uids, b.view.UID(i))
		}
	}
	return uids
}

// messages reads the message set that begins a command's arguments and returns
// the messages it means.
func (c *command) messages(args imapwire.Args) ([]span, error) {
	if len(args) == 0 || args[0].Kind != imapwire.Atom {
		if len(args) == 0 {
			return nil, errMissing
		}
		return nil, errArguments
	}
	if string(args[0].Data) == "$" {
		return c.box.savedSpans(), nil
	}
	set, ok := imapwire.ParseSet(nil, args[0].Data)
	if !ok {
		if c.uid {
			return nil, errUIDSet
		}
		return nil, errSet
	}
	return c.box.resolve(set, c.uid)
}

// uidSet returns the set of uids that is an argument, merged. "*" is every uid
// there can be.
func (c *command) uidSet(arg imapwire.Arg) ([]imapwire.Range, error) {
	if string(arg.Data) == "$" {
		return c.box.saved, nil
	}
	set, ok := imapwire.ParseSet(nil, arg.Data)
	if !ok {
		return nil, errUIDSet
	}
	return mergeRanges(set), nil
}

// savedSpans returns the messages of the saved search result that there still are
// (RFC 5182).
func (b *selected) savedSpans() []span {
	var spans []span
	for _, r := range b.saved {
		first, _ := b.view.Find(r.Min)
		end, ok := b.view.Find(r.Max)
		if ok {
			end++
		}
		if first < end {
			spans = append(spans, span{first, end})
		}
	}
	return spans
}
