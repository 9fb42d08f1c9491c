package store

import (
	"context"
	"errors"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// CreateAs makes a mailbox that is to be the copy of another: with its GUID and
// UIDVALIDITY. A mailbox of that name, INBOX too, is removed before with all its
// messages.
func (u *User) CreateAs(ctx context.Context, name string, id mailbox.Identity) error {
	p, err := u.resolve(name)
	if err != nil {
		return err
	}
	p.guid, p.uidValidity = id.GUID, id.UIDValidity
	made, err := u.made(p.ns, p.name)
	if err == nil && made {
		err = u.delete(ctx, p)
	}
	if err == nil {
		err = u.create(ctx, p)
	}
	if errors.Is(err, errExists) {
		return err
	}
	return internal(err)
}
