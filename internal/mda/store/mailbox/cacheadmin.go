package mailbox

import (
	"context"

	"github.com/dovetail-mail/dovetail/internal/mda/store/cache"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// DecideCache calls change with each field of the cache, for it to look at the decision and
// the time of its use and to change them. [cache.ErrNoFile] if nothing was cached yet.
func (m *Mailbox) DecideCache(ctx context.Context, change func(*cache.Field)) (fields []cache.Field, err error) {
	b := m.b
	err = b.locked(ctx, func() (err error) {
		st := b.ix.State()
		seq, _ := cacheAt(st)
		if seq == 0 {
			return cache.ErrNoFile
		}
		fields, err = b.values.Decide(ctx, st.Hdr.IndexID(), seq, change)
		return err
	})
	return fields, wrap("decide what to cache of "+b.loc.Name, err)
}

// PurgeCache makes the cache anew, without what nobody will read.
func (m *Mailbox) PurgeCache(ctx context.Context) error {
	b := m.b
	err := b.locked(ctx, func() error {
		st := b.ix.State()
		if seq, _ := cacheAt(st); seq == 0 {
			return nil
		}
		return b.remakeCache(ctx, st)
	})
	return wrap("purge cache of "+b.loc.Name, err)
}

// ForgetCached has the index not refer to what is cached of messages.
func (m *Mailbox) ForgetCached(ctx context.Context, uids []uint32) error {
	b := m.b
	dropped := 0
	err := b.locked(ctx, func() error {
		st := b.ix.State()
		seq, ext := cacheAt(st)
		if seq == 0 {
			return nil
		}
		var offsets []index.ExtU32
		for _, uid := range uids {
			if i, ok := st.Find(uid); ok && binaryU32(st.ExtRecord(i, ext)) != 0 {
				offsets = append(offsets, index.ExtU32{UID: uid})
			}
		}
		if dropped = len(offsets); dropped == 0 {
			return nil
		}
		b.recordOffsets(seq, seq, offsets)
		return b.commit()
	})
	if err == nil {
		b.values.Dropped(dropped)
	}
	return wrap("forget what is cached of "+b.loc.Name, err)
}
