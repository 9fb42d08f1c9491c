package imap

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/search"
)

var errIndexing = &reply{cond: condNo, code: "[INUSE] ", text: search.ErrIndexing.Error()}

// search is SEARCH and UID SEARCH (RFC 3501 6.4.4), with RETURN (RFC 4731, 5182,
// 5267) and MODSEQ (RFC 7162).
func (c *command) search() error {
	args, err := c.dec.Args(0)
	if err != nil {
		return err
	}
	opt, args, err := c.searchOptions(args)
	if err != nil {
		return err
	}
	key, modseq, err := c.searchKey(args, "", opt)
	if err != nil {
		return err
	}
	uids, err := c.find(key, modseq, opt)
	if err == nil {
		err = c.keepUpdated(opt, key, uids, nil)
	}
	if err != nil {
		return err
	}
	return c.found(uids, modseq, opt, "* SEARCH")
}

// searchKey reads the keys of a search, whose texts are in the charset; without one args may begin
// with it. modseq says that a key is about modseqs.
func (c *command) searchKey(args imapwire.Args, charset string, opt searchOptions) (key *search.Key, modseq bool, err error) {
	p := c.searchParser()
	p.box = c.box
	key, err = p.parse(args, charset)
	// What is saved may be used in the keys, and is void after them (RFC 5182 2.1).
	if badCharset := (*reply)(nil); opt.what&returnSave != 0 && (err == nil || errors.As(err, &badCharset)) {
		c.box.saved = nil
	}
	return key, p.modseq, err
}

// searchParser returns a parser for the session.
func (s *session) searchParser() searchParser {
	p := searchParser{rev2: s.isRev2(), utf8: s.hasUTF8(), uidOnly: s.isUIDOnly()}
	if s.hasMetadata() {
		p.lookUp = s.filterText
	}
	return p
}

// find returns the uids of the messages that match, ascending.
func (c *command) find(key *search.Key, modseq bool, opt searchOptions) ([]uint32, error) {
	if modseq {
		if err := c.enableCondstore(); err != nil {
			return nil, err
		}
	}
	env := c.searchEnv()
	env.FullText = c.user.FullText(c.box.mbox)
	env.Progress = c.newProgress().report
	if opt.what&returnRelevancy != 0 {
		c.scores = make(map[uint32]float64)
		env.Scores = c.scores
	}
	uids, err := search.Run(c.ctx, c.box.mbox, c.box.told, key, env)
	if errors.Is(err, search.ErrIndexing) {
		return nil, errIndexing
	}
	return uids, err
}

// searchEnv returns what a search depends on besides its messages.
func (s *session) searchEnv() *search.Env {
	return &search.Env{Now: time.Now(), Location: time.Local, FirstRecent: s.box.firstRecent(), Mailbox: s.box.name}
}

// found saves and answers what was found, in the order in which it is told.
func (c *command) found(uids []uint32, modseq bool, opt searchOptions, name string) error {
	r := searchResult{command: c, searchOptions: opt}
	r.take(uids)
	if opt.what&returnSave != 0 {
		c.box.saved = asRanges(r.toSave())
	}
	if modseq {
		r.modseq = r.highestModSeq()
	}
	switch {
	case opt.what == 0 && name == "* SEARCH" && c.isRev2():
		r.what = returnAll // RFC 9051 7.3.4
	case opt.what == 0:
		return r.write(name)
	case opt.what == returnSave:
		return nil
	}
	return r.writeExtended()
}

// searchReturns is what ESEARCH is to tell.
type searchReturns uint8

const (
	returnMin searchReturns = 1 << iota
	returnMax
	returnAll
	returnCount
	returnSave      // RFC 5182
	returnPartial   // RFC 5267
	returnUpdate    // likewise
	returnRelevancy // RFC 6203
)

// searchOptions are RETURN (...).
type searchOptions struct {
	what    searchReturns  // 0 without RETURN
	partial imapwire.Range // of the results, counted from 1
	fetch   *program       // what UPDATE sends of messages
}

// searchOptions reads the RETURN options of the command.
func (c *command) searchOptions(args imapwire.Args) (opt searchOptions, rest imapwire.Args, err error) {
	if opt, rest, err = parseReturn(args); err == nil {
		err = c.mayUpdate(opt)
	}
	return opt, rest, err
}

