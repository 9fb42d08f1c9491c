package smtp

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// A tlsLevel is a value of smtp_tls_security_level, the laxest first.
type tlsLevel uint8

const (
	tlsNone tlsLevel = iota
	tlsMay
	tlsEncrypt
	tlsVerify // the certificate's name is the host's
	tlsSecure // the certificate's name is the next hop's
)

var tlsLevels = map[string]tlsLevel{"none": tlsNone, "may": tlsMay, "encrypt": tlsEncrypt, "verify": tlsVerify, "secure": tlsSecure}

// otherLevels exist, but not here.
var otherLevels = map[string]bool{"dane": true, "dane-only": true, "half-dane": true, "fingerprint": true}

// tlsLevel returns the level that is in force where no policy says otherwise. One that
// cannot be honored is an error: mail must not travel with less protection than asked for.
func (s *Settings) tlsLevel(p Protocol) (tlsLevel, error) {
	level := tlsNone
	switch {
	case s.TLSLevel != "":
		word := strings.ToLower(s.TLSLevel)
		var ok bool
		if level, ok = tlsLevels[word]; !ok && otherLevels[word] {
			return 0, fmt.Errorf("parameter %stls_security_level: TLS level %q is not supported", p.prefix(), s.TLSLevel)
		}
		if !ok {
			return 0, fmt.Errorf("Invalid TLS level %q", s.TLSLevel)
		}
	case s.EnforceTLS && s.EnforcePeername:
		level = tlsVerify
	case s.EnforceTLS:
		level = tlsEncrypt
	case s.UseTLS:
		level = tlsMay
	}
	if s.TLSWrapper && level < tlsEncrypt {
		return 0, fmt.Errorf(`%[1]stls_wrappermode requires "%[1]stls_security_level = encrypt" (or stronger)`, p.prefix())
	}
	return level, nil
}

// A tlsPolicy is what TLS has to be like with one server.
type tlsPolicy struct {
	level      tlsLevel
	matches    []certMatch // names that the certificate may have, from level verify on
	versions   tlsconf.Versions
	serverName string // to ask for with SNI
}

// A certMatch is a name that a certificate may have, or, with sub, one that its
// names must be below.
type certMatch struct {
	name string
	sub  bool
}

// accepts compares a name of a certificate. "*" stands for one label.
func (p *tlsPolicy) accepts(name string) bool {
	for _, m := range p.matches {
		if m.sub {
			n := len(name) - len(m.name)
			if n > 1 && name[n-1] == '.' && strings.EqualFold(name[n:], m.name) {
				return true
			}
			continue
		}
		if strings.EqualFold(name, m.name) {
			return true
		}
		_, parent, ok := strings.Cut(m.name, ".")
		if below, wild := strings.CutPrefix(name, "*."); wild && ok && below != "" && strings.EqualFold(below, parent) {
			return true
		}
	}
	return false
}

var (
	errPolicy       = errors.New("invalid TLS policy")
	errPolicyLookup = errors.New("TLS policy table lookup error")
)

// policy returns the policy for a server: by the next hop as it is configured, and
// if that is a mere domain, by its parents as ".parent".
func (t *tlsClient) policy(ctx context.Context, nexthop string, srv *server) (*tlsPolicy, error) {
	p := &tlsPolicy{level: t.level, serverName: t.set.TLSServerName}
	match := ""
	if !t.policies.Empty() {
		key, value, err := t.lookupPolicy(ctx, nexthop)
		if err != nil {
			return nil, err
		}
		if value != "" {
			where := fmt.Sprintf("%stls_policy_maps, next-hop destination %q", t.agent.Protocol.prefix(), key)
			if match, err = t.parsePolicy(p, value, where); err != nil {
				return nil, err
			}
		}
	}
	if p.level == tlsNone {
		return p, nil
	}
	t.complete(p, nexthop, srv, match)
	return p, nil
}

