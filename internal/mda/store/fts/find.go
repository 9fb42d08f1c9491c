package fts

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// maxMatches is how many words may contain what is looked for. A text that is in more of them
	// is in most messages: to read these finds it soon.
	maxMatches = 4096
	// matchesAtOnce is how many of them one query looks for.
	matchesAtOnce = 64
)

// A Result is what the index knows of the messages up to [Index.Last]. UIDs ascend.
type Result struct {
	Matches []uint32           // those that contain the text
	Maybe   []uint32           // those that may, and have to be read
	Near    []uint32           // those that contain all its words, in any order
	All     bool               // any may: the index does not help with this text
	Scores  map[uint32]float64 // how well messages match
}

// Find looks for a text in fields of the messages.
func (ix *Index) Find(text []byte, in ...Field) (r Result, err error) {
	words, whole := needles(text)
	if len(words) == 0 {
		return Result{All: true}, nil
	}
	r.Scores = make(map[uint32]float64)
	var found []uint32
	narrowed := false
	for _, w := range words {
		terms, few, err := ix.containing(string(w))
		if err != nil {
			return Result{}, ix.failed("search", err)
		}
		if !few {
			whole = false
			continue
		}
		uids, err := ix.messages(terms, len(w), in, r.Scores)
		if err != nil {
			return Result{}, ix.failed("search", err)
		}
		if narrowed {
			uids = intersect(found, uids)
		}
		found, narrowed = uids, true
	}
	unread, err := ix.unread()
	switch {
	case err != nil:
		return Result{}, ix.failed("search", err)
	case !narrowed:
		return Result{All: true}, nil
	}
	if r.Near, r.Maybe = found, unread; whole {
		r.Matches = found
	} else {
		r.Maybe = slices.Compact(slices.Sorted(slices.Values(slices.Concat(found, unread))))
	}
	return r, nil
}

// intersect returns what is in both of two ascending lists.
func intersect(a, b []uint32) []uint32 {
	return slices.DeleteFunc(a, func(uid uint32) bool {
		_, ok := slices.BinarySearch(b, uid)
		return !ok
	})
}

// A term is a word of the index.
type term struct {
	id     int64
	length int
}

// containing returns the words that contain another, the short ones first, unless there are very many.
func (ix *Index) containing(word string) (terms []term, few bool, err error) {
	query, arg := "SELECT id, length(CAST(word AS BLOB)) FROM term WHERE id IN (SELECT rowid FROM part WHERE part MATCH ? LIMIT ?)", `"`+word+`"`
	if utf8.RuneCountInString(word) < 3 {
		query, arg = "SELECT id, length(CAST(word AS BLOB)) FROM term WHERE instr(word, ?) LIMIT ?", word
	}
	err = ix.wait(ix.ctx, func() error {
		terms = terms[:0]
		rows, err := ix.db.QueryContext(ix.ctx, query, arg, maxMatches+1)
		if err != nil {
			return err
		}
		defer rows.Close() //nolint:errcheck // Err has it
		for rows.Next() {
			var t term
			if err := rows.Scan(&t.id, &t.length); err != nil {
				return err
			}
			terms = append(terms, t)
		}
		return rows.Err()
	})
	slices.SortFunc(terms, func(a, b term) int { return a.length - b.length })
	return terms, len(terms) <= maxMatches, err
}

// messages returns the messages that have one of the words in one of the fields. To the score of
// each it adds how much of the word that fits best is what was looked for.
func (ix *Index) messages(terms []term, length int, in []Field, scores map[uint32]float64) ([]uint32, error) {
	where := make([]string, len(in))
	for i, f := range in {
		where[i] = columns[f]
	}
	scored := make(map[uint32]bool)
	for len(terms) > 0 {
		n := 1 // words of one length
		for n < len(terms) && n < matchesAtOnce && terms[n].length == terms[0].length {
			n++
		}
		ids := make([]string, n)
		for i := range ids {
			ids[i] = strconv.Quote(strconv.FormatInt(terms[i].id, 10))
		}
		uids, err := ix.uids("SELECT group_concat(rowid) FROM message WHERE message MATCH ?",
			fmt.Sprintf("{%s} : (%s)", strings.Join(where, " "), strings.Join(ids, " OR ")))
		if err != nil {
			return nil, err
		}
		for _, uid := range uids {
			if !scored[uid] {
				scored[uid] = true
				scores[uid] += float64(length) / float64(terms[0].length)
			}
		}
		terms = terms[n:]
	}
	uids := make([]uint32, 0, len(scored))
	for uid := range scored {
		uids = append(uids, uid)
	}
	slices.Sort(uids)
	return uids, nil
}

func (ix *Index) unread() ([]uint32, error) { return ix.uids("SELECT group_concat(uid) FROM unread") }

// uids returns the UIDs that a query puts together, in any order. One row is read much sooner than many.
func (ix *Index) uids(query string, args ...any) ([]uint32, error) {
	var list *string
	if err := ix.wait(ix.ctx, func() error { return ix.db.QueryRowContext(ix.ctx, query, args...).Scan(&list) }); err != nil || list == nil {
		return nil, err
	}
	uids := make([]uint32, 0, strings.Count(*list, ",")+1)
	for text := range strings.SplitSeq(*list, ",") {
		uid, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%w: UID %s", errStale, text)
		}
		uids = append(uids, uint32(uid))
	}
	slices.Sort(uids)
	return uids, nil
}