// parseReturn reads the RETURN options, if there are any.
func parseReturn(args imapwire.Args) (opt searchOptions, rest imapwire.Args, err error) {
	if len(args) < 2 || !args[0].Is("RETURN") || args[1].Kind != imapwire.List {
		return opt, args, nil
	}
	args = args.Rest()
	for list := args.List(); len(list) > 0; list = list.Rest() {
		switch {
		case list[0].Kind != imapwire.Atom:
			return opt, nil, bad("SEARCH return options contain non-atoms.")
		case list[0].Is("MIN"):
			opt.what |= returnMin
		case list[0].Is("MAX"):
			opt.what |= returnMax
		case list[0].Is("ALL"):
			opt.what |= returnAll
		case list[0].Is("COUNT"):
			opt.what |= returnCount
		case list[0].Is("SAVE"):
			opt.what |= returnSave
		case list[0].Is("RELEVANCY"):
			opt.what |= returnRelevancy
		case list[0].Is("CONTEXT"): // a hint (RFC 5267 4.2)
		case list[0].Is("UPDATE"):
			if opt.what&returnUpdate != 0 {
				return opt, nil, bad("SEARCH return options have duplicate UPDATE.")
			}
			opt.what |= returnUpdate
			if next := list.Rest(); len(next) > 0 && next[0].Kind == imapwire.List {
				if opt.fetch, err = parseUpdateFetch(next.List()); err != nil {
					return opt, nil, err
				}
				list = next
			}
		case list[0].Is("PARTIAL"):
			if opt.what&returnPartial != 0 {
				return opt, nil, bad("PARTIAL can be used only once.")
			}
			opt.what |= returnPartial
			if list = list.Rest(); len(list) == 0 || list[0].Kind != imapwire.Atom {
				return opt, nil, bad("PARTIAL range missing.")
			}
			if opt.partial, err = parsePartialRange(list[0].Data); err != nil {
				return opt, nil, err
			}
		default:
			return opt, nil, bad("Unknown SEARCH return option")
		}
	}
	if opt.what&returnPartial != 0 && opt.what&returnAll != 0 {
		return opt, nil, bad("PARTIAL conflicts with ALL")
	}
	if opt.what == 0 {
		opt.what = returnAll // RFC 4731 3.1
	}
	return opt, args.Rest(), nil
}

// parsePartialRange reads 1:500.
func parsePartialRange(text []byte) (imapwire.Range, error) {
	set, ok := imapwire.ParseSet(nil, text)
	if !ok || len(set) != 1 || set[0].Max == imapwire.Star || !bytes.ContainsRune(text, ':') {
		return imapwire.Range{}, bad("PARTIAL range broken.")
	}
	return set[0], nil
}

// searchResult is what a search has found. The client knows of all these
// messages.
type searchResult struct {
	*command
	searchOptions
	uids   []uint32 // in the order of the answer
	modseq uint64   // 0 if the query was not about modseqs
	at     int      // in the view, of the last message numbered
	in     *foundIn // of ESEARCH; nil for the selected mailbox
}

// take keeps the messages that the client knows of.
func (r *searchResult) take(uids []uint32) {
	r.uids = slices.DeleteFunc(uids, func(uid uint32) bool { return uid >= r.box.view.UIDNext() })
}

// number returns what the client is told for a message.
func (r *searchResult) number(uid uint32) uint32 {
	if r.command.uid {
		return uid
	}
	r.at = seek(r.box.view, r.at, uid)
	return uint32(r.at + 1)
}

func (r *searchResult) numbers(uids []uint32) []uint32 {
	out := make([]uint32, len(uids))
	for i, uid := range uids {
		out[i] = r.number(uid)
	}
	return out
}

// part returns the results of the partial range.
func (r *searchResult) part() []uint32 {
	n := uint32(min(len(r.uids), math.MaxUint32))
	first := min(r.partial.Min-1, n)
	return r.uids[first:min(r.partial.Max, n)]
}

