// Package trusted is login_trusted_networks: the networks whose clients count
// as secured without TLS and may tell the address of the client they speak for. Lists of
// networks in other settings are read here, too.
package trusted

import (
	"fmt"
	"net/netip"
	"strings"
)

// Networks is a list of networks. Nil is empty.
type Networks []netip.Prefix

// Parse reads the value of a setting: addresses and networks ("192.0.2.0/24"), separated
// by blanks or commas.
func Parse(setting, list string) (Networks, error) {
	var nets Networks
	for word := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' }) {
		prefix, err := parse(word)
		if err != nil {
			return nil, fmt.Errorf("%s: Invalid network '%s'", setting, word)
		}
		nets = append(nets, prefix)
	}
	return nets, nil
}

func parse(word string) (netip.Prefix, error) {
	if strings.IndexByte(word, '/') >= 0 {
		p, err := netip.ParsePrefix(word)
		return p.Masked(), err
	}
	addr, err := netip.ParseAddr(word)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

// Contains reports whether addr is in one of the networks.
func (n Networks) Contains(addr netip.Addr) bool {
	addr = addr.Unmap()
	for _, p := range n {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
