package resolve

import (
	"context"
	"net/netip"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// address is one that is being resolved.
type address struct {
	user   string
	domain string
	at     bool // there was an "@"
	local  bool
	routed bool
}

func (a *address) String() string {
	if !a.at {
		return a.user
	}
	return a.user + "@" + a.domain
}

// invalid says why mail cannot go to the address.
func (a *address) invalid(set *Settings) string {
	switch {
	case a.user == "" || a.domain == "" || !validDomain(a.domain, set):
		return badSyntax
	case a.user[0] == '-' && !set.AllowMinUser:
		return badSyntax
	}
	return ""
}

func validDomain(domain string, set *Settings) bool {
	if smtp.ValidDomain(domain) {
		return true
	}
	_, err := netip.ParseAddr(domain)
	return err == nil && set.ResolveNumericDomain
}

// maxReductions bounds how often a domain of ours is taken off an address.
const maxReductions = 100

// reduce takes domains of ours off an address as long as a route to elsewhere
// is below: user%remote@ours and user@remote@ours are user@remote.
func (r *Resolver) reduce(ctx context.Context, addr string) (address, error) {
	for range maxReductions {
		var a address
		a.user, a.domain, a.at = cutLast(addr, '@')
		a.domain = strings.TrimSuffix(a.domain, ".")
		if a.at && a.domain == "" && !r.set.ResolveNullDomain {
			return a, nil
		}
		local, err := r.isLocal(ctx, a.domain)
		if err != nil {
			return a, err
		}
		if a.domain == "" {
			a.domain, a.at, local = r.core.Myhostname, true, true
		}
		if !local {
			a.routed = r.hasOperators(a.user)
			return a, nil
		}
		a.local = true
		if !r.hasOperators(a.user) {
			return a, nil
		}
		next := r.Rewrite(ctx, "local", a.user)
		if next == a.user+"@"+a.domain {
			return a, nil
		}
		addr = next
	}
	return address{}, nil
}

// hasOperators looks for routing in a local part. In the internal form an "@"
// there was quoted, and counts with resolve_dequoted_address only.
func (r *Resolver) hasOperators(user string) bool {
	for i := range len(user) {
		switch user[i] {
		case '@':
			if r.set.ResolveDequotedAddress {
				return true
			}
		case '%':
			if r.set.AllowPercentHack {
				return true
			}
		case '!':
			if r.set.SwapBangpath {
				return true
			}
		}
	}
	return false
}

// isLocal reports whether a domain is delivered by local(8): it is in
// mydestination, or a literal of an address of ours.
func (r *Resolver) isLocal(ctx context.Context, domain string) (bool, error) {
	if domain == "" {
		return true, nil
	}
	if domain[0] == '[' {
		addr, ok := smtp.ParseLiteral(domain)
		return ok && r.OwnAddr(addr), nil
	}
	return r.mydestination.Match(ctx, strings.ToLower(domain))
}

func cutLast(s string, c byte) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, c); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}
