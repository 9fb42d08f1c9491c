package mailbox

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/dovetail-mail/dovetail/internal/mda/store/cache"
	"github.com/dovetail-mail/dovetail/internal/mda/store/commit"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// extCache has the offset of each message's values in dovecot.index.cache.
var extCache = index.ExtDef{Name: "cache", RecordSize: 4, RecordAlign: 4}

// A boxCache is dovecot.index.cache of a mailbox, and what is to be added to it.
type boxCache struct {
	*cache.Cache

	at    atomic.Uint64 // which file the index refers to: index id and sequence
	mu    sync.Mutex
	dir   *index.Dir // with INDEXCACHE; nil before it is needed
	adds  []cache.Add
	bytes int // in adds
}

// maxAdds bounds what sessions gather before it is written.
const maxAdds = 256 << 10

// openCache prepares the use of the cache file. mu is held.
func (b *box) openCache() {
	b.values.Cache = cache.New(cache.Options{
		Dir: b.cacheDir, Mailbox: b.loc.Name, Log: b.pool.log, Now: b.pool.now,
		Lock: index.LockMethod(b.set.LockMethod), Sync: b.mode == commit.Always, Settings: cacheSettings(b.set),
	})
}

// cacheSettings are those of package cache.
func cacheSettings(set *Settings) cache.Settings {
	return cache.Settings{
		Fields: set.CacheFields, Always: set.AlwaysCacheFields, Never: set.NeverCacheFields,
		FieldDrop: set.CacheFieldDrop, RecordMax: int64(set.CacheRecordMax), Max: int64(set.CacheMaxSize), PurgeMin: int64(set.CachePurgeMin),
		PurgeDeleted: set.CachePurgeDeleted, PurgeContinued: set.CachePurgeContinued, PurgeHeaders: set.CachePurgeHeaderContinue,
	}
}

// cacheDir returns the directory of the cache file: that of the index, except with
// INDEXCACHE.
func (b *box) cacheDir(create bool) (*index.Dir, error) {
	if b.loc.CacheDir == "" || b.loc.CacheDir == b.loc.indexDir() {
		return b.indexDir, nil
	}
	v := &b.values
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.dir != nil {
		return v.dir, nil
	}
	dir, err := index.OpenDir(b.loc.CacheDir)
	if create && errors.Is(err, index.ErrNotExist) {
		if err = os.MkdirAll(b.loc.CacheDir, 0o700); err == nil {
			dir, err = index.OpenDir(b.loc.CacheDir)
		}
	}
	if err == nil {
		v.dir = dir
	}
	return dir, err
}

// closeCache writes what is to be noted and closes the file. mu is held.
func (b *box) closeCache() {
	v := &b.values
	if v.Cache != nil {
		v.Close()
	}
	if v.dir != nil {
		v.dir.Close()
		v.dir = nil
	}
}

// follow notes which file the index refers to.
func (v *boxCache) follow(st *index.State) {
	seq, _ := cacheAt(st)
	v.at.Store(uint64(st.Hdr.IndexID())<<32 | uint64(seq))
}

// planNew returns what is to be cached of a new message. It takes no lock, except to read
// the file for the first time.
func (v *boxCache) planNew() *cache.Plan {
	at := v.at.Load()
	return v.Plan(uint32(at>>32), uint32(at), true)
}

// cacheAt returns the cache file that the index refers to: its sequence, and the number of
// the extension with offsets.
func cacheAt(st *index.State) (seq uint32, ext int) {
	ext = st.ExtNumber(extCache.Name)
	return st.ResetID(ext), ext
}

// cacheable tells whether the mailbox has enough messages that anything is cached.
func (b *box) cacheable(st *index.State) bool {
	return b.set.CacheMinMailCount == 0 || !st.Light() && uint(st.Len()) >= b.set.CacheMinMailCount
}

// add notes values to be cached of a message. They are written with others; see
// [Mailbox.CommitCache].
func (b *box) add(uid uint32, values []byte) {
	if len(values) == 0 {
		return
	}
	v := &b.values
	v.mu.Lock()
	if n := len(v.adds); n > 0 && v.adds[n-1].UID == uid {
		v.adds[n-1].Values = append(v.adds[n-1].Values, values...)
	} else {
		v.adds = append(v.adds, cache.Add{UID: uid, Values: values})
	}
	v.bytes += len(values)
	full := v.bytes >= maxAdds
	v.mu.Unlock()
	if full {
		b.commitCache(context.Background())
	}
}

// CommitCache writes to dovecot.index.cache what was computed of messages because it was
// asked for. It is called at the end of a command; who does not is served by
// [Mailbox.Close]. Nothing depends on its success.
func (m *Mailbox) CommitCache(ctx context.Context) { m.b.commitCache(ctx) }

