package resolve

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"unicode/utf8"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// errTooManyRoutes is an address that does not come to an end.
var errTooManyRoutes = errors.New("trivial-rewrite: too many routes in the address")

// address is one that is being resolved.
type address struct {
	user   string
	domain string
	local  bool
}

func (a *address) String() string { return a.user + "@" + a.domain }

// reduce finds what an address comes to, and whether that is local.
func (r *Resolver) reduce(ctx context.Context, addr string) (address, error) {
	if isComplete(addr) {
		// Nothing can be below the domain.
		user, domain, _ := cutLast(addr, '@')
		local, err := r.isLocal(ctx, domain)
		return address{user, domain, local}, err
	}
	s, err := r.strip(ctx, addr)
	if err != nil {
		return address{}, err
	}
	user, domain, _ := cutLast(s.text, '@')
	return address{user, domain, s.local}, nil
}

// checkDomain tells whether mail can go to a domain. A bare network address
// becomes a literal where that is allowed.
func (r *Resolver) checkDomain(ctx context.Context, a *address) (ok bool, err error) {
	if strings.HasPrefix(a.domain, "[") {
		_, ok := smtp.ParseLiteral(a.domain)
		return ok, nil
	}
	if r.core.SMTPUTF8Enable && !utf8.ValidString(a.String()) {
		return false, nil
	}
	if smtp.ValidHostname(a.domain) || r.core.SMTPUTF8Enable && smtp.ValidUTF8Domain(a.domain) && !strings.HasSuffix(a.domain, ".") {
		return true, nil
	}
	if _, err := netip.ParseAddr(a.domain); err != nil || !r.set.ResolveNumericDomain {
		return false, nil
	}
	a.domain = "[" + a.domain + "]"
	local, err := r.isLocal(ctx, a.domain)
	a.local = a.local || local
	return true, err
}

// isRouted tells of routing operators in the local part. What the next hop makes
// of them is not known.
func (a *address) isRouted() bool { return strings.ContainsAny(a.user, "@!%") }

// isLocal reports whether a domain is delivered by local(8): it is in
// mydestination, or a literal of an address of ours.
func (r *Resolver) isLocal(ctx context.Context, domain string) (bool, error) {
	domain = strings.TrimSuffix(domain, ".")
	if domain == "" || strings.HasSuffix(domain, ".") {
		return false, nil
	}
	if domain[0] == '[' {
		if addr, ok := smtp.ParseLiteral(domain); ok && r.OwnAddr(addr) {
			return true, nil
		}
	}
	return r.mydestination.Match(ctx, strings.ToLower(domain))
}

func cutLast(s string, c byte) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, c); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}
