package imap

import (
	"slices"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/order"
)

// sorted is the result of a SORT that is kept up to date (RFC 5267, CONTEXT=SORT): what changes in it is told
// with its position, counted from 1.
type sorted struct {
	program []order.Key
	uids    []uint32 // in the order of the result
}

// placed are results that come or go at a position; 0 where the order means nothing.
type placed struct {
	position int
	uids     []uint32
}

// unplaced are results of SEARCH.
func unplaced(uids []uint32) []placed {
	if len(uids) == 0 {
		return nil
	}
	return []placed{{uids: uids}}
}

// removals takes results away. The last come first: so each is told with the position it has then.
func (s *session) removals(u *searchUpdate, uids []uint32) (gone []placed) {
	if u.order == nil || len(uids) == 0 {
		return unplaced(uids)
	}
	list := u.order.uids
	for i := len(list) - 1; i >= 0; i-- {
		if _, is := slices.BinarySearch(uids, list[i]); is {
			gone = append(gone, placed{i + 1, list[i : i+1 : i+1]})
		}
	}
	u.order.uids = slices.DeleteFunc(slices.Clone(list), func(uid uint32) bool {
		_, is := slices.BinarySearch(uids, uid)
		return is
	})
	return gone
}

// additions sorts results in. The first come first: so each is told with the position it has from then on.
func (s *session) additions(u *searchUpdate, uids []uint32) (come []placed, err error) {
	if u.order == nil || len(uids) == 0 {
		return unplaced(uids), nil
	}
	snap := s.box.mbox.Snapshot()
	list := append(slices.DeleteFunc(slices.Clone(u.order.uids), func(uid uint32) bool { return !has(snap, uid) }), uids...)
	slices.Sort(list)
	if err := order.Sort(s.ctx, s.box.mbox, list, u.order.program); err != nil {
		return nil, err
	}
	list = keepExpunged(list, u.order.uids, snap)
	u.order.uids = list
	for i, uid := range list {
		if _, is := slices.BinarySearch(uids, uid); is {
			come = append(come, placed{i + 1, list[i : i+1 : i+1]})
		}
	}
	return come, nil
}

func has(snap *mailbox.Snapshot, uid uint32) bool {
	_, ok := snap.Find(uid)
	return ok
}

// keepExpunged returns list with the messages of old that have been expunged, which the client is not told yet:
// each where it was, after the message before it.
func keepExpunged(list, old []uint32, snap *mailbox.Snapshot) []uint32 {
	after := make(map[uint32][]uint32) // by the message before; 0 for the beginning
	before := uint32(0)
	for _, uid := range old {
		if has(snap, uid) {
			before = uid
		} else {
			after[before] = append(after[before], uid)
		}
	}
	if len(after) == 0 {
		return list
	}
	out := slices.Clone(after[0])
	for _, uid := range list {
		out = append(append(out, uid), after[uid]...)
	}
	return out
}
