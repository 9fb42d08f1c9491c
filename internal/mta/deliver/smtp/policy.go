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
	tlsDANE        // the certificate is one that TLSA records name, if there are any
	tlsDANEOnly    // there must be
	tlsFingerprint // the certificate or its key is one that is configured
	tlsVerify      // the certificate's name is the host's
	tlsSecure      // the certificate's name is the next hop's
)

var tlsLevels = map[string]tlsLevel{
	"none": tlsNone, "may": tlsMay, "encrypt": tlsEncrypt, "dane": tlsDANE, "dane-only": tlsDANEOnly,
	"fingerprint": tlsFingerprint, "verify": tlsVerify, "secure": tlsSecure,
}

// authenticates tells whether the server must prove who it is.
func (l tlsLevel) authenticates() bool { return l > tlsEncrypt }

// tlsLevel returns the level that is in force where no policy says otherwise. One that
// cannot be honored is an error: mail must not travel with less protection than asked for.
func (s *Settings) tlsLevel(p Protocol) (tlsLevel, error) {
	level := tlsNone
	switch {
	case s.TLSLevel != "":
		word := strings.ToLower(s.TLSLevel)
		var ok bool
		if level, ok = tlsLevels[word]; !ok {
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

// insecureMX returns the level of smtp_tls_dane_insecure_mx_policy.
func (s *Settings) insecureMX() (tlsLevel, error) {
	switch word := strings.ToLower(s.TLSInsecureMX); word {
	case "may", "encrypt", "dane":
		return tlsLevels[word], nil
	case "": // LMTP looks no MX records up
		return tlsDANE, nil
	}
	return 0, fmt.Errorf("invalid parameter smtp_tls_dane_insecure_mx_policy: %q", s.TLSInsecureMX)
}

// A tlsPolicy is what TLS has to be like with one server.
type tlsPolicy struct {
	level      tlsLevel
	matches    []certMatch // names that the certificate may have, from level verify on, and with pins of authorities
	pins       pins        // in place of public authorities
	versions   tlsconf.Versions
	exclude    *string // ciphers, in place of those of the parameters
	cipherList string  // in place of those of the parameters
	ciphers    []uint16
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
	switch {
	case t.policies.Empty() && !t.sites.Empty():
		var err error
		if p.level, err = t.siteLevel(ctx, nexthop, srv.host); err != nil {
			return nil, err
		}
	case !t.policies.Empty():
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
	var err error
	switch p.level {
	case tlsDANE, tlsDANEOnly:
		err = t.dane(ctx, p, nexthop, srv)
	case tlsFingerprint:
		err = t.fingerprint(p, nexthop, match)
	case tlsVerify, tlsSecure:
		if len(p.pins) == 0 {
			p.pins = t.anchors
		}
	}
	t.protocols(p)
	return p, err
}

// A policyError is why a policy cannot be honored with a server, as the sender is told.
type policyError string

func (e policyError) Error() string { return string(e) }

// dane has the policy say what the TLSA records of the server say (RFC 7672 2.2).
func (t *tlsClient) dane(ctx context.Context, p *tlsPolicy, nexthop string, srv *server) error {
	only := p.level == tlsDANEOnly
	switch {
	case srv.network != "tcp":
		t.agent.Log.Warningf("%s: the \"dane\" security level is invalid for delivery via unix-domain sockets", nexthop)
		return errPolicy
	case !t.dnssec():
		t.agent.Log.Warningf("%s: dane configured with dnssec lookups disabled", nexthop)
		if only {
			return errPolicy
		}
		p.level = tlsMay
	case srv.badMX && (only || t.insecureMX == tlsMay):
		return p.withoutTLSA(only, tlsMay, "non DNSSEC destination")
	case !srv.secure && !t.set.TLSForceTLSA:
		return p.withoutTLSA(only, tlsMay, noTLSA)
	default:
		return t.daneServer(ctx, p, srv, only)
	}
	return nil
}

const noTLSA = "no TLSA records found"

func (t *tlsClient) daneServer(ctx context.Context, p *tlsPolicy, srv *server, only bool) error {
	base, list, found, err := t.agent.tlsa(ctx, srv)
	switch {
	case err != nil:
		return policyError("TLSA lookup error for " + srv.host + ":" + srv.port)
	case !found:
		return p.withoutTLSA(only, tlsMay, noTLSA)
	case len(list) == 0:
		return p.withoutTLSA(only, tlsEncrypt, "TLSA records unusable")
	case srv.badMX && t.insecureMX == tlsEncrypt:
		p.level = tlsEncrypt
		return nil
	}
	p.pins, p.serverName = list, base
	p.matches = []certMatch{{name: base}, {name: srv.host}}
	if srv.domain != "" {
		p.matches = append(p.matches, certMatch{name: srv.domain})
	}
	return nil
}

// withoutTLSA goes on with the level that RFC 7672 asks for where DANE cannot be used, unless it must be.
func (p *tlsPolicy) withoutTLSA(only bool, level tlsLevel, why string) error {
	if only {
		return policyError(why)
	}
	p.level = level
	return nil
}

// dnssec tells whether the configuration allows DANE.
func (t *tlsClient) dnssec() bool {
	return t.set.DNSSupport == "dnssec" && strings.Contains(t.set.HostLookup, "dns")
}

// fingerprint has the policy accept the fingerprints of match, or those of the parameter.
func (t *tlsClient) fingerprint(p *tlsPolicy, nexthop, match string) error {
	words := strings.FieldsFunc(match, func(r rune) bool { return r == '|' })
	if len(words) == 0 {
		words = postfix.SplitList(t.set.TLSFingerprints)
	}
	if len(words) == 0 {
		t.agent.Log.Warningf("nexthop domain %s: configured at fingerprint security level, but with no fingerprints to match.", nexthop)
		return errPolicy
	}
	var err error
	if p.pins, err = fingerprintPins(words, t.set.TLSFingerprintDigest); err != nil {
		t.agent.Log.Warningf("%stls_fingerprint_cert_match: %v", t.agent.Protocol.prefix(), err)
		return errPolicy
	}
	return nil
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
	if !ok {
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
			if level < tlsFingerprint {
				return "", t.badPolicy(where, fmt.Sprintf("attribute %q invalid at security level %q", name, words[0]))
			}
			if match != "" && level == tlsFingerprint {
				match += "|"
			} else if match != "" {
				match += ":"
			}
			match += text
		case "tafile":
			if level < tlsVerify {
				return "", t.badPolicy(where, fmt.Sprintf("attribute %q invalid at security level %q", name, words[0]))
			}
			anchors, err := t.readAnchors(text)
			if err != nil {
				return "", t.badPolicy(where, err.Error())
			}
			p.pins = append(p.pins, anchors...)
		case "protocols":
			if p.versions, err = tlsconf.ParseVersions(strings.ReplaceAll(text, ":", " ")); err != nil {
				return "", t.badPolicy(where, err.Error())
			}
		case "servername":
			p.serverName = text
		case "exclude":
			p.exclude = &text
		case "ciphers":
			if p.cipherList, err = t.grades.lists.Grade(name, text); err != nil {
				return "", t.badPolicy(where, err.Error())
			}
		case "connection_reuse": // all connections are kept
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
	switch p.serverName {
	case "hostname":
		p.serverName = srv.host
	case "nexthop":
		p.serverName = domain
	}
	if p.level < tlsVerify {
		return
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

// protocols fills in the TLS versions and ciphers of the level, if the policy names none.
func (t *tlsClient) protocols(p *tlsPolicy) {
	p.ciphers = t.grades.ciphers(p)
	switch {
	case p.versions != tlsconf.Versions{}:
	case p.level > tlsMay:
		p.versions = t.mandatory
	default:
		p.versions = t.versions
	}
}

// readAnchors reads a file of trust anchors.
func (t *tlsClient) readAnchors(name string) (pins, error) {
	content, err := t.agent.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return anchorPins(name, content)
}
