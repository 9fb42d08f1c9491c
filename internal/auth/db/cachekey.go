package db

import (
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// A CachedPassdb is a Passdb whose answers may be kept for some time. The key is a
// template with all %variables that the answer depends on; ok tells whether this one's
// answers are to be kept.
type CachedPassdb interface {
	Passdb
	PassdbCacheKey() (key string, ok bool)
}

// A CachedUserdb is the same of a Userdb.
type CachedUserdb interface {
	Userdb
	UserdbCacheKey() (key string, ok bool)
}

// cacheVars are the variables that cache keys name in one way, in the order in which
// they come first in a key: user names, which `doveadm auth cache flush` looks for.
var cacheVars = []struct {
	key  byte
	name string
}{
	{'u', "user"}, {'n', "username"}, {'d', "domain"}, {'s', "service"}, {'h', "home"}, {'l', "lip"}, {'r', "rip"}, {'p', "pid"},
	{'w', "password"}, {'!', ""}, {'m', "mech"}, {'c', "secured"}, {'a', "lport"}, {'b', "rport"}, {'k', "cert"},
}

// CacheKey returns the variables of a query or template, each once and in a fixed
// order, separated by TABs. As in Dovecot, modifiers do not count, and %n with %d is %u.
func CacheKey(template string) string {
	var known [32]bool
	var others []string
	for {
		i := strings.IndexByte(template, '%')
		if i < 0 {
			break
		}
		n := dovecot.CutVar(template[i:])
		name := varName(template[i : i+n])
		template = template[i+n:]
		at := slices.IndexFunc(cacheVars, func(v struct {
			key  byte
			name string
		}) bool {
			return name == v.name && name != "" || len(name) == 1 && name[0] == v.key
		})
		switch {
		case name == "" || name == "%":
		case at >= 0:
			known[at] = true
		case !slices.Contains(others, name):
			others = append(others, name)
		}
	}
	const user, local, domain = 0, 1, 2
	if known[local] && known[domain] {
		known[user], known[local], known[domain] = true, false, false
	}
	var key []string
	for i, v := range cacheVars {
		if known[i] {
			key = append(key, "%"+string(rune(v.key)))
		}
	}
	for _, name := range others {
		key = append(key, "%{"+name+"}")
	}
	return strings.Join(key, "\t")
}

// varName is the name in a %variable, without format.
func varName(text string) string {
	if i := strings.IndexByte(text, '{'); i >= 0 && strings.HasSuffix(text, "}") {
		return text[i+1 : len(text)-1]
	}
	runes := []rune(text[1:])
	if len(runes) == 0 {
		return ""
	}
	return string(runes[len(runes)-1])
}

// ExpandCacheKey expands a cache key for a request. The values are escaped, so they
// have no TABs. What only the answer knows (%{ldap:attr}) is empty.
func (r *Request) ExpandCacheKey(key string) (string, error) {
	return r.expandWith(key, expansion{
		escape: func(v string) string { return string(wire.AppendEscaped(nil, v)) },
		lookup: func(string, string) (string, bool) { return "", true },
	})
}

// PassdbCacheKey implements [CachedPassdb].
func (s *sqlDB) PassdbCacheKey() (string, bool) { return CacheKey(s.password.text), true }

// UserdbCacheKey implements [CachedUserdb].
func (s *sqlDB) UserdbCacheKey() (string, bool) { return CacheKey(s.user.text), true }

// PassdbCacheKey implements [CachedPassdb].
func (l *ldapDB) PassdbCacheKey() (string, bool) {
	return CacheKey(*l.set.Base + l.set.PassAttrs + l.set.PassFilter + l.set.AuthBindUserDN), true
}

// UserdbCacheKey implements [CachedUserdb].
func (l *ldapDB) UserdbCacheKey() (string, bool) {
	return CacheKey(*l.set.Base + l.set.UserAttrs + l.set.UserFilter), true
}

// PassdbCacheKey implements [CachedPassdb]: what the machine's modules look at, only
// the administrator knows.
func (p *pamDB) PassdbCacheKey() (string, bool) { return CacheKey(p.cacheKey), p.cacheKey != "" }

// PassdbCacheKey implements [CachedPassdb].
func (*passwd) PassdbCacheKey() (string, bool) { return "%u", true }

// UserdbCacheKey implements [CachedUserdb].
func (p *passwd) UserdbCacheKey() (string, bool) { return "%u", true }

// PassdbCacheKey implements [CachedPassdb].
func (*shadowDB) PassdbCacheKey() (string, bool) { return "%u", true }

var (
	_ CachedPassdb = (*sqlDB)(nil)
	_ CachedUserdb = (*sqlDB)(nil)
	_ CachedPassdb = (*ldapBindDB)(nil)
	_ CachedUserdb = (*ldapDB)(nil)
	_ CachedPassdb = (*pamDB)(nil)
	_ CachedPassdb = (*passwd)(nil)
	_ CachedUserdb = (*passwd)(nil)
	_ CachedPassdb = (*shadowDB)(nil)
)
