package resolve

import (
	"slices"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/table"
)

// tableOpener is the Opener of package table.
type tableOpener struct {
	options    table.Options
	subdomains []string // parameters whose domains match their subdomains
}

// NewOpener returns an Opener of tables as package table has them.
func NewOpener(main *postfix.Main, o table.Options) (Opener, error) {
	core, err := postfix.Get[postfix.Core](main)
	if err != nil {
		return nil, err
	}
	o.Main, o.UTF8 = main, core.SMTPUTF8Enable
	return &tableOpener{options: o, subdomains: postfix.SplitList(core.ParentDomainMatchesSubdomains)}, nil
}

// untrusted are the parameters whose tables may not put parts of an address into
// their results: those name transports.
var untrusted = []string{
	"transport_maps", "mailbox_transport_maps", "fallback_transport_maps",
	"sender_dependent_relayhost_maps", "sender_dependent_default_transport_maps",
	"address_verify_transport_maps", "address_verify_sender_dependent_relayhost_maps", "address_verify_sender_dependent_default_transport_maps",
}

func (o *tableOpener) OpenMaps(param, specs string) (Maps, error) {
	options := o.options
	options.NoSubstitution = slices.Contains(untrusted, param)
	options.Files = param == "tls_server_sni_maps" // postmap -F
	return table.OpenMaps(param, specs, options), nil
}

func (o *tableOpener) OpenList(param, value string, kind ListKind) (List, error) {
	k := table.Strings
	if kind == DomainList {
		k = table.Domains
		if slices.Contains(o.subdomains, param) {
			k = table.DomainsBelow
		}
	}
	return table.OpenList(param, value, k, o.options)
}

func (o *tableOpener) OpenNetworks(param, value string) (Networks, error) {
	n, err := table.OpenNetworks(param, value, o.options)
	if err != nil {
		return nil, err
	}
	n.Subdomains = slices.Contains(o.subdomains, param)
	return n, nil
}
