package search

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// Run returns the UIDs of the matching messages of snap in ascending order.
// Messages that were expunged meanwhile match nothing that needs their text.
func Run(ctx context.Context, m *mailbox.Mailbox, snap *mailbox.Snapshot, k *Key, env *Env) ([]uint32, error) {
	var uids []uint32
	err := Each(ctx, m, snap, k, env, func(i int) error {
		uids = append(uids, snap.UID(i))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return uids, nil
}

// Each calls fn with the number of each matching message of snap, as it is found,
// in ascending order, until fn returns an error. It is otherwise as [Run].
func Each(ctx context.Context, m *mailbox.Mailbox, snap *mailbox.Snapshot, k *Key, env *Env, fn func(i int) error) error {
	k, err := withThreads(ctx, m, snap, k, env)
	if err != nil {
		return err
	}
	s := &searcher{snap: snap, env: *env}
	if s.env.Location == nil {
		s.env.Location = time.Local
	}
	q := s.compile(k)
	if err := s.lookUp(ctx, m, q); err != nil {
		return err
	}
	first, last := q.bounds(snap)
	s.first, s.last = first, last
	if env.OldestOnly {
		first = 0
	}
	for i := first; i < last; i++ {
		matched, err := s.match(ctx, m, q, i)
		switch {
		case err != nil:
			return err
		case matched:
			if err := fn(i); err != nil {
				return err
			}
		case env.OldestOnly:
			return nil
		}
	}
	return nil
}

// match reports whether message i matches. It reads of it what the query needs.
func (s *searcher) match(ctx context.Context, m *mailbox.Mailbox, q *query, i int) (bool, error) {
	if r := q.index(s, i); r != unknown {
		return r == yes, nil
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if s.env.Progress != nil {
		if err := s.env.Progress(i-s.first, s.last-s.first); err != nil {
			return false, err
		}
	}
	msg := &candidate{s: s, ctx: ctx, m: m, i: i}
	defer msg.close()
	matched, err := msg.match(q)
	if errors.Is(err, mailbox.ErrExpunged) {
		return false, nil
	}
	return matched, err
}

// A truth is what is known of a key without opening the message.
type truth int8

const (
	no truth = iota
	yes
	unknown
)

func result(b bool) truth {
	if b {
		return yes
	}
	return no
}

func (t truth) not() truth {
	switch t {
	case yes:
		return no
	case no:
		return yes
	}
	return unknown
}

type searcher struct {
	snap   *mailbox.Snapshot
	env    Env
	fields []byte // of the message at hand
	scratch

	first, last int // the message numbers that are looked at: [first, last)
}

// A query is a Key with what can be computed once.
type query struct {
	*Key
	subs    []*query
	keyword int    // number of the keyword, -1 if the mailbox has none such
	needle  needle // Header, Body, TextOp
	found   *found // what the full-text index knows of the needle, or nil
}

func (s *searcher) compile(k *Key) *query {
	q := &query{Key: k, keyword: -1}
	for _, sub := range k.Keys {
		q.subs = append(q.subs, s.compile(sub))
	}
	switch k.Op {
	case Keyword:
		for i, name := range s.snap.KeywordNames() {
			if strings.EqualFold(name, k.Text) {
				q.keyword = i
			}
		}
	case Header, Body, TextOp:
		q.needle = newNeedle(k.Text)
	}
	return q
}

// bounds returns the message numbers outside of which nothing can match, so that
// a search for few UIDs does not look at all messages.
func (q *query) bounds(snap *mailbox.Snapshot) (first, last int) {
	first, last = 0, snap.Len()
	if q.Not {
		return first, last
	}
	switch q.Op {
	case And:
		for _, sub := range q.subs {
			f, l := sub.bounds(snap)
			first, last = max(first, f), min(last, l)
		}
	case UID, RealUID, Seq:
		first, last = snap.Len(), 0
		for _, r := range q.Ranges {
			f, l := q.Op.numbers(snap, r)
			first, last = min(first, f), max(last, l)
		}
	}
	return first, last
}

// numbers returns the message numbers [first, last) of a range.
func (op Op) numbers(snap *mailbox.Snapshot, r Range) (first, last int) {
	n := snap.Len()
	if n == 0 {
		return 0, 0
	}
	lo, hi := r.Min, r.Max
	top := uint32(n)
	if op != Seq {
		top = snap.UID(n - 1)
	}
	if lo == Star {
		lo = top
	}
	if hi == Star {
		hi = top
	}
	if lo > hi {
		lo, hi = hi, lo
	}
	if op == Seq {
		return max(int(lo)-1, 0), min(int(hi), n)
	}
	first, _ = snap.Find(lo)
	last, found := snap.Find(hi)
	if found {
		last++
	}
	return first, last
}

// index evaluates the query with what the index knows of message i.
func (q *query) index(s *searcher, i int) truth {
	t := q.indexed(s, i)
	if q.Not {
		return t.not()
	}
	return t
}

func (q *query) indexed(s *searcher, i int) truth {
	switch q.Op {
	case All:
		return yes
	case And, Or:
		return q.combined(s, i)
	case Seq, UID, RealUID:
		for _, r := range q.Ranges {
			if first, last := q.Op.numbers(s.snap, r); i >= first && i < last {
				return yes
			}
		}
		return no
	case FlagsAll:
		return result(s.snap.Flags(i)&q.Flags == q.Flags)
	case Recent:
		return result(s.snap.UID(i) >= s.env.FirstRecent)
	case Keyword:
		return result(q.keyword >= 0 && s.snap.HasKeyword(i, q.keyword))
	case ModSeq:
		return result(s.snap.ModSeq(i) >= q.ModSeq)
	case InThread:
		_, in := slices.BinarySearch(q.uids, s.snap.UID(i))
		return result(in)
	case MailboxName:
		return result(q.Text == s.env.Mailbox)
	case Header, Body, TextOp:
		return q.found.of(s.snap.UID(i))
	}
	return unknown
}

// combined evaluates And and Or: one subquery that is known may decide.
func (q *query) combined(s *searcher, i int) truth {
	decides, t := no, yes
	if q.Op == Or {
		decides, t = yes, no
	}
	for _, sub := range q.subs {
		switch r := sub.index(s, i); r {
		case decides:
			return decides
		case unknown:
			t = unknown
		}
	}
	return t
}
