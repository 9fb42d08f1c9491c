package resolve

import (
	"context"
	"net/netip"
)

// Maps is a list of lookup tables, asked in order. An error is a temporary
// failure: a table that cannot be read now.
type Maps interface {
	// Lookup asks every table for a whole key.
	Lookup(ctx context.Context, key string) (value string, found bool, err error)
	// LookupPartial asks only tables of fixed keys, for a part of a key (an
	// address without extension, a domain). Pattern tables see whole keys only.
	LookupPartial(ctx context.Context, key string) (value string, found bool, err error)
	// Empty reports whether there is no table.
	Empty() bool
}

// A List is a match list of strings or domains (mydestination, relay_domains).
type List interface {
	Match(ctx context.Context, s string) (bool, error)
}

// Networks is a match list of hosts and addresses (mynetworks).
type Networks interface {
	MatchAddr(ctx context.Context, host string, addr netip.Addr) (bool, error)
}

// A ListKind says how a pattern of a [List] matches.
type ListKind uint8

// The kinds of lists.
const (
	StringList ListKind = iota // exactly
	DomainList                 // also subdomains, as parent_domain_matches_subdomains says
)

// An Opener opens tables and lists. param is the parameter that names them, for
// errors; a Maps or List of an empty value matches nothing.
type Opener interface {
	OpenMaps(param, specs string) (Maps, error)
	OpenList(param, value string, kind ListKind) (List, error)
	OpenNetworks(param, value string) (Networks, error)
}
