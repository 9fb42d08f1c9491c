package imap

import (
	"slices"
	"strconv"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store/search"
)

// search is SEARCH and UID SEARCH (RFC 3501 6.4.4), with RETURN (RFC 4731) and
// MODSEQ (RFC 7162).
func (c *command) search() error {
	args, err := c.dec.Args(0)
	if err != nil {
		return err
	}
	ret, args, err := searchReturn(args)
	if err != nil {
		return err
	}
	p := searchParser{box: c.box}
	key, err := p.parse(args)
	if err != nil {
		return err
	}

	if p.modseq {
		if err := c.enableCondstore(); err != nil {
			return err
		}
	}
	uids, err := search.Run(c.ctx, c.box.mbox, c.box.told, key, &search.Env{
		Now: time.Now(), Location: time.Local, FirstRecent: c.box.firstRecent(), Mailbox: c.box.name,
	})
	if err != nil {
		return err
	}
	r := searchResult{command: c, numbers: uids, modseqs: p.modseq}
	r.number(uids)
	if ret == 0 {
		return r.write()
	}
	return r.writeExtended(ret)
}

// searchReturns is what ESEARCH is to tell.
type searchReturns uint8

const (
	returnMin searchReturns = 1 << iota
	returnMax
	returnAll
	returnCount
)

// searchReturn reads the RETURN options; 0 if there are none.
func searchReturn(args imapwire.Args) (ret searchReturns, rest imapwire.Args, err error) {
	if len(args) < 2 || !args[0].Is("RETURN") || args[1].Kind != imapwire.List {
		return 0, args, nil
	}
	args = args.Rest()
	for list := args.List(); len(list) > 0; list = list.Rest() {
		switch {
		case list[0].Kind != imapwire.Atom:
			return 0, nil, bad("SEARCH return options contain non-atoms.")
		case list[0].Is("MIN"):
			ret |= returnMin
		case list[0].Is("MAX"):
			ret |= returnMax
		case list[0].Is("ALL"):
			ret |= returnAll
		case list[0].Is("COUNT"):
			ret |= returnCount
		default:
			return 0, nil, bad("Unknown SEARCH return option")
		}
	}
	if ret == 0 {
		ret = returnAll // RFC 4731 3.1
	}
	return ret, args.Rest(), nil
}

// searchResult is what a search has found.
type searchResult struct {
	*command
	numbers []uint32 // uids or sequence numbers
	modseqs bool     // the query was about modseqs
	// modseq of the first and last result, and the highest.
	first, last, highest uint64
}

// number keeps the messages the client knows of, numbers them as it wants them,
// and finds their modseqs.
func (r *searchResult) number(uids []uint32) {
	b := r.box
	r.numbers = uids[:0]
	i := 0
	for _, uid := range uids {
		if uid >= b.view.UIDNext() {
			break
		}
		if r.modseqs {
			if j, ok := b.told.Find(uid); ok {
				r.modseq(b.told.ModSeq(j))
			}
		}
		if r.uid {
			r.numbers = append(r.numbers, uid)
		} else if i = seek(b.view, i, uid); i >= 0 {
			r.numbers = append(r.numbers, uint32(i+1))
		} else {
			i = ^i
		}
	}
}

func (r *searchResult) modseq(n uint64) {
	if r.first == 0 {
		r.first = n
	}
	r.last = n
	r.highest = max(r.highest, n)
}

// write answers with SEARCH.
func (r *searchResult) write() error {
	b := append(r.buf(), "* SEARCH"...)
	for _, n := range r.numbers {
		b = append(b, ' ')
		b = strconv.AppendUint(b, uint64(n), 10)
		if len(b) >= outSize {
			if err := r.put(b); err != nil {
				return err
			}
			b = r.buf()
		}
	}
	if r.highest > 0 {
		b = append(b, " ("...)
		b = append(b, "MODSEQ "...)
		b = strconv.AppendUint(b, r.highest, 10)
		b = append(b, ')')
	}
	return r.put(append(b, "\r\n"...))
}

// writeExtended answers with ESEARCH.
func (r *searchResult) writeExtended(ret searchReturns) error {
	b := append(r.buf(), "* ESEARCH (TAG "...)
	b = imapwire.AppendString(b, r.tag)
	b = append(b, ')')
	if r.uid {
		b = append(b, " UID"...)
	}
	item := func(name string, n uint64) {
		b = append(b, name...)
		b = strconv.AppendUint(b, n, 10)
	}
	if n := len(r.numbers); n > 0 {
		if ret&returnMin != 0 {
			item(" MIN ", uint64(r.numbers[0]))
		}
		if ret&returnMax != 0 {
			item(" MAX ", uint64(r.numbers[n-1]))
		}
		if ret&returnAll != 0 {
			b = append(b, " ALL "...)
			b = imapwire.AppendSet(b, r.numbers)
		}
	}
	if ret&returnCount != 0 {
		item(" COUNT ", uint64(len(r.numbers)))
	}
	if modseq := r.returnedModSeq(ret); modseq > 0 {
		item(" MODSEQ ", modseq)
	}
	return r.put(append(b, "\r\n"...))
}

// returnedModSeq returns the highest modseq of the messages that are returned
// (RFC 7162 3.1.10).
func (r *searchResult) returnedModSeq(ret searchReturns) uint64 {
	switch ret {
	case returnMin:
		return r.first
	case returnMax:
		return r.last
	case returnMin | returnMax:
		return max(r.first, r.last)
	}
	return r.highest
}

// uidRanges returns ranges of the view as uids.
func (b *selected) uidRanges(spans []span) []search.Range {
	ranges := make([]search.Range, len(spans))
	for i, s := range spans {
		ranges[i] = search.Range{Min: b.view.UID(s.first), Max: b.view.UID(s.end - 1)}
	}
	return slices.Clip(ranges)
}
