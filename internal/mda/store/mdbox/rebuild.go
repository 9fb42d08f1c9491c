package mdbox

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// Rebuild compares all m.N, the map and all mailboxes with each other and mends
// what does not agree. Messages of mailboxes are found by map uid and GUID, those
// without text are expunged; references are counted anew; messages of which the
// map did not know that nobody wants them any more, and that no mailbox has, come
// back to the mailbox that they were saved for. g is the generation in which the
// damage was found: if another was faster, nothing is done.
func (s *Storage) Rebuild(ctx context.Context, g Generation, why error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refresh(ctx); err != nil {
		return err
	}
	if s.generation() != g {
		return nil
	}
	return s.rebuild(ctx, why)
}

// Resync is Rebuild because somebody asked for it.
func (s *Storage) Resync(ctx context.Context) error {
	g, err := s.Generation(ctx)
	if err != nil {
		return err
	}
	return s.Rebuild(ctx, g, errors.New("resync was asked for"))
}

// A rebuilding is the state of one rebuild.
type rebuilding struct {
	s       *Storage
	before  Generation
	all     []*found
	byUID   map[uint32]*found
	byGUID  map[[16]byte]*found
	lost    []uint32 // map uids without message
	highest uint32
}

// rebuild is Rebuild; mu is held, the map is not locked.
func (s *Storage) rebuild(ctx context.Context, why error) error {
	r := &rebuilding{s: s, byUID: make(map[uint32]*found), byGUID: make(map[[16]byte]*found)}
	if err := s.lockForRebuild(ctx); err != nil {
		return fmt.Errorf("%w; rebuilding the mdbox storage: %w", why, err)
	}
	defer s.unlock()
	err := r.run(ctx)
	if err != nil {
		return fmt.Errorf("%w; rebuilding the mdbox storage: %w", why, err)
	}
	s.opt.Log.Warningf("mdbox storage %s: %v; rebuilt from %d messages", s.opt.Dir, why, len(r.all))
	return nil
}

// lockForRebuild locks the map, after it was made readable.
func (s *Storage) lockForRebuild(ctx context.Context) error {
	_, err := s.ix.Repair(ctx, index.Rebuild{
		Files: func(old *index.State) ([]uint32, error) {
			uids := make([]uint32, old.Len())
			for i := range uids {
				uids[i] = old.UID(i)
			}
			return uids, nil
		},
		UIDValidity: func() uint32 { return uint32(s.opt.Now().Unix()) },
		Whole: func(old *index.State) bool {
			return old.ExtNumber(extMap.Name) >= 0 && old.ExtNumber(extRef.Name) >= 0
		},
		Finish: func(old *index.State, tx *index.Tx) {
			tx.Intro(&extMap)
			tx.Intro(&extRef)
		},
	})
	if err != nil {
		return err
	}
	if _, err := s.ix.Lock(ctx); err != nil {
		return err
	}
	if err := s.ix.Load(); err != nil {
		s.ix.Abandon()
		return err
	}
	return nil
}

func (r *rebuilding) run(ctx context.Context) (err error) {
	r.before = r.s.generation()
	if r.all, r.highest, err = r.s.scan(); err != nil {
		return err
	}
	r.matchMap()
	if err := r.writeMap(); err != nil {
		return err
	}
	boxes, err := r.s.opt.Boxes.list()
	if err != nil {
		return err
	}
	for _, b := range boxes {
		if err := r.mendBox(ctx, b); err != nil {
			return err
		}
	}
	if err := r.giveOrphans(ctx, boxes); err != nil {
		return err
	}
	return r.writeRefs()
}

// matchMap finds the map's entries of the messages.
func (r *rebuilding) matchMap() {
	type spot struct{ file, offset uint32 }
	spots := make(map[spot]*found, len(r.all))
	files := make(map[uint32]bool)
	for _, f := range r.all {
		files[f.at.file] = true
		spots[spot{f.at.file, f.was}] = f
	}
	t := tableOf(r.s.ix.State())
	for i := range t.st.Len() {
		e := t.entry(i)
		f := spots[spot{e.at.file, e.at.offset}]
		if f == nil && e.at.file != 0 && !files[e.at.file] && r.s.altMissing() {
			r.all = append(r.all, &found{at: e.at, uid: e.uid, known: true, had: e.refs, unseen: true})
			continue
		}
		if f == nil || f.known {
			r.lost = append(r.lost, e.uid)
			continue
		}
		f.uid, f.known, f.had = e.uid, true, e.refs
	}
	r.all = slices.DeleteFunc(r.all, func(f *found) bool { return f.busy && !f.known })
	next := t.st.Hdr.NextUID()
	for _, f := range r.all {
		if !f.known {
			f.uid = next
			next++
		}
		r.byUID[f.uid] = f
		if f.guid != ([16]byte{}) && (r.byGUID[f.guid] == nil || !r.byGUID[f.guid].known) {
			r.byGUID[f.guid] = f
		}
	}
}

// writeMap has the map know of all messages. Its log's tail is left behind: who
// finds it so has to begin again.
func (r *rebuilding) writeMap() error {
	tx := &r.s.tx
	defer tx.Reset()
	h := mapHeaderOf(r.s.ix.State())
	h.highest = max(h.highest, r.highest)
	h.rebuilds++
	tx.Intro(&extMap)
	tx.ExtHeader(0, h.encode())
	byUID := slices.Clone(r.all)
	slices.SortFunc(byUID, func(a, b *found) int { return int(int64(a.uid) - int64(b.uid)) })
	var news []index.New
	var uids []uint32
	var data []byte
	for _, f := range byUID {
		if !f.known {
			news = append(news, index.New{UID: f.uid})
		}
		uids = append(uids, f.uid)
		data = f.at.append(data)
	}
	if len(news) > 0 {
		tx.Append(news...)
	}
	if len(uids) > 0 {
		tx.Intro(&extMap)
		tx.ExtRecords(uids, mapRecordSize, data)
	}
	if len(r.lost) > 0 {
		gone := make([]index.Expunged, len(r.lost))
		for i, uid := range r.lost {
			gone[i].UID = uid
		}
		tx.Expunge(gone)
	}
	if err := r.s.ix.CommitOpen(tx); err != nil {
		return err
	}
	return r.s.flushMap(true)
}

// writeRefs sets the numbers of references and ends the rebuild.
func (r *rebuilding) writeRefs() error {
	tx := &r.s.tx
	slices.SortFunc(r.all, func(a, b *found) int { return int(int64(a.uid) - int64(b.uid)) })
	var uids []uint32
	var data []byte
	for _, f := range r.all {
		refs := uint16(min(f.refs, math.MaxUint16))
		uids = append(uids, f.uid)
		data = append(data, byte(refs), byte(refs>>8))
	}
	tx.Intro(&extRef)
	if len(uids) > 0 {
		tx.ExtRecords(uids, refRecordSize, data)
	}
	tx.ClearFsckd(&r.s.ix.State().Hdr)
	if err := r.s.commit(); err != nil {
		return err
	}
	return r.s.flushMap(true)
}
