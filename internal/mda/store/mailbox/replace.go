package mailbox

import (
	"context"

	"github.com/dovetail-mail/dovetail/internal/mda/store/acl"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// Replace commits save, of this or another mailbox, and expunges the message with the uid, whose place the new
// one takes. ErrExpunged if that is gone, maybe because another session was quicker to replace it: then there is no
// new message.
//
// The old message goes when the new one is durable. A crash in between leaves both, as does an expunge
// that fails: that is the error if there is a result.
func (m *Mailbox) Replace(ctx context.Context, uid uint32, save *Save) (SaveResult, error) {
	if err := m.need(acl.Expunge); err != nil {
		return SaveResult{}, err
	}
	if _, ok := m.Snapshot().Find(uid); !ok {
		return SaveResult{}, ErrExpunged
	}
	result, err := save.Commit(ctx)
	if err != nil {
		return SaveResult{}, err
	}
	ctx = context.WithoutCancel(ctx) // what was begun is ended
	found := false
	err = m.expungeIf(ctx, []uint32{uid}, func(*index.State, int) bool {
		found = true
		return true
	})
	if err != nil || found {
		return result, err
	}
	if err := save.m.remove(ctx, []uint32{result.UID}, whatever); err != nil {
		return result, err
	}
	return SaveResult{}, ErrExpunged
}
