package local

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/aliases"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
)

const bounced = deliver.Bounced

// maxLevel bounds aliases in aliases.
const maxLevel = 100

// alias expands a name, if an alias database has it.
func (d *delivery) alias(s state, name string) (done, again bool) {
	s.level++
	if s.from != "" && strings.EqualFold(s.from, name) {
		return false, false // the user of that name is meant
	}
	if s.level > maxLevel {
		d.warnf("alias database loop for %s", name)
		return true, d.bounces(&s, "5.4.6", "alias database loop for "+name)
	}
	s.from = name
	for i := range d.aliases {
		t := &d.aliases[i]
		value, found, err := t.maps.Lookup(d.ctx, name)
		if err != nil {
			d.warnf("%s: lookup of '%s' failed", t.spec, name)
			return true, d.defers(&s, "4.3.0", "alias database unavailable")
		}
		if found {
			return true, d.expandAlias(s, t, name, value)
		}
	}
	return false, false
}

// expandAlias delivers to what an alias stands for.
func (d *delivery) expandAlias(s state, t *aliasTable, name, value string) bool {
	if d.req.Message.Verify {
		return d.sent(&s, "aliased to "+value)
	}
	s.place = inAlias
	if done, again := d.aliasRights(&s, t); done {
		return again
	}
	owner, err := d.setOwner(&s, name)
	if err != nil {
		return d.defers(&s, "4.3.0", "alias database unavailable")
	}
	if !d.set.FrozenDeliveredTo {
		s.delivered = s.address
	}
	whole := s
	s.notify = withoutSuccess(s.notify)
	if owner {
		s.envid, s.ret, s.orcpt, s.original = "", 0, "", ""
	}
	if s.rights == nil {
		s.via = []string{name}
	}
	members := aliases.Parse(value)
	if len(members) == 0 {
		d.warnf("no recipient in alias lookup result for %s", name)
		return d.defers(&s, "4.3.0", "alias database unavailable")
	}
	again := d.tokens(&s, members)
	if owner {
		d.expands(&whole, deliver.Final) // RFC 3461 5.2.7.3: a list has taken it
	} else {
		d.expands(&whole, deliver.Expanded)
	}
	return again
}

// withoutSuccess is the NOTIFY of what an alias stands for (RFC 3461 5.2.7.2).
func withoutSuccess(notify uint8) uint8 {
	if notify == queue.NotifySuccess {
		return queue.NotifyNever
	}
	return notify &^ queue.NotifySuccess
}

// aliasRights sets whose rights commands and files of a database have: of its owner,
// and default_privs if that is root.
func (d *delivery) aliasRights(s *state, t *aliasTable) (done, again bool) {
	owner, err := d.owner(t)
	switch {
	case err != nil:
		d.warnf("cannot find alias database owner for %s: %v", t.spec, err)
		return true, d.defers(s, "4.3.0", "cannot find alias database owner")
	case !owner.Known:
		d.warnf("deliver_alias: no owner UID for alias database %s", t.spec)
		return true, d.defers(s, "4.3.0", "mail system configuration error")
	case owner.UID == 0:
		s.rights = nil
		return false, false
	}
	if s.rights, err = d.Asuser.UserID(d.ctx, owner.UID); err != nil || s.rights == nil {
		text := "cannot find alias database owner for " + t.spec
		if err != nil {
			text += ": " + err.Error()
		}
		d.warnf("%s", text)
		return true, d.defers(s, "4.3.0", "cannot find alias database owner")
	}
	return false, false
}

// setOwner makes the owner- alias of a list the sender of what is sent to its members.
func (d *delivery) setOwner(s *state, name string) (owner bool, err error) {
	if d.core.OwnerRequestSpecial {
		alias := "owner-" + name
		value, found, err := d.lookupAlias(d.ctx, alias)
		if err != nil {
			return false, err
		}
		if found {
			s.sender = d.ownerAddress(alias, value)
			s.owner = s.sender
			return true, nil
		}
	}
	if d.set.ResetOwner {
		s.owner = ""
	}
	return false, nil
}
