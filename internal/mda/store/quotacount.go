package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/quota"
)

// A quotaCount is the backend count: all mailboxes are asked. Access lists do not matter: who could
// deny himself a mailbox could store as much there as he likes.
type quotaCount struct {
	q *userQuota
	r *quotaRoot
}

func (c *quotaCount) usage(ctx context.Context) (quota.Usage, quota.Limit, error) {
	used, err := c.q.count(ctx, c.r)
	return used, c.r.Base, err
}

func (c *quotaCount) add(context.Context, quota.Usage) error { return nil }

// recalculate has nothing to do: nothing is kept but in the indexes of mailboxes, which are mended where they are
// found to be wrong.
func (c *quotaCount) recalculate(ctx context.Context) error {
	_, err := c.q.count(ctx, c.r)
	return err
}

func (c *quotaCount) tracks() bool { return false }

func (c *quotaCount) close() {}

// count adds up what is in all mailboxes that count.
func (q *userQuota) count(ctx context.Context, r *quotaRoot) (sum quota.Usage, err error) {
	for _, ns := range q.namespaces(r) {
		names, err := ns.mailboxes()
		if err != nil {
			return sum, err
		}
		for _, name := range names {
			if r.Ignores(name) {
				continue
			}
			used, err := q.measure(ctx, name)
			if err != nil {
				return sum, fmt.Errorf("Couldn't get size of mailbox %s: %w", name, explain(err))
			}
			sum = sum.Plus(used)
		}
	}
	return sum, nil
}

// mailboxes returns the names of all mailboxes of a namespace.
func (ns *Namespace) mailboxes() ([]string, error) {
	names, err := ns.namesOf(newGlob("*", ns.Sep, false))
	if err != nil {
		return nil, fmt.Errorf("Listing namespace '%s' failed: %w", ns.Prefix, err)
	}
	if ns.Inbox && !slices.Contains(names, inbox) { // it is not where names are looked for
		names = append(names, inbox)
	}
	return names, nil
}

// measure adds up the messages of one mailbox.
func (q *userQuota) measure(ctx context.Context, name string) (used quota.Usage, err error) {
	p, err := q.u.resolve(name)
	if err != nil {
		return used, err
	}
	if q.virtual && q.u.statusCached(p) {
		s, err := q.u.status(ctx, p, true, func() (*mailbox.Mailbox, error) { return q.u.open(ctx, p) })
		if errors.Is(err, mailbox.ErrNotExist) {
			err = nil // it is being made, or was deleted
		}
		return quota.Usage{Bytes: int64(s.Size), Messages: int64(s.Messages)}, err
	}
	m, err := q.u.open(ctx, p)
	if errors.Is(err, mailbox.ErrNotExist) {
		return used, nil
	}
	if err != nil {
		return used, err
	}
	defer m.Close()
	return q.total(ctx, m)
}

// total adds up the messages of an open mailbox.
func (q *userQuota) total(ctx context.Context, m *mailbox.Mailbox) (used quota.Usage, err error) {
	if q.virtual {
		bytes, messages, err := m.VirtualTotal(ctx)
		return quota.Usage{Bytes: bytes, Messages: int64(messages)}, err
	}
	return physicalTotal(ctx, m)
}

// physicalTotal adds up the sizes of messages as they are stored.
func physicalTotal(ctx context.Context, m *mailbox.Mailbox) (used quota.Usage, err error) {
	snap, err := m.Sync(ctx)
	if err != nil {
		return used, err
	}
	for i := range snap.Len() {
		msg, err := m.Message(snap.UID(i))
		var n int64
		if err == nil {
			n, err = msg.PhysicalSize()
		}
		if errors.Is(err, mailbox.ErrExpunged) {
			continue
		}
		if err != nil {
			return used, err
		}
		used = used.Plus(quota.Usage{Bytes: n, Messages: 1})
	}
	return used, nil
}

// explain returns the error inside one that a client is told.
func explain(err error) error {
	var known *Error
	if errors.As(err, &known) && known.Err != nil {
		return known.Err
	}
	return err
}
