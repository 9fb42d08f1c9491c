package mailbox

import (
	"sync"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// A privateView is the private flags that belong to a snapshot.
type privateView struct {
	st *index.State // of the private index; nil if it cannot be read

	once   sync.Once
	seen   int
	unseen int // number of the first message without \Seen
}

// privateView returns the private flags as they are now, nil if the mailbox has none.
func (b *box) privateView() *privateView {
	switch {
	case b.private == nil:
		return nil
	case b.private.ix == nil:
		return new(privateView)
	}
	return &privateView{st: b.private.ix.State()}
}

// same reports whether nothing has changed.
func (v *privateView) same(w *privateView) bool {
	return v == w || v != nil && w != nil && v.st == w.st
}

// of returns the private flags of message i of the shared index, which has the uid.
func (v *privateView) of(i int, uid uint32) Flags {
	if v.st == nil {
		return 0
	}
	if i >= v.st.Len() || v.st.UID(i) != uid {
		var ok bool
		if i, ok = v.st.Find(uid); !ok {
			return 0
		}
	}
	return Flags(v.st.Flags(i)) & privateMask
}

// merge puts the private flags in the place of the shared ones.
func (v *privateView) merge(flags Flags, i int, uid uint32) Flags {
	if v == nil {
		return flags
	}
	return flags&^privateMask | v.of(i, uid)
}

// count looks at all messages, once.
func (v *privateView) count(shared *index.State) {
	v.once.Do(func() {
		v.unseen = shared.Len()
		for i := shared.Len() - 1; i >= 0; i-- {
			if v.of(i, shared.UID(i))&Seen != 0 {
				v.seen++
			} else {
				v.unseen = i
			}
		}
	})
}
