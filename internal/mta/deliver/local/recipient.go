package local

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver/asuser"
)

// recipient delivers to one local address.
func (d *delivery) recipient(s state) bool {
	s.level++
	if d.seen.before("recipient", key(s.level, s.address)) {
		return false
	}
	if asuser.IsLoop(d.loops, s.address) {
		return d.failsToOwner(&s, d.status(bounced, "5.4.6", "mail forwarding loop for "+s.address))
	}
	if s.delivered == "" {
		s.delivered = s.address
	}
	d.split(&s)
	if s.user == "" {
		return d.bounces(&s, "5.1.3", `null username in "`+s.address+`"`)
	}
	return d.choose(s)
}

// choose finds the way of delivery.
func (d *delivery) choose(s state) bool {
	s.level++
	if strings.HasPrefix(s.address, `\`) {
		s.address, s.local, s.user = s.address[1:], s.local[1:], s.user[1:]
		if done, again := d.mailbox(s); done {
			return again
		}
		return d.unknown(s)
	}
	if done, again := d.expandAliases(&s); done {
		return again
	}
	// Local results of a .forward file or of a list with an owner are recipients of
	// their own; so are all of :include: files.
	if s.owner != "" && !strings.EqualFold(s.owner, s.user) || s.place == inInclude {
		return d.indirect(s)
	}
	if d.set.RequireHome {
		if done, again := d.requireHome(&s); done {
			return again
		}
	}
	if done, again := d.dotForward(s); done {
		return again
	}
	if done, again := d.mailbox(s); done {
		return again
	}
	return d.unknown(s)
}

// expandAliases looks for the name with its extension, then without.
func (d *delivery) expandAliases(s *state) (done, again bool) {
	s.unmatched = nil
	if done, again := d.alias(*s, s.local); done {
		return true, again
	}
	if s.extension == nil {
		return false, false
	}
	if d.propagates[inAlias] {
		s.unmatched = s.extension
	}
	if done, again := d.alias(*s, s.user); done {
		return true, again
	}
	s.unmatched = s.extension
	return false, false
}

func (d *delivery) requireHome(s *state) (done, again bool) {
	u, err := d.Asuser.User(d.ctx, s.user)
	if err != nil {
		return true, d.userLookupFailed(s, err)
	}
	if u == nil {
		return false, false
	}
	r, err := d.ask(&asuser.Request{Op: asuser.OpHome, User: u.Name})
	if err != nil {
		return true, d.unavailable(s, err)
	}
	if r.DSN != "" {
		return true, d.defers(s, r.DSN, r.Reason)
	}
	return false, false
}

func (d *delivery) userLookupFailed(s *state, err error) bool {
	d.warnf("error looking up passwd info for %s: %v", s.user, err)
	return d.defers(s, "4.0.0", "user lookup error")
}
