package search

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store/fts"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// A FullText is how searches use the full-text indexes of a user's mailboxes.
type FullText struct {
	Headers bool          // fts_enforced=yes: index new messages for searches in headers as well
	Strict  bool          // fts_enforced is not no: fail rather than read all messages
	Timeout time.Duration // longest wait for new messages to be indexed; 0 for any
	MaxSize int64         // of the body of a message that is indexed; 0 for any
	Log     *maillog.Logger
}

// ErrIndexing says that indexing new messages took too long.
var ErrIndexing = errors.New("Timeout while waiting for indexing to finish")

// found is what the index knows of the messages up to the UID last.
type found struct {
	last           uint32
	all            bool // any may match
	matches, maybe []uint32
}

func (f *found) of(uid uint32) truth {
	if f == nil || uid > f.last {
		return unknown
	}
	if _, ok := slices.BinarySearch(f.matches, uid); ok {
		return yes
	}
	if f.all {
		return unknown
	}
	if _, ok := slices.BinarySearch(f.maybe, uid); ok {
		return unknown
	}
	return no
}

// lookUp asks the full-text index about the texts of the query.
func (s *searcher) lookUp(ctx context.Context, m *mailbox.Mailbox, q *query) error {
	ft := s.env.FullText
	if ft == nil || s.snap.Len() == 0 || !q.has(Header, Body, TextOp) {
		return nil
	}
	err := ft.use(ctx, m, func(ix *fts.Index) error {
		if ft.Headers || q.has(Body, TextOp) {
			if err := ft.update(ctx, ix, m, s.snap); err != nil {
				return err
			}
		}
		return s.find(ix, q)
	})
	switch {
	case err == nil || ctx.Err() != nil || errors.Is(err, ErrIndexing):
		return err
	case ft.Strict:
		return fmt.Errorf("fts: %w", err)
	}
	ft.Log.Errorf("Mailbox %s: fts: %v", m.Location().Name, err)
	return nil
}

// has reports whether a key that looks for text has one of the operators.
func (q *query) has(ops ...Op) bool {
	return slices.Contains(ops, q.Op) && len(q.needle) > 0 || slices.ContainsFunc(q.subs, func(sub *query) bool { return sub.has(ops...) })
}

// find asks about each text of the query.
func (s *searcher) find(ix *fts.Index, q *query) error {
	for _, sub := range q.subs {
		if err := s.find(ix, sub); err != nil {
			return err
		}
	}
	if len(q.needle) == 0 {
		return nil
	}
	in, exact := q.fields()
	r, err := ix.Find(q.needle, in...)
	if err != nil {
		return err
	}
	q.found = &found{last: ix.Last(), all: r.All, matches: r.Matches, maybe: r.Maybe}
	switch {
	case q.Fuzzy && exact:
		q.found.matches = r.Near
	case !exact:
		q.found.matches, q.found.maybe = nil, mergeUIDs(r.Matches, r.Maybe)
	}
	if s.env.Scores != nil && !q.Not {
		for uid, score := range r.Scores {
			s.env.Scores[uid] += score
		}
	}
	return nil
}

// fields returns the fields of the index that a key is about. exact is false if they are more than that.
func (q *query) fields() (in []fts.Field, exact bool) {
	switch q.Op {
	case Body:
		return []fts.Field{fts.Body}, true
	case TextOp:
		return []fts.Field{fts.AnyHeader, fts.Body}, true
	}
	if f, ok := ownFields[strings.ToLower(q.Field)]; ok {
		return []fts.Field{f}, true
	}
	return []fts.Field{fts.AnyHeader}, false
}

// ownFields are the header fields that the index has by themselves.
var ownFields = map[string]fts.Field{"from": fts.From, "to": fts.To, "cc": fts.Cc, "bcc": fts.Bcc, "subject": fts.Subject}

func mergeUIDs(a, b []uint32) []uint32 {
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(a, b))))
}

// use calls fn with the index of a mailbox, and once more with a new one if it is damaged.
func (ft *FullText) use(ctx context.Context, m *mailbox.Mailbox, fn func(*fts.Index) error) error {
	err := ft.try(ctx, m, fn)
	if err == nil || !fts.Damaged(err) {
		return err
	}
	ft.Log.Warningf("Mailbox %s: fts: %v; making a new index", m.Location().Name, err)
	if err := fts.Remove(m.IndexDir()); err != nil {
		return err
	}
	return ft.try(ctx, m, fn)
}

