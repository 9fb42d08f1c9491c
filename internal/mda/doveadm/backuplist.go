package doveadm

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// A backupRun makes the mail of dst equal to that of src.
type backupRun struct {
	*backup
	src, dst *mailUser
}

// A boxIdentity is what tells a mailbox from others of the same name.
type boxIdentity struct {
	name string
	id   mailbox.Identity
}

func (r *backupRun) run(ctx context.Context) error {
	have, err := r.list(ctx, r.src)
	if err != nil {
		return err
	}
	there, err := r.list(ctx, r.dst)
	if err != nil {
		return err
	}
	if !r.add {
		r.rename(ctx, have, there)
		r.remove(ctx, have, there)
	}
	for i := range have {
		if err := ctx.Err(); err != nil {
			return errors.Join(errReported, err)
		}
		if err := r.mailbox(ctx, &have[i]); err != nil {
			r.dst.report(failed(err, "Mailbox %s", have[i].name))
		}
	}
	if err := r.subscriptions(ctx); err != nil {
		r.dst.report(failed(err, "Subscriptions"))
	}
	if r.purge {
		return r.dst.purge(ctx)
	}
	return nil
}

// list returns the mailboxes that take part, in the order of LIST.
func (r *backupRun) list(ctx context.Context, u *mailUser) ([]boxIdentity, error) {
	list, err := u.List(ctx, store.ListQuery{Patterns: []string{"*"}})
	if err != nil {
		return nil, failed(err, "Listing mailboxes failed")
	}
	var boxes []boxIdentity
	for i := range list {
		e := &list[i]
		ns, ok := u.Namespace(e.Name)
		if !ok || !r.wants(ns) || e.Flags&(store.FlagNoSelect|store.FlagNonExistent) != 0 || !r.selected(e.Name, ns) {
			continue
		}
		if made, err := u.OnDisk(ctx, e.Name); err != nil || !made {
			if err != nil {
				return nil, failed(err, "Mailbox %s", e.Name)
			}
			continue
		}
		b, err := u.openBox(ctx, e.Name)
		if err != nil {
			return nil, failed(err, "Opening mailbox %s failed", e.Name)
		}
		id := mailbox.Identity{GUID: b.GUID(), UIDValidity: b.snap.UIDValidity()}
		b.Close() //nolint:errcheck // nothing was changed
		if r.guid == "" || r.guid == hex.EncodeToString(id.GUID[:]) {
			boxes = append(boxes, boxIdentity{e.Name, id})
		}
	}
	return boxes, nil
}

// selected reports whether options choose the mailbox.
func (r *backupRun) selected(name string, ns *store.Namespace) bool {
	if r.only != "" && !likeMailbox(foldInbox(r.only), name, ns.Sep) {
		return false
	}
	for _, x := range r.exclude {
		if strings.HasPrefix(x, `\`) {
			if box := ns.Setting(name); box != nil && slices.ContainsFunc(strings.Fields(box.SpecialUse), func(use string) bool { return strings.EqualFold(use, x) }) {
				return false
			}
			continue
		}
		if likeMailbox(foldInbox(x), name, ns.Sep) {
			return false
		}
	}
	return true
}

// rename gives mailboxes of the destination the names that they have got in the
// source, instead of copying them again.
func (r *backupRun) rename(ctx context.Context, have, there []boxIdentity) {
	wanted := make(map[string]bool)
	newName := make(map[[16]byte]string)
	for _, b := range have {
		wanted[b.name] = true
		newName[b.id.GUID] = b.name
	}
	taken := make(map[string]bool)
	for _, b := range there {
		taken[b.name] = true
	}
	for i := range there {
		b := &there[i]
		to, ok := newName[b.id.GUID]
		if wanted[b.name] || !ok || taken[to] || b.name == "INBOX" || to == "INBOX" {
			continue
		}
		if err := r.dst.Rename(ctx, b.name, to); err != nil {
			r.dst.in.log.infof("Mailbox %s is copied anew, since it cannot be renamed to %s: %v", b.name, to, err)
			continue
		}
		below := b.name + string(r.dst.separator())
		for k := range there { // mailboxes below it were renamed too
			if rest, ok := strings.CutPrefix(there[k].name, below); ok {
				there[k].name = to + string(r.dst.separator()) + rest
			}
		}
		b.name = to
	}
}

// remove deletes the mailboxes that the source does not have, those below others
// first.
func (r *backupRun) remove(ctx context.Context, have, there []boxIdentity) {
	wanted := make(map[string]bool)
	for _, b := range have {
		wanted[b.name] = true
	}
	for _, b := range slices.Backward(there) {
		if wanted[b.name] || b.name == "INBOX" {
			continue
		}
		if err := r.dst.Delete(ctx, b.name); err != nil {
			r.dst.report(failed(err, "Can't delete mailbox %s", b.name))
		}
	}
}

// subscriptions makes those of the destination equal.
func (r *backupRun) subscriptions(ctx context.Context) error {
	have, err := r.src.Subscriptions(ctx)
	if err != nil {
		return err
	}
	there, err := r.dst.Subscriptions(ctx)
	if err != nil {
		return err
	}
	for _, name := range have {
		if ns, ok := r.src.Namespace(name); ok && r.wants(ns) && r.selected(name, ns) && !slices.Contains(there, name) {
			if err := r.dst.SubscribeName(ctx, name); err != nil {
				return err
			}
		}
	}
	for _, name := range there {
		if ns, ok := r.dst.Namespace(name); ok && r.wants(ns) && r.selected(name, ns) && !r.add && !slices.Contains(have, name) {
			if err := r.dst.Unsubscribe(ctx, name); err != nil {
				return err
			}
		}
	}
	return nil
}
