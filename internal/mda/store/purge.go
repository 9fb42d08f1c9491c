package store

import (
	"context"
	"errors"
)

// Purge gives back the space that expunged messages take, where the format does not
// do so at once (mdbox).
func (u *User) Purge(ctx context.Context) error {
	var errs []error
	for _, ns := range u.namespaces {
		errs = append(errs, u.pool.Purge(ctx, ns.st.location(inbox, inbox), u.set))
	}
	return errors.Join(errs...)
}