func (t *tlsClient) lookupPolicy(ctx context.Context, nexthop string) (key, value string, err error) {
	value, found, err := t.policies.Lookup(ctx, nexthop)
	if err != nil {
		return "", "", fmt.Errorf("%w: %w", errPolicyLookup, err)
	}
	if found || strings.ContainsAny(nexthop, "[]:/") {
		return nexthop, value, nil
	}
	for rest := nexthop; ; {
		i := strings.IndexByte(rest[1:], '.')
		if i < 0 {
			return "", "", nil
		}
		rest = rest[1+i:]
		if value, found, err = t.policies.LookupPartial(ctx, rest); err != nil {
			return "", "", fmt.Errorf("%w: %w", errPolicyLookup, err)
		}
		if found {
			return rest, value, nil
		}
	}
}

// parsePolicy reads "level attribute=value ...". It returns the value of match.
func (t *tlsClient) parsePolicy(p *tlsPolicy, value, where string) (match string, err error) {
	words := postfix.SplitList(value)
	if len(words) == 0 {
		return "", t.badPolicy(where, "invalid empty policy")
	}
	level, ok := tlsLevels[strings.ToLower(words[0])]
	switch {
	case !ok && otherLevels[strings.ToLower(words[0])]:
		return "", t.badPolicy(where, "security level "+fmt.Sprintf("%q", words[0])+" is not supported")
	case !ok:
		return "", t.badPolicy(where, "invalid security level "+fmt.Sprintf("%q", words[0]))
	}
	p.level = level
	if level == tlsNone {
		return "", nil
	}
	for _, word := range words[1:] {
		name, text, found := strings.Cut(word, "=")
		if !found || text == "" {
			return "", t.badPolicy(where, fmt.Sprintf("malformed attribute/value pair %q", word))
		}
		switch strings.ToLower(name) {
		case "match":
			if level < tlsVerify {
				return "", t.badPolicy(where, fmt.Sprintf("attribute %q invalid at security level %q", name, words[0]))
			}
			if match != "" {
				match += ":"
			}
			match += text
		case "protocols":
			if p.versions, err = tlsconf.ParseVersions(strings.ReplaceAll(text, ":", " ")); err != nil {
				return "", t.badPolicy(where, err.Error())
			}
		case "servername":
			p.serverName = text
		case "ciphers", "exclude", "connection_reuse":
			// All ciphers of crypto/tls are of the highest grade.
		default:
			return "", t.badPolicy(where, fmt.Sprintf("invalid attribute name: %q", name))
		}
	}
	return match, nil
}

func (t *tlsClient) badPolicy(where, problem string) error {
	t.agent.Log.Warningf("%s: %s", where, problem)
	return errPolicy
}

// complete fills in what the policy leaves to the parameters.
func (t *tlsClient) complete(p *tlsPolicy, nexthop string, srv *server, match string) {
	domain, _, _ := splitDestination(strings.TrimPrefix(nexthop, "inet:"))
	switch {
	case p.versions != tlsconf.Versions{}:
	case p.level > tlsMay:
		p.versions = t.mandatory
	default:
		p.versions = t.versions
	}
	switch p.serverName {
	case "hostname":
		p.serverName = srv.host
	case "nexthop":
		p.serverName = domain
	}
	if match == "" && p.level == tlsVerify {
		match = t.set.TLSVerifyMatch
	} else if match == "" {
		match = t.set.TLSSecureMatch
	}
	for _, word := range strings.FieldsFunc(match, func(r rune) bool { return strings.ContainsRune(":, \t", r) }) {
		m := certMatch{name: word}
		switch word {
		case "hostname":
			m.name = srv.host
		case "nexthop":
			m.name = domain
		case "dot-nexthop":
			m = certMatch{domain, true}
		default:
			m.name, m.sub = strings.CutPrefix(word, ".")
		}
		p.matches = append(p.matches, m)
	}
}
