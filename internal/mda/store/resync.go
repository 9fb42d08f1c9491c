package store

import "context"

// ForceResync makes the indexes of a mailbox anew from its messages. With mdbox that is all
// mailboxes of the namespace.
func (u *User) ForceResync(ctx context.Context, name string) error {
	m, err := u.Mailbox(ctx, name)
	if err != nil {
		return err
	}
	defer m.Close()
	return internal(m.Resync(ctx))
}