func (ft *FullText) try(ctx context.Context, m *mailbox.Mailbox, fn func(*fts.Index) error) error {
	snap := m.Snapshot()
	ix, err := fts.Open(ctx, m.IndexDir(), snap.UIDValidity(), snap.UIDNext())
	if err != nil {
		return err
	}
	defer ix.Close()
	return fn(ix)
}

// Update adds to the index of a mailbox the messages that it does not know.
func (ft *FullText) Update(ctx context.Context, m *mailbox.Mailbox) error {
	snap, err := m.Sync(ctx)
	if err != nil || snap.Len() == 0 {
		return err
	}
	return ft.use(ctx, m, func(ix *fts.Index) error { return ft.update(ctx, ix, m, snap) })
}

// Rescan removes the index of a mailbox: the next search, or the next new message, makes another.
func (ft *FullText) Rescan(m *mailbox.Mailbox) error { return fts.Remove(m.IndexDir()) }

// Optimize removes expunged messages from the index of a mailbox.
func (ft *FullText) Optimize(ctx context.Context, m *mailbox.Mailbox) error {
	snap, err := m.Sync(ctx)
	if err != nil {
		return err
	}
	uids := make([]uint32, snap.Len())
	for i := range uids {
		uids[i] = snap.UID(i)
	}
	return ft.use(ctx, m, func(ix *fts.Index) error { return ix.Optimize(uids, snap.UIDNext()) })
}

func (ft *FullText) update(ctx context.Context, ix *fts.Index, m *mailbox.Mailbox, snap *mailbox.Snapshot) error {
	first, known := snap.Find(ix.Last())
	if known {
		first++
	}
	if first == snap.Len() {
		return nil
	}
	uids := make([]uint32, 0, snap.Len()-first)
	for i := first; i < snap.Len(); i++ {
		uids = append(uids, snap.UID(i))
	}
	if ft.Timeout > 0 {
		var cancel func()
		ctx, cancel = context.WithTimeoutCause(ctx, ft.Timeout, ErrIndexing)
		defer cancel()
	}
	return ix.Add(ctx, uids, func(uid uint32, words *fts.Message) error {
		i, _ := snap.Find(uid)
		return ft.read(&candidate{s: &searcher{snap: snap}, ctx: ctx, m: m, i: i}, words)
	})
}

// errLarge ends the reading of a message that is too large to be indexed.
var errLarge = errors.New("message is too large for the full-text index")

// read gathers the words of a message. Of one that cannot be read that is noted: searches will
// try again, and report it.
func (ft *FullText) read(c *candidate, words *fts.Message) error {
	defer c.close()
	var mapped []byte
	body := fts.Splitter{Word: func(w []byte) { words.Word(fts.Body, w) }}
	size := int64(0)
	err := c.walk(&textWalk{
		field: func(p *message.Part, name, line []byte) error {
			mapped = message.AppendCasemap(mapped[:0], line)
			wordsOf(mapped, words, fts.AnyHeader)
			if f, ok := ownFields[strings.ToLower(string(name))]; ok && p == &c.structure.Root {
				mapped = message.AppendCasemap(mapped[:0], line[len(name)+len(": "):])
				wordsOf(mapped, words, f)
			}
			return nil
		},
		text: func(r io.Reader) error {
			defer body.End()
			return eachPiece(r, &c.s.scratch, func(piece []byte) error {
				if size += int64(len(piece)); ft.MaxSize > 0 && size > ft.MaxSize {
					return errLarge
				}
				mapped = message.AppendCasemap(mapped[:0], piece)
				body.Write(mapped)
				return c.ctx.Err()
			})
		},
	})
	switch {
	case err == nil || errors.Is(err, mailbox.ErrExpunged):
		return nil
	case c.ctx.Err() != nil:
		return context.Cause(c.ctx)
	case errors.Is(err, mailbox.ErrDeleted) || errors.Is(err, mailbox.ErrNotExist):
		return err
	}
	words.Unread = true
	return nil
}

// wordsOf adds the words of one line.
func wordsOf(line []byte, words *fts.Message, f fts.Field) {
	s := fts.Splitter{Word: func(w []byte) { words.Word(f, w) }}
	s.Write(line)
	s.End()
}
