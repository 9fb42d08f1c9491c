package mta

import (
	"slices"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/table"
)

// opener opens tables for those who look things up.
type opener struct {
	core *postfix.Core
	log  *maillog.Logger
}

var _ resolve.Opener = (*opener)(nil)

// untrusted are the parameters whose tables may not put parts of an address into
// their results: those name transports and programs.
var untrusted = []string{
	"transport_maps", "mailbox_transport_maps", "fallback_transport_maps",
	"sender_dependent_relayhost_maps", "sender_dependent_default_transport_maps",
}

func (o *opener) options(param string) table.Options {
	return table.Options{Log: o.log, NoSubstitution: slices.Contains(untrusted, param)}
}

// OpenMaps implements [resolve.Opener].
func (o *opener) OpenMaps(param, specs string) (resolve.Maps, error) {
	return table.OpenMaps(param, specs, o.options(param)), nil
}

// OpenList implements [resolve.Opener].
func (o *opener) OpenList(param, value string, kind resolve.ListKind) (resolve.List, error) {
	k := table.Strings
	if kind == resolve.DomainList {
		k = table.Domains
		if slices.Contains(postfix.SplitList(o.core.ParentDomainMatchesSubdomains), param) {
			k = table.DomainsBelow
		}
	}
	return table.OpenList(param, value, k, o.options(param))
}

// OpenNetworks implements [resolve.Opener].
func (o *opener) OpenNetworks(param, value string) (resolve.Networks, error) {
	return table.OpenNetworks(param, value, o.options(param))
}
