package local

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver/asuser"
)

// A state is where an expansion is. It is passed on by value: what is changed for a
// part of an expansion holds for that part only.
type state struct {
	level int // how deep; every step counts

	address  string // the recipient now
	original string // before aliases; empty behind an owner- alias
	orcpt    string
	notify   uint8
	sender   string // envelope sender of what is forwarded
	envid    string
	ret      byte

	local     string // the address without domain, in lower case
	user      string // without extension
	domain    string
	extension *string // nil for none
	unmatched *string // what results get appended

	owner     string // of the list, or the user whose .forward file it is; empty for none
	delivered string // for Delivered-To
	place     string // inAlias, inForward, inInclude; empty for the recipient itself
	from      string // the name whose expansion it is
	rights    *asuser.User
	via       []string // of files that root reads: the alias, then the files in between
}

// ref returns a pointer to a copy.
func ref(s string) *string { return &s }

// split takes the address apart.
func (d *delivery) split(s *state) {
	s.local, s.domain = d.splitAddress(strings.ToLower(s.address))
	s.user, s.extension = s.local, nil
	if bare, ext := d.Resolver.SplitExtension(s.local); ext != "" && !isSystemName(s.local) {
		s.user, s.extension = bare, ref(ext[1:])
		if strings.Contains(ext, "/") {
			d.warnf("%s: address with illegal extension: %s", d.req.Message.ID, s.local)
			s.local, s.extension = s.user, nil
		}
	}
	s.unmatched = s.extension
}

// isSystemName is for names that never have an extension.
func isSystemName(local string) bool { return local == "postmaster" || local == "mailer-daemon" }

// splitAddress splits at the last "@"; an address without one is warned about.
func (d *delivery) splitAddress(addr string) (local, domain string) {
	at := strings.LastIndexByte(addr, '@')
	if at < 0 {
		d.warnf("no @ in recipient address: %s", addr)
		return addr, ""
	}
	return addr[:at], addr[at+1:]
}

// delimiter is the character between user and extension.
func (s *state) delimiter() string {
	if len(s.local) > len(s.user) {
		return s.local[len(s.user) : len(s.user)+1]
	}
	return ""
}

// vars are the values of names in forward_path and other parameters.
func (d *delivery) vars(s *state) map[string]string {
	vars := map[string]string{"user": s.user, "local": s.local, "mailbox": s.local, "recipient": s.address}
	if s.domain != "" {
		vars["domain"] = s.domain
	}
	if s.extension != nil {
		vars["extension"] = *s.extension
	}
	if delimiter := s.delimiter(); delimiter != "" {
		vars["recipient_delimiter"] = delimiter
	} else if d.core.RecipientDelimiter != "" {
		vars["recipient_delimiter"] = d.core.RecipientDelimiter[:1]
	}
	if s.rights != nil {
		vars["home"], vars["shell"] = s.rights.Home, s.rights.Shell
	}
	return vars
}

// rightsName is whose rights deliveries have: the login name, or empty.
func (s *state) rightsName() string {
	if s.rights == nil {
		return ""
	}
	return s.rights.Name
}

// rightsKey tells rights apart in the filter of duplicates.
func (s *state) rightsKey() uint32 {
	if s.rights == nil {
		return 0
	}
	return s.rights.UID
}
