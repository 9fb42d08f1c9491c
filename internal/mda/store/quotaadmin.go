package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/dict"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// The resources of quota roots (RFC 9208 5). Storage is in units of 1024 bytes.
const (
	QuotaStorage = "STORAGE"
	QuotaMessage = "MESSAGE"
)

// A QuotaRoot is one of a user's.
type QuotaRoot struct {
	Name   string
	Hidden bool // not told with the roots of a mailbox

	q *userQuota
	r *quotaRoot
}

// A QuotaResource is how much of something is used. Limit is 0 if there is none.
type QuotaResource struct {
	Name         string
	Value, Limit int64
}

// HasQuota reports whether the plugin quota is there and has something to do.
func (u *User) HasQuota() bool { return u.quota != nil }

// QuotaRoots returns all roots of the user.
func (u *User) QuotaRoots() (list []*QuotaRoot) {
	if u.quota == nil {
		return nil
	}
	for _, r := range u.quota.roots {
		list = append(list, &QuotaRoot{r.Name, r.Hidden, u.quota, r})
	}
	return list
}

// QuotaRoot returns the root with a name; nil if there is none. To an administrator OWNER:NAME is one of
// another user of whom he has opened a mailbox.
func (u *User) QuotaRoot(name string) (*QuotaRoot, error) {
	for _, r := range u.QuotaRoots() {
		if r.Name == name {
			return r, nil
		}
	}
	owner, root, ok := strings.Cut(name, ":")
	if !ok || u.quota == nil || !u.Admin() {
		return nil, nil
	}
	for _, ns := range u.allNamespaces() {
		if ns.owner != owner || ns.unusable {
			continue
		}
		o, err := u.ownerQuota(ns)
		if err != nil {
			return nil, err
		}
		for _, r := range o.user.QuotaRoots() {
			if r.Name == root {
				r.Name = name
				return r, nil
			}
		}
	}
	return nil, nil
}

// QuotaRootsOf returns the roots in which messages of a mailbox count, if it exists or not.
func (u *User) QuotaRootsOf(ns *Namespace) (list []*QuotaRoot) {
	for _, r := range u.QuotaRoots() {
		if r.r.covers(ns) {
			list = append(list, r)
		}
	}
	return list
}

// Resources returns how much is used.
func (r *QuotaRoot) Resources(ctx context.Context) ([]QuotaResource, error) {
	r.q.checkOver(ctx, r.r)
	return r.resources(ctx)
}

func (r *QuotaRoot) resources(ctx context.Context) ([]QuotaResource, error) {
	a := r.q.account
	a.mu.Lock()
	used, base, err := r.r.backend.usage(ctx)
	a.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("quota-%s: %w", r.r.Backend, err)
	}
	limit := r.r.Limits("", base)
	return []QuotaResource{
		{QuotaStorage, kilobytes(used.Bytes), kilobytes(limit.Bytes)},
		{QuotaMessage, used.Messages, limit.Messages},
	}, nil
}

// kilobytes rounds up.
func kilobytes(n int64) int64 { return n/1024 + min(n%1024, 1) }

// Recalculate looks at all messages anew.
func (r *QuotaRoot) Recalculate(ctx context.Context) error {
	a := r.q.account
	a.mu.Lock()
	defer a.mu.Unlock()
	return r.r.backend.recalculate(ctx)
}

// quotaLimitNames are the keys of limits in the dictionary of quota_set.
var quotaLimitNames = map[string]string{"STORAGE": "storage", "STORAGE_BYTES": "bytes", "MESSAGE": "messages"}

// errQuotaSet hides from the client what went wrong.
const errQuotaSet = "Internal quota limit update error"

// SetLimit writes a limit to the dictionary of the setting quota_set, for whatever gives the user his rules.
func (r *QuotaRoot) SetLimit(ctx context.Context, resource string, value uint64) error {
	if r.r.LimitSet == "" {
		return errDenied
	}
	key := quotaLimitNames[strings.ToUpper(resource)]
	if key == "" {
		return &Error{Text: "Unsupported resource name: " + resource}
	}
	d, err := r.q.u.openDict(r.r.LimitSet)
	if err != nil {
		return &Error{Text: errQuotaSet, Err: err}
	}
	tx := dict.Begin(d, r.q.u.dictUser())
	tx.Set(quotaLimitKey+key, strconv.FormatUint(value, 10))
	if err := errors.Join(tx.Commit(ctx), d.Close()); err != nil {
		return &Error{Text: errQuotaSet, Err: err}
	}
	return nil
}

// Admin reports whether the userdb says that the user may change quotas: by the field admin.
func (u *User) Admin() bool {
	value := u.info.Fields["admin"]
	return value != "" && strings.ContainsAny(value[:1], "yY1")
}

// SetsQuota reports whether the user may change the limits of a quota root.
func (u *User) SetsQuota() bool {
	if u.quota == nil || !u.Admin() {
		return false
	}
	for _, r := range u.quota.roots {
		if r.LimitSet != "" {
			return true
		}
	}
	return false
}

// CheckQuota returns the error that a delivery of a message of this size would have for want of room; of
// size 0, what any would have. Its code is LIMIT if there never is so much room.
func (u *User) CheckQuota(ctx context.Context, size int64) error {
	p, err := u.resolve(inbox)
	if err != nil {
		return err
	}
	b := u.quota.of(p, toDeliver)
	if b == nil {
		return nil
	}
	settle, err := b.Reserve(ctx, []int64{size}, nil)
	if err == nil {
		settle(false)
		return nil
	}
	for _, r := range b.roots {
		if limit := r.Limits(r.name, r.Base); !r.NoEnforcing && limit.Bytes > 0 && size > limit.Bytes {
			return &Error{Code: CodeLimit, Text: b.q.exceeded}
		}
	}
	return err
}

// Reclaimable is what an EXPUNGE of a mailbox would give back (RFC 9208 4.1.4): messages, and storage in units
// of 1024 bytes.
type Reclaimable struct{ Messages, Storage int64 }

// Deleted returns how many messages of a mailbox are marked \Deleted, and what they take.
func (u *User) Deleted(ctx context.Context, name string) (r Reclaimable, err error) {
	m, err := u.Mailbox(ctx, name)
	if err != nil {
		return r, err
	}
	defer m.Close()
	snap, err := m.Sync(ctx)
	if err != nil {
		return r, internal(err)
	}
	bytes := int64(0)
	for i := range snap.Len() {
		if snap.Flags(i)&mailbox.Deleted == 0 {
			continue
		}
		msg, err := m.Message(snap.UID(i))
		var size int64
		if err == nil {
			size, err = msg.VirtualSize()
		}
		if errors.Is(err, mailbox.ErrExpunged) {
			continue
		}
		if err != nil {
			return r, internal(err)
		}
		r.Messages++
		bytes += size
	}
	r.Storage = kilobytes(bytes)
	return r, nil
}
