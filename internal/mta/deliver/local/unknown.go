package local

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver/asuser"
)

// unknown is for addresses that are neither alias nor user.
func (d *delivery) unknown(s state) bool {
	s.level++
	if d.seen.before("unknown", s.local) {
		return false
	}
	transport, found, err := d.fallbacks.Lookup(d.ctx, s.user)
	if err != nil {
		return d.defers(&s, "4.3.0", "table lookup failure")
	}
	if !found {
		transport = d.set.FallbackTransport
	}
	switch {
	case transport != "":
		return d.pass(&s, transport)
	case d.set.LuserRelay != "":
		return d.luserRelay(s)
	case s.user == "mailer-daemon" || s.user == "postmaster":
		d.warnf("required alias not found: %s", s.user)
		return d.sent(&s, "discarded")
	}
	return d.bounces(&s, "5.1.1", `unknown user: "`+s.user+`"`)
}

// luserRelay sends mail for unknown users to another address.
func (d *delivery) luserRelay(s state) bool {
	s.unmatched = nil
	addr, err := asuser.ExpandLoose(d.set.LuserRelay, d.vars(&s), "")
	if err != nil {
		d.warnf("luser_relay: %v", err)
		return d.defers(&s, "4.3.5", "mail system configuration error")
	}
	if strings.EqualFold(d.Resolver.Rewrite(d.ctx, "local", addr), s.address) {
		return d.bounces(&s, "5.1.1", `unknown user: "`+s.user+`"`)
	}
	return d.address(s, addr)
}
