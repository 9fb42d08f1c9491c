package mailbox

import (
	"context"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// A privateChange is what a FlagChange does to private flags, and what the shared index is told.
type privateChange struct {
	view        *privateView
	add, remove byte
	flags       []index.Range      // messages whose private flags change
	updates     []index.FlagUpdate // of the shared index
}

// takePrivate splits a change into one of shared flags and one of private ones. The private index
// is up to date then. mu and the log's lock are held.
func (b *box) takePrivate(ctx context.Context, s *flagSetter) error {
	if b.private == nil {
		return nil
	}
	if err := b.private.sync(ctx, nil); err != nil {
		return err
	}
	mask := byte(privateMask)
	s.private = &privateChange{view: b.privateView(), add: s.add & mask, remove: s.remove & mask}
	s.add, s.remove = s.add&^mask, s.remove&^mask
	return nil
}

// message notes what changes of a message: of its private flags, and whether shared ones do.
func (c *privateChange) message(s *flagSetter, i int, uid uint32, shared bool) {
	one := [1]uint32{uid}
	old := byte(c.view.of(i, uid))
	touch := old&^c.remove|c.add != old
	if touch {
		c.flags = index.AppendRanges(c.flags, one[:])
	}
	if !touch && !shared {
		return
	}
	u := index.FlagUpdate{Range: index.Range{First: uid, Last: uid}, Touch: touch}
	if shared {
		u.Add, u.Remove = s.add, s.remove
	}
	if n := len(c.updates) - 1; n >= 0 {
		last := &c.updates[n]
		if last.Last+1 == uid && last.Add == u.Add && last.Remove == u.Remove && last.Touch == u.Touch {
			last.Last = uid
			return
		}
	}
	c.updates = append(c.updates, u)
}

// commitPrivate writes the private flags. The shared index is told afterwards: who hears
// of it finds them.
func (b *box) commitPrivate(ctx context.Context, c *privateChange) error {
	if c == nil || len(c.flags) == 0 {
		return nil
	}
	p := b.private
	err := p.locked(ctx, func() error {
		p.tx.Flags(c.flags, c.add, c.remove)
		return p.ix.Commit(&p.tx)
	})
	if err == nil && b.mode.Flags() {
		err = p.ix.Log().Flush()
	}
	return err
}

// hidePrivate takes from messages about to be saved the flags that the shared index does not get.
func (b *box) hidePrivate(news []New) {
	mask := b.hidden()
	if mask == 0 {
		return
	}
	for i := range news {
		news[i].private, news[i].Flags = news[i].Flags&mask, news[i].Flags&^mask
	}
}

// keepPrivate writes the private flags of saved messages. They are in the mailbox already, so
// an error is only logged.
func (b *box) keepPrivate(ctx context.Context, news []New) {
	if b.loc.PrivateDir == "" {
		return
	}
	var saved []privateSave
	for i := range news {
		if n := &news[i]; n.private != 0 {
			saved = append(saved, privateSave{n.UID, byte(n.private)})
		}
	}
	if len(saved) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.private == nil {
		return
	}
	err := b.ix.Load()
	if err == nil {
		err = b.private.sync(ctx, saved)
	}
	if err != nil {
		b.pool.log.Errorf("Mailbox %s: %v", b.loc.Name, err)
	}
	b.publish()
}
