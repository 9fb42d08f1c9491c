package local

import (
	"path/filepath"
	"slices"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver/asuser"
)

// include delivers to the destinations in a file.
func (d *delivery) include(s state, path string) bool {
	s.level++
	if d.seen.before("include", key(s.rightsKey(), path)) {
		return false
	}
	s.from = s.local
	if !filepath.IsAbs(path) {
		d.warnf(":include:%s uses a relative path", path)
		return d.bounces(&s, "5.3.5", "mail system configuration error")
	}
	trusted := s.rightsKey() == 0 // nobody's, or root's
	req := &asuser.Request{Op: asuser.OpInclude, Service: d.Service, Path: path, User: s.rightsName()}
	if trusted {
		req.User, req.Via = "", s.via
	}
	r, f, err := d.Asuser.Do(d.ctx, req, nil)
	if err != nil {
		return d.unavailable(&s, err)
	}
	d.warnings(r)
	if f == nil {
		return d.bounces(&s, r.DSN, r.Reason)
	}
	defer f.Close()
	s.place = inInclude
	if trusted {
		if r.User == nil {
			d.warnf("%s: cannot find :include: file owner username", path)
			return d.defers(&s, "4.3.5", "mail system configuration error")
		}
		if r.User.UID != 0 {
			// Its owner must not get the rights of default_privs.
			s.rights = r.User
		}
		s.via = append(slices.Clone(s.via), path)
	}
	if s.owner == "" {
		s.owner = s.address
	}
	if !d.propagates[inInclude] {
		s.unmatched = nil
	}
	_, again := d.lines(&s, f)
	return again
}
