package table

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// cidrTable maps addresses by network (cidr_table(5)).
type cidrTable struct{ rules []rule[netip.Prefix] }

func (*cidrTable) pattern() {}

func openCIDR(_, name string, o *Options) (Table, error) {
	p := ruleParser[netip.Prefix]{typ: "cidr", name: name, o: o}
	p.compile = func(text string) (netip.Prefix, string, error) {
		word := text
		rest := ""
		if i := strings.IndexAny(text, " \t"); i >= 0 {
			word, rest = text[:i], text[i:]
		}
		if word == "" {
			return netip.Prefix{}, "", skipRule("no address pattern: skipping this rule")
		}
		prefix, err := ParseNetwork(word)
		if err != nil {
			return prefix, "", skipRule(err.Error() + ": skipping this rule")
		}
		return prefix, rest, nil
	}
	p.result = func(_ int, _ netip.Prefix, _ bool, text string) (template, error) {
		if text == "" {
			return nil, skipRule("no lookup result: skipping this rule")
		}
		return template{{text: text}}, nil
	}
	rules, err := p.parse()
	if err != nil {
		return nil, err
	}
	return &cidrTable{rules}, nil
}

// Lookup implements [Table]. A key that is no address is not found.
func (t *cidrTable) Lookup(_ context.Context, key string) (string, bool, error) {
	addr, err := netip.ParseAddr(key)
	if err != nil || addr.Zone() != "" {
		return "", false, nil
	}
	value, found := findNetwork(t.rules, addr)
	return value, found, nil
}

func findNetwork(rules []rule[netip.Prefix], addr netip.Addr) (string, bool) {
	for i := range rules {
		r := &rules[i]
		// A negated rule is about addresses of its own family only.
		if r.match.Addr().Is4() != addr.Is4() || r.match.Contains(addr) == r.negate {
			continue
		}
		if !r.block {
			return r.result[0].text, true
		}
		if value, found := findNetwork(r.body, addr); found {
			return value, true
		}
	}
	return "", false
}

// ParseNetwork parses "address" or "network/mask", an IPv6 one also in
// brackets. Host bits that are not zero are an error, in Postfix's words.
func ParseNetwork(s string) (netip.Prefix, error) {
	text := strings.NewReplacer("[", "", "]", "").Replace(s)
	host, mask, hasMask := strings.Cut(text, "/")
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("bad address pattern: %q", s)
	}
	if !hasMask {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	bits, err := strconv.ParseUint(mask, 10, 31)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange):
		return netip.Prefix{}, fmt.Errorf("bad mask value in %q", s)
	case err != nil || int(bits) > addr.BitLen():
		return netip.Prefix{}, fmt.Errorf("bad mask length in %q", s)
	}
	prefix := netip.PrefixFrom(addr, int(bits))
	if prefix.Masked() != prefix {
		return prefix, fmt.Errorf("non-null host address bits in %q, perhaps you should use %q instead", s, prefix.Masked())
	}
	return prefix, nil
}
