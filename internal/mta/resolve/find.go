package resolve

import (
	"context"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/smtp"
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
// that the key which was found does not have.
func (r *Resolver) Find(ctx context.Context, maps Maps, addr string, keys FindKeys) (value, ext string, found bool, err error) {
	if maps == nil || maps.Empty() || addr == "" {
		return "", "", false, nil
	}
	quoted := smtp.QuoteAddress(addr)
	value, ext, found, err = r.find(ctx, maps, quoted, keys)
	if err == nil && !found && quoted != addr {
		return r.find(ctx, maps, addr, keys)
	}
	return value, ext, found, err
}

func (r *Resolver) find(ctx context.Context, maps Maps, addr string, keys FindKeys) (value, ext string, found bool, err error) {
	if value, found, err = maps.Lookup(ctx, addr); err != nil || found {
		return value, "", found, err
	}
	user, domain, at := cutLast(addr, '@')
	bare, ext := r.SplitExtension(user)
	if ext != "" && at && keys&FindNoExtension != 0 {
		if value, found, err = maps.LookupPartial(ctx, bare+"@"+domain); err != nil || found {
			return value, ext, found, err
		}
	}
	if keys&FindLocal != 0 {
		value, ext, found, err := r.findLocal(ctx, maps, user, domain, at)
		if err != nil || found {
			return value, ext, found, err
		}
	}
	if at && keys&FindDomain != 0 {
		value, found, err = maps.LookupPartial(ctx, addr[len(user):])
		return value, "", found, err
	}
	return "", "", false, nil
}

// findLocal looks the user up without domain, where the domain is ours.
func (r *Resolver) findLocal(ctx context.Context, maps Maps, user, domain string, at bool) (value, ext string, found bool, err error) {
	bare, ext := r.SplitExtension(user)
	if at {
		ours, err := r.isOrigin(ctx, domain)
		if err != nil || !ours {
			return "", "", false, err
		}
		if value, found, err = maps.LookupPartial(ctx, user); err != nil || found {
			return value, "", found, err
		}
	}
	if ext == "" {
		return "", "", false, nil
	}
	value, found, err = maps.LookupPartial(ctx, bare)
	return value, ext, found, err
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
	if i <= 0 {
		return user, ""
	}
	if user[i] == '-' && r.hasSpecialDash(user) {
		return user, ""
	}
	return user[:i], user[i:]
}

func (r *Resolver) hasSpecialDash(user string) bool {
	if strings.EqualFold(user, "mailer-daemon") || strings.EqualFold(user, r.core.DoubleBounceSender) {
		return true
	}
	if !r.core.OwnerRequestSpecial {
		return false
	}
	lower := strings.ToLower(user)
	return strings.HasPrefix(lower, "owner-") || strings.HasSuffix(lower, "-request")
}

// Propagates reports whether the extension of a key is appended to results of
// the tables named by word: "canonical", "virtual", ...
func (r *Resolver) Propagates(word string) bool { return r.propagate[word] }