// told returns the results that the answer is about: their modseqs are told, and
// they are saved (RFC 7162 3.1.10, RFC 5182 2.1).
func (r *searchResult) told() []uint32 {
	switch {
	case len(r.uids) == 0 || r.what&(returnMin|returnMax|returnPartial) == 0:
		return r.uids
	case r.what&(returnAll|returnCount) != 0 && r.what&returnPartial == 0:
		return r.uids
	}
	var uids []uint32
	if r.what&returnMin != 0 {
		uids = append(uids, r.uids[0])
	}
	if r.what&returnPartial != 0 {
		uids = append(uids, r.part()...)
	}
	if r.what&returnMax != 0 {
		uids = append(uids, r.uids[len(r.uids)-1])
	}
	return uids
}

// toSave returns what "$" means from now on.
func (r *searchResult) toSave() []uint32 {
	if r.what&returnPartial != 0 && r.what&returnCount != 0 {
		return r.uids
	}
	return r.told()
}

func (r *searchResult) highestModSeq() (highest uint64) {
	var snap *mailbox.Snapshot
	if r.in != nil {
		snap = r.in.snap
	} else {
		snap = r.box.told
	}
	for _, uid := range r.told() {
		if i, ok := snap.Find(uid); ok {
			highest = max(highest, snap.ModSeq(i))
		}
	}
	return highest
}

// write answers with SEARCH or SORT.
func (r *searchResult) write(name string) error {
	b := append(r.buf(), name...)
	for _, uid := range r.uids {
		b = append(b, ' ')
		b = strconv.AppendUint(b, uint64(r.number(uid)), 10)
		if len(b) >= outSize {
			if err := r.put(b); err != nil {
				return err
			}
			b = r.buf()
		}
	}
	if r.modseq > 0 {
		b = append(b, " (MODSEQ "...)
		b = strconv.AppendUint(b, r.modseq, 10)
		b = append(b, ')')
	}
	return r.put(append(b, "\r\n"...))
}

// writeExtended answers with ESEARCH.
func (r *searchResult) writeExtended() error {
	b := append(r.buf(), "* ESEARCH (TAG "...)
	b = imapwire.AppendString(b, r.tag)
	if r.in != nil { // RFC 7377 2.1
		b = r.in.append(b, r.session)
	}
	b = append(b, ')')
	if r.command.uid {
		b = append(b, " UID"...)
	}
	item := func(name string, n uint64) {
		b = append(b, name...)
		b = strconv.AppendUint(b, n, 10)
	}
	n := len(r.uids)
	if r.what&returnMin != 0 && n > 0 {
		item(" MIN ", uint64(r.number(r.uids[0])))
	}
	if r.what&returnMax != 0 && n > 0 {
		item(" MAX ", uint64(r.number(r.uids[n-1])))
	}
	if r.what&returnAll != 0 && n > 0 {
		b = append(b, " ALL "...)
		b = imapwire.AppendSet(b, r.numbers(r.uids))
	}
	if r.what&returnRelevancy != 0 {
		b = append(b, " RELEVANCY ("...)
		b = appendRelevancy(b, r.told(), r.scores)
		b = append(b, ')')
	}
	if r.what&returnPartial != 0 {
		b = fmt.Appendf(b, " PARTIAL (%d:%d ", r.partial.Min, r.partial.Max)
		if part := r.part(); len(part) > 0 {
			b = imapwire.AppendSet(b, r.numbers(part))
		} else {
			b = append(b, "NIL"...)
		}
		b = append(b, ')')
	}
	if r.what&returnCount != 0 {
		item(" COUNT ", uint64(n))
	}
	if r.modseq > 0 {
		item(" MODSEQ ", r.modseq)
	}
	return r.put(append(b, "\r\n"...))
}

// asRanges returns uids, which may be in any order, as ranges.
func asRanges(uids []uint32) []imapwire.Range {
	set := make([]imapwire.Range, len(uids))
	for i, uid := range uids {
		set[i] = imapwire.Range{Min: uid, Max: uid}
	}
	return slices.Clip(mergeRanges(set))
}

// uidRanges returns ranges of the view as uids.
func (b *selected) uidRanges(spans []span) []search.Range {
	ranges := make([]search.Range, len(spans))
	for i, s := range spans {
		ranges[i] = search.Range{Min: b.view.UID(s.first), Max: b.view.UID(s.end - 1)}
	}
	return slices.Clip(ranges)
}
