package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/dict"
	"github.com/dovetail-mail/dovetail/internal/mda/store/quota"
)

// The keys of a user in a dictionary. Below quotaLimitKey are the limits that SETQUOTA sets.
const (
	quotaBytesKey    = dict.Private + "quota/storage"
	quotaMessagesKey = dict.Private + "quota/messages"
	quotaLimitKey    = dict.Private + "quota/limit/"
)

// A quotaDict is the backend dict: a dictionary has the usage.
type quotaDict struct {
	q    *userQuota
	r    *quotaRoot
	dict dict.Dict
}

func (d *quotaDict) usage(ctx context.Context) (quota.Usage, quota.Limit, error) {
	var used quota.Usage
	for _, key := range [...]struct {
		name string
		into *int64
	}{{quotaBytesKey, &used.Bytes}, {quotaMessagesKey, &used.Messages}} {
		text, err := dict.Lookup(ctx, d.dict, d.q.u.dictUser(), key.name)
		if err != nil && !errors.Is(err, dict.ErrNotFound) {
			return used, d.r.Base, fmt.Errorf("dict_lookup(%s) failed: %w", key.name, err)
		}
		if *key.into, err = strconv.ParseInt(text, 10, 64); err != nil || *key.into < 0 {
			used, err = d.write(ctx)
			return used, d.r.Base, err
		}
	}
	return used, d.r.Base, nil
}

// write looks at all messages, and writes what they take.
func (d *quotaDict) write(ctx context.Context) (quota.Usage, error) {
	used, err := d.q.count(ctx, d.r)
	if err != nil {
		return used, err
	}
	tx := dict.Begin(d.dict, d.q.u.dictUser())
	if !d.r.NoUnset { // triggers of databases would add what is set to what is there
		tx.Unset(quotaBytesKey)
		tx.Unset(quotaMessagesKey)
	}
	tx.Set(quotaBytesKey, strconv.FormatInt(used.Bytes, 10))
	tx.Set(quotaMessagesKey, strconv.FormatInt(used.Messages, 10))
	return used, tx.Commit(ctx)
}

func (d *quotaDict) add(ctx context.Context, diff quota.Usage) error {
	tx := dict.Begin(d.dict, d.q.u.dictUser())
	tx.AtomicInc(quotaBytesKey, diff.Bytes)
	tx.AtomicInc(quotaMessagesKey, diff.Messages)
	err := tx.Commit(ctx)
	if errors.Is(err, dict.ErrNotFound) {
		return d.recalculate(ctx)
	}
	if err != nil {
		return fmt.Errorf("Quota update failed: %w - Quota is now desynced", err)
	}
	return nil
}

func (d *quotaDict) recalculate(ctx context.Context) error {
	_, err := d.write(ctx)
	return err
}

func (d *quotaDict) tracks() bool { return true }

func (d *quotaDict) close() { d.dict.Close() } //nolint:errcheck // every change was waited for