func (b *box) commitCache(ctx context.Context) {
	v := &b.values
	v.mu.Lock()
	adds := v.adds
	v.adds, v.bytes = nil, 0
	v.mu.Unlock()
	if len(adds) > 0 {
		adds = mergeAdds(adds)
		// What fails is logged where it does or, if only the lock was not to be had, no
		// loss.
		_ = b.locked(ctx, func() error {
			st := b.ix.State()
			if !b.cacheable(st) {
				return nil
			}
			b.recordCache(ctx, st, b.existing(st, adds))
			return b.commit()
		})
	}
	b.values.Note()
}

// mergeAdds sorts adds by uid and joins those of one message.
func mergeAdds(adds []cache.Add) []cache.Add {
	slices.SortStableFunc(adds, func(a, b cache.Add) int { return int(int64(a.UID) - int64(b.UID)) })
	out := adds[:0]
	for _, a := range adds {
		if n := len(out); n > 0 && out[n-1].UID == a.UID {
			out[n-1].Values = append(out[n-1].Values, a.Values...)
			continue
		}
		out = append(out, a)
	}
	return out
}

// existing leaves out messages that are gone, and says of the others what is cached of
// them already.
func (b *box) existing(st *index.State, adds []cache.Add) []cache.Add {
	_, ext := cacheAt(st)
	out := adds[:0]
	for _, a := range adds {
		if i, ok := st.Find(a.UID); ok {
			a.Offset = binaryU32(st.ExtRecord(i, ext))
			out = append(out, a)
		}
	}
	return out
}

// recordCache writes values to the file and adds to the transaction where they are. The
// log's lock is held. st is the state of the index; what it does not have is in the
// transaction.
func (b *box) recordCache(ctx context.Context, st *index.State, adds []cache.Add) {
	seq, _ := cacheAt(st)
	newSeq, err := b.values.Write(ctx, st.Hdr.IndexID(), seq, adds)
	if err != nil {
		return
	}
	offsets := make([]index.ExtU32, len(adds))
	for i := range adds {
		offsets[i] = index.ExtU32{UID: adds[i].UID, Value: adds[i].Offset}
	}
	b.recordOffsets(seq, newSeq, offsets)
}

// recordOffsets adds offsets in the file newSeq to the transaction; seq is the one that the
// index has now.
func (b *box) recordOffsets(seq, newSeq uint32, offsets []index.ExtU32) {
	ext := extCache
	if ext.ResetID = seq; newSeq != seq {
		b.tx.Intro(&ext)
		b.tx.ExtReset(newSeq)
		ext.ResetID = newSeq
	}
	if len(offsets) > 0 {
		b.tx.Intro(&ext)
		b.tx.ExtRecords32(offsets)
	}
}

// purgeCache makes the file anew if that is worth while.
func (b *box) purgeCache(ctx context.Context) {
	s := b.snap.Load()
	if s == nil || b.values.Cache == nil {
		return
	}
	if seq, _ := cacheAt(s.st); seq == 0 || b.values.NeedsPurge(s.Len(), s.st.Hdr.DayStamp()) == "" {
		return
	}
	_ = b.locked(ctx, func() error { // see commitCache
		st := b.ix.State()
		if b.values.NeedsPurge(st.Len(), st.Hdr.DayStamp()) == "" {
			return nil
		}
		return b.remakeCache(ctx, st)
	})
}

// remakeCache makes the file anew. The log's lock is held.
func (b *box) remakeCache(ctx context.Context, st *index.State) error {
	h := &st.Hdr
	seq, ext := cacheAt(st)
	msgs := make([]cache.Message, st.Len())
	for i := range msgs {
		msgs[i] = cache.Message{UID: st.UID(i), Offset: binaryU32(st.ExtRecord(i, ext))}
	}
	newSeq, err := b.values.Purge(ctx, h.IndexID(), seq, h.FirstNewUID(), h.DayStamp(), msgs)
	if err != nil || newSeq == seq {
		return nil
	}
	var offsets []index.ExtU32
	for _, m := range msgs {
		if m.Offset != 0 {
			offsets = append(offsets, index.ExtU32{UID: m.UID, Value: m.Offset})
		}
	}
	b.recordOffsets(seq, newSeq, offsets)
	return b.commit()
}

// forgetCached has the index not refer to the values of a message, which are wrong.
func (b *box) forgetCached(uid uint32, why string) {
	err := b.lock(context.Background(), func() error {
		if seq, _ := cacheAt(b.ix.State()); seq != 0 {
			b.recordOffsets(seq, seq, []index.ExtU32{{UID: uid}})
		}
		return b.commit()
	})
	if err == nil {
		b.values.Dropped(1)
		b.pool.log.Errorf("Mailbox %s: Deleting corrupted cache record uid=%d: %s", b.loc.Name, uid, why)
	}
}

// closeView ends what a session did with the cache: values that were not written yet are,
// and the file is made anew if that is worth while. A handle that looked nothing up, as
// that of a delivery, has nothing to do.
func (m *Mailbox) closeView() {
	m.viewMu.Lock()
	used := m.view.View != nil
	m.view.View = nil
	m.viewMu.Unlock()
	if used {
		m.b.commitCache(context.Background())
		m.b.purgeCache(context.Background())
	}
}
