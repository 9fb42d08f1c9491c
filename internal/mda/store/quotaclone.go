package store

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/dict"
)

var _ = dovecot.RegisterPlugin("quota_clone", "quota_clone_dict")

// cloneDelay is for how long changes are gathered.
const cloneDelay = 10 * time.Second

// A quotaClone is Dovecot's plugin quota_clone: the usage of the first root is copied to a dictionary after it has
// changed, and at the end of a session.
type quotaClone struct {
	q    *userQuota
	dict dict.Dict

	mu    sync.Mutex
	timer *time.Timer // nil unless something changed since the usage was last written

	writing sync.Mutex // held while it is
}

// newQuotaClone returns that of a user; nil if the plugin is not asked for, or not set up.
func newQuotaClone(q *userQuota) (*quotaClone, error) {
	set, err := q.u.plugin()
	if err != nil || !q.u.HasPlugin("quota_clone") || len(q.roots) == 0 {
		return nil, err
	}
	uri, _, err := set.get("quota_clone_dict")
	if err != nil || uri == "" {
		return nil, err
	}
	d, err := q.u.openDict(uri)
	if err != nil {
		q.u.log.Errorf("quota_clone_dict: Failed to initialize '%s': %v", uri, err)
		return nil, nil
	}
	return &quotaClone{q: q, dict: d}, nil
}

// changed notes that the usage has changed.
func (c *quotaClone) changed(ctx context.Context) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer == nil {
		ctx = context.WithoutCancel(ctx)
		c.timer = time.AfterFunc(cloneDelay, func() { c.flush(ctx) })
	}
}

// flush writes the usage if it has changed. It waits for whoever is writing it.
func (c *quotaClone) flush(ctx context.Context) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	due := c.timer != nil
	if due {
		c.timer.Stop()
		c.timer = nil
	}
	c.mu.Unlock()
	if !due {
		return
	}
	c.q.account.mu.Lock()
	used, _, err := c.q.roots[0].backend.usage(ctx)
	c.q.account.mu.Unlock()
	if err != nil {
		c.q.u.log.Errorf("quota_clone_plugin: Failed to get quota resource STORAGE_BYTES: %v", err)
		return
	}
	tx := dict.Begin(c.dict, c.q.u.dictUser())
	tx.Set(quotaBytesKey, strconv.FormatInt(used.Bytes, 10))
	tx.Set(quotaMessagesKey, strconv.FormatInt(used.Messages, 10))
	if err := tx.Commit(ctx); err != nil && !errors.Is(err, dict.ErrNotFound) {
		c.q.u.log.Errorf("quota_clone_dict: Failed to write value: %v", err)
		c.changed(ctx)
	}
}

// close writes what is to be written.
func (c *quotaClone) close() {
	if c == nil {
		return
	}
	c.flush(context.Background())
	c.mu.Lock()
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	c.writing.Lock() // the timer may have fired
	defer c.writing.Unlock()
	c.dict.Close() //nolint:errcheck // every change was waited for
}
