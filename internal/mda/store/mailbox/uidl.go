package mailbox

import (
	"context"
	"maps"
	"slices"
)

// A uidlStore is a Store that can give messages POP3 UIDLs of their own after they were saved.
type uidlStore interface {
	SetUIDLs(uidls map[uint32]string) error
}

var _ uidlStore = (*maildirStore)(nil)

// SetUIDLs implements uidlStore.
func (s *maildirStore) SetUIDLs(uidls map[uint32]string) error {
	return s.box.Change(func() error { return s.box.SetUIDLs(uidls) })
}

// SetPOP3UIDLs has messages keep POP3 UIDLs, by uid, where the format can. As in Dovecot only Maildir can.
func (m *Mailbox) SetPOP3UIDLs(ctx context.Context, uidls map[uint32]string) error {
	b := m.b
	s, ok := b.store.(uidlStore)
	if !ok || len(uidls) == 0 {
		return nil
	}
	err := b.locked(ctx, func() error {
		if err := s.SetUIDLs(uidls); err != nil {
			return err
		}
		if last := slices.Max(slices.Collect(maps.Keys(uidls))); binaryU32(b.ix.State().ExtHeader(extPOP3UIDL.Name)) < last {
			recordUIDL(&b.tx, last)
			return b.commit()
		}
		return nil
	})
	return wrap("keep UIDLs in "+b.loc.Name, err)
}
