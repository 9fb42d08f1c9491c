package resolve

import (
	"context"
	"errors"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/rfc822"
)

// errNoAddress is a result that cannot be used.
var errNoAddress = errors.New("table lookup returned no address")

// Map looks an address up in maps and returns the addresses it is mapped to, in
// standard form and, as addr, internal. It is nil where nothing is found.
// propagate appends the extension that the key had not. The parameter that
// names the maps is for the log.
//
// "@domain" as result keeps the user; several results stand in a list as in
// headers. This is what canonical(5), generic(5) and virtual(5) have in common.
func (r *Resolver) Map(ctx context.Context, log *maillog.Logger, param string, maps Maps, addr string, propagate bool) ([]string, error) {
	value, ext, found, err := r.find(ctx, finder{maps: maps}, addr, FindDefault)
	if err != nil || !found {
		return nil, err
	}
	if strings.HasPrefix(value, "@") {
		user, _, _ := cutLast(addr, '@')
		value = rfc822.Quote(strings.TrimSuffix(user, ext) + value)
	}
	if !propagate {
		ext = ""
	}
	addrs := r.crunch(value, ext)
	if len(addrs) == 0 {
		log.Warningf("%s lookup of %s returns non-address result %q", param, addr, value)
		return nil, errNoAddress
	}
	return addrs, nil
}

// crunch takes a list of addresses apart and brings each into standard form.
func (r *Resolver) crunch(value, ext string) []string {
	if isComplete(value) && ext == "" {
		return []string{value}
	}
	if value == "" || value == "<>" {
		value = `""`
	}
	var addrs []string
	for _, t := range rfc822.ParseList(value, 0) {
		if t.Kind != rfc822.Address {
			continue
		}
		addr := rfc822.Unquote(r.RewriteExternal("local", rfc822.External(t.List)))
		user, domain, at := cutLast(addr, '@')
		switch {
		case ext == "":
		case at:
			addr = user + ext + "@" + domain
		default:
			addr += ext
		}
		addrs = append(addrs, addr)
	}
	return addrs
}
