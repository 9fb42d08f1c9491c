package local

import (
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/asuser"
)

// dotForward expands the .forward file of the user, if there is one.
func (d *delivery) dotForward(s state) (done, again bool) {
	s.level++
	if d.set.ForwardPath == "" {
		return false, false
	}
	u, err := d.Asuser.User(d.ctx, s.user)
	if err != nil {
		return true, d.userLookupFailed(&s, err)
	}
	if u == nil {
		return false, false
	}
	if !d.set.FrozenDeliveredTo {
		s.delivered = s.address
	}
	s.rights, s.place, s.owner, s.via = u, inForward, s.user, nil
	req := &asuser.Request{Op: asuser.OpForward, Service: d.Service, User: u.Name, Vars: d.vars(&s)}
	r, f, err := d.Asuser.Do(d.ctx, req, nil)
	if err != nil {
		return true, d.unavailable(&s, err)
	}
	if f != nil {
		defer f.Close()
	}
	if !r.Found {
		d.warnings(r)
		return false, false
	}
	if r.Extended || !d.propagates[inForward] {
		s.unmatched = nil
	}
	if d.req.Message.Verify {
		return true, d.sent(&s, "forward via file: "+r.Path)
	}
	if d.seen.before("forward", r.Path) {
		return d.seen.has("forward-done", r.Path), false // else the user is meant
	}
	d.warnings(r)
	if f == nil {
		return false, false
	}
	s.from = s.local
	whole := s
	s.notify = withoutSuccess(s.notify)
	count, again := d.lines(&s, f)
	if count == 0 {
		return false, false
	}
	d.seen.before("forward-done", r.Path)
	if !again {
		d.expands(&whole, deliver.Expanded)
	}
	return true, again
}
