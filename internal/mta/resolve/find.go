package resolve

import (
	"context"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/rfc822"
)

// FindKeys says which parts of an address [Resolver.Find] looks up.
type FindKeys uint8

// The keys, in the order they are tried.
const (
	FindFull        FindKeys = 1 << iota // user+ext@domain
	FindNoExtension                      // user@domain
	FindLocal                            // user+ext, user: where the domain is local or $myorigin
	FindDomain                           // @domain
)

// FindDefault is the search order of canonical(5), virtual(5) and others.
const FindDefault = FindFull | FindNoExtension | FindLocal | FindDomain

// Find looks an address up in maps. ext is the extension, with its delimiter,
// that the key which was found does not have. Keys are tried in external form
// first, and then, as old tables have them, without quotes.
func (r *Resolver) Find(ctx context.Context, maps Maps, addr string, keys FindKeys) (value, ext string, found bool, err error) {
	return r.find(ctx, finder{maps: maps, internal: true}, addr, keys)
}

// A finder asks maps for keys.
type finder struct {
	maps     Maps
	internal bool // ask for the internal form too
}

// whole asks for a whole address.
func (f finder) whole(ctx context.Context, key string) (value string, found bool, err error) {
	quoted := rfc822.Quote(key)
	if value, found, err = f.maps.Lookup(ctx, quoted); err != nil || found || !f.internal || quoted == key {
		return value, found, err
	}
	return f.maps.Lookup(ctx, key)
}

// part asks for what is left of an address, which patterns are not asked for.
func (f finder) part(ctx context.Context, key, quoted string) (value string, found bool, err error) {
	if value, found, err = f.maps.LookupPartial(ctx, quoted); err != nil || found || !f.internal || quoted == key {
		return value, found, err
	}
	return f.maps.LookupPartial(ctx, key)
}

func (r *Resolver) find(ctx context.Context, f finder, addr string, keys FindKeys) (value, ext string, found bool, err error) {
	if f.maps == nil || f.maps.Empty() || addr == "" {
		return "", "", false, nil
	}
	if keys&FindFull != 0 {
		if value, found, err = f.whole(ctx, addr); err != nil || found {
			return value, "", found, err
		}
	}
	user, domain, at := cutLast(addr, '@')
	bare, ext := r.SplitExtension(user)
	if keys&FindNoExtension == 0 {
		ext = ""
	}
	if ext != "" {
		key := bare + addr[len(user):]
		if value, found, err = f.part(ctx, key, rfc822.Quote(key)); err != nil || found {
			return value, ext, found, err
		}
	}
	if !at {
		return "", "", false, nil
	}
	if keys&FindLocal != 0 {
		ours, err := r.isOrigin(ctx, domain)
		if err != nil {
			return "", "", false, err
		}
		if ours {
			if value, found, err = f.part(ctx, user, quoteLocal(user)); err != nil || found {
				return value, "", found, err
			}
			if ext != "" {
				if value, found, err = f.part(ctx, bare, quoteLocal(bare)); err != nil || found {
					return value, ext, found, err
				}
			}
		}
	}
	if keys&FindDomain != 0 {
		value, found, err = f.maps.LookupPartial(ctx, addr[len(user):])
		return value, "", found, err
	}
	return "", "", false, nil
}

// quoteLocal is the external form of a local part without domain.
func quoteLocal(user string) string {
	return strings.TrimSuffix(rfc822.Quote(user+"@x"), "@x")
}

func (r *Resolver) isOrigin(ctx context.Context, domain string) (bool, error) {
	if domain == "" {
		return false, nil
	}
	if strings.EqualFold(domain, r.core.Myorigin) {
		return true, nil
	}
	return r.isLocal(ctx, domain)
}

// SplitExtension splits a local part at the first recipient delimiter. ext
// begins with the delimiter and is empty when there is none. Names that mail
// systems use themselves have no extension.
func (r *Resolver) SplitExtension(user string) (bare, ext string) {
	delimiters := r.core.RecipientDelimiter
	if delimiters == "" {
		return user, ""
	}
	i := strings.IndexAny(user, delimiters)
	if i <= 0 || r.isWhole(user) {
		return user, ""
	}
	return user[:i], user[i:]
}

// isWhole recognizes names that are not split.
func (r *Resolver) isWhole(user string) bool {
	if strings.EqualFold(user, "postmaster") || strings.EqualFold(user, "mailer-daemon") ||
		strings.EqualFold(user, r.core.DoubleBounceSender) {
		return true
	}
	if !r.core.OwnerRequestSpecial || strings.IndexByte(r.core.RecipientDelimiter, '-') < 0 {
		return false
	}
	n := len(user)
	return n >= len("owner-") && strings.EqualFold(user[:len("owner-")], "owner-") ||
		n > len("-request") && strings.EqualFold(user[n-len("-request"):], "-request")
}

// Propagates reports whether the extension of a key is appended to results of
// the tables named by word: "canonical", "virtual", ...
func (r *Resolver) Propagates(word string) bool { return r.propagate[word] }
