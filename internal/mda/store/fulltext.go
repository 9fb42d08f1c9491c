package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/search"
)

var _ = dovecot.RegisterPlugin("fts", "fts", "fts_autoindex", "fts_autoindex_exclude*", "fts_autoindex_max_recent_msgs",
	"fts_enforced", "fts_index_timeout", "fts_message_max_size")

// A fullText is Dovecot's plugin fts for one user, with a backend that is built in: whichever
// one the setting fts names. A nil one searches without an index.
type fullText struct {
	u         *User
	search    search.FullText
	autoindex bool
	excluded  []string // masks of names, and special uses, of mailboxes that autoindex leaves alone
	maxRecent uint64   // it leaves alone those with more recent messages; 0 for none
}

// newFullText returns that of a user; nil if the plugin is not asked for, or not set up.
func newFullText(u *User) (*fullText, error) {
	if !u.HasPlugin("fts") {
		return nil, nil
	}
	set, err := u.plugin()
	if err != nil {
		return nil, err
	}
	if backend, _, err := set.get("fts"); err != nil || backend == "" {
		return nil, err
	}
	f := &fullText{u: u, search: search.FullText{Log: u.log}}
	enforced, _, err := set.get("fts_enforced")
	if err != nil {
		return nil, err
	}
	f.search.Strict = enforced != "" && enforced != "no"
	f.search.Headers = f.search.Strict && enforced != "body"
	if text, ok, err := set.get("fts_index_timeout"); err != nil {
		return nil, err
	} else if ok {
		if f.search.Timeout, err = dovecot.ParseTime(text); err != nil {
			return nil, fmt.Errorf("fts_index_timeout: %w", err)
		}
	}
	if text, ok, err := set.get("fts_message_max_size"); err != nil {
		return nil, err
	} else if ok {
		size, err := dovecot.ParseSize(text)
		if err != nil {
			return nil, fmt.Errorf("fts_message_max_size: %w", err)
		}
		f.search.MaxSize = int64(size)
	}
	return f, f.autoindexSettings(set)
}

func (f *fullText) autoindexSettings(set plugin) (err error) {
	if f.autoindex, err = set.getBool("fts_autoindex"); err != nil || !f.autoindex {
		return err
	}
	if f.excluded, err = set.numbered("fts_autoindex_exclude"); err != nil {
		return err
	}
	text, ok, err := set.get("fts_autoindex_max_recent_msgs")
	if err == nil && ok {
		if f.maxRecent, err = strconv.ParseUint(text, 10, 32); err != nil {
			err = fmt.Errorf("fts_autoindex_max_recent_msgs: %q is not a number", text)
		}
	}
	return err
}

// FullText returns how searches use the full-text index of a mailbox, nil without the plugin fts
// and for mailboxes whose index files are in memory.
func (u *User) FullText(m *mailbox.Mailbox) *search.FullText {
	if u.fullText == nil || strings.Contains(m.IndexDir(), "/"+memoryPrefix) {
		return nil
	}
	return &u.fullText.search
}

// HasFullText reports whether the user has full-text indexes.
func (u *User) HasFullText() bool { return u.fullText != nil }

// attach has messages indexed as soon as they are saved, if that is wanted.
func (f *fullText) attach(m *mailbox.Mailbox, p place) {
	if f == nil || !f.autoindex || f.u.FullText(m) == nil || p.matchesAny(f.excluded) {
		return
	}
	m.SetAdded(func() { indexer.add(f, p.location()) })
}

// index indexes the new messages of a mailbox.
func (f *fullText) index(loc mailbox.Location) {
	ctx := context.Background()
	m, err := f.u.pool.Open(ctx, loc, f.u.set)
	if err == nil {
		defer m.Close() //nolint:errcheck // nothing was written
		if f.maxRecent > 0 && uint64(m.Snapshot().Counts().Recent) > f.maxRecent {
			return
		}
		all := f.search
		all.Timeout = 0
		err = all.Update(ctx, m)
	}
	if err != nil {
		f.u.log.Errorf("Mailbox %s: fts_autoindex: %v", loc.Name, err)
	}
}

// An indexQueue has mailboxes indexed one after the other, beside the sessions that changed them.
// What a process leaves behind when it ends is indexed by the next search.
type indexQueue struct {
	mu      sync.Mutex
	waiting []indexJob
	running bool
}

type indexJob struct {
	f   *fullText
	loc mailbox.Location
}

// indexer is the queue of the process, as many sessions as it serves.
var indexer indexQueue

// maxIndexJobs bounds the queue: more mailboxes are left to searches.
const maxIndexJobs = 1000

func (q *indexQueue) add(f *fullText, loc mailbox.Location) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, job := range q.waiting {
		if job.loc == loc {
			return
		}
	}
	if len(q.waiting) >= maxIndexJobs {
		return
	}
	q.waiting = append(q.waiting, indexJob{f, loc})
	if !q.running {
		q.running = true
		go q.run()
	}
}

func (q *indexQueue) run() {
	for {
		q.mu.Lock()
		if len(q.waiting) == 0 {
			q.waiting, q.running = nil, false
			q.mu.Unlock()
			return
		}
		job := q.waiting[0]
		q.waiting = q.waiting[1:]
		q.mu.Unlock()
		job.f.index(job.loc)
	}
}
