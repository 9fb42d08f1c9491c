package resolve

import "github.com/dovetail-mail/dovetail/internal/conf/postfix"

// Settings are the parameters of trivial-rewrite(8), besides the core ones.
type Settings struct {
	AppendAtMyorigin           bool   `set:"append_at_myorigin" default:"yes" doc:"complete addresses without domain with $myorigin"`
	AppendDotMydomain          bool   `set:"append_dot_mydomain" default:"${{$compatibility_level} <level {1} ? {yes} : {no}}" doc:"complete host names without domain with $mydomain"`
	AllowPercentHack           bool   `set:"allow_percent_hack" default:"yes" doc:"rewrite user%domain to user@domain"`
	SwapBangpath               bool   `set:"swap_bangpath" default:"yes" doc:"rewrite site!user to user@site"`
	AllowMinUser               bool   `set:"allow_min_user" default:"no" doc:"allow recipients that begin with a minus sign"`
	ResolveDequotedAddress     bool   `set:"resolve_dequoted_address" default:"yes" doc:"look for @ % ! inside quoted local parts too"`
	ResolveNullDomain          bool   `set:"resolve_null_domain" default:"no" doc:"treat user@ as local"`
	ResolveNumericDomain       bool   `set:"resolve_numeric_domain" default:"no" doc:"treat user@1.2.3.4 as user@[1.2.3.4]"`
	RemoteHeaderRewriteDomain  string `set:"remote_header_rewrite_domain" doc:"domain that completes header addresses of remote clients"`
	VirtualAliasDomains        string `set:"virtual_alias_domains" default:"$virtual_alias_maps" doc:"domains of which all addresses are aliases"`
	VirtualAliasMaps           string `set:"virtual_alias_maps" default:"$virtual_maps" doc:"tables that map addresses to other addresses"`
	VirtualMailboxDomains      string `set:"virtual_mailbox_domains" default:"$virtual_mailbox_maps" doc:"domains delivered by $virtual_transport"`
	VirtualMailboxMaps         string `set:"virtual_mailbox_maps" doc:"valid recipients of virtual mailbox domains"`
	LocalTransport             string `set:"local_transport" default:"local:$myhostname" nonempty:"yes" doc:"transport and next hop of local recipients"`
	VirtualTransport           string `set:"virtual_transport" default:"virtual" nonempty:"yes" doc:"transport of virtual mailbox recipients"`
	RelayTransport             string `set:"relay_transport" default:"relay" nonempty:"yes" doc:"transport of $relay_domains"`
	DefaultTransport           string `set:"default_transport" default:"smtp" nonempty:"yes" doc:"transport of all other mail"`
	TransportMaps              string `set:"transport_maps" doc:"tables that override transport and next hop"`
	RelocatedMaps              string `set:"relocated_maps" doc:"tables of users that moved elsewhere"`
	SenderRelayhostMaps        string `set:"sender_dependent_relayhost_maps" doc:"relayhost by sender"`
	SenderDefaultTransportMaps string `set:"sender_dependent_default_transport_maps" doc:"default_transport by sender"`
	NullRelayhostKey           string `set:"empty_address_relayhost_maps_lookup_key" default:"<>" nonempty:"yes" doc:"key of the null sender in sender_dependent_relayhost_maps"`
	NullDefaultTransportKey    string `set:"empty_address_default_transport_maps_lookup_key" default:"<>" nonempty:"yes" doc:"key of the null sender in sender_dependent_default_transport_maps"`
	EmptyRecipient             string `set:"empty_address_recipient" default:"MAILER-DAEMON" nonempty:"yes" doc:"who gets mail for the null address"`
	PropagateExtensions        string `set:"propagate_unmatched_extensions" default:"canonical, virtual" doc:"tables whose results get the extension that the key had not"`
	MailboxTransport           string `set:"mailbox_transport" doc:"transport of local mailboxes, after aliases"`
	ShowUserUnknownTable       bool   `set:"show_user_unknown_table_name" default:"yes" doc:"name the table in \"User unknown in ... table\""`
	HelpfulWarnings            bool   `set:"helpful_warnings" default:"yes" doc:"warn about problems in the configuration"`

	VerifyLocalTransport             string `set:"address_verify_local_transport" default:"$local_transport" nonempty:"yes" doc:"local_transport of address probes"`
	VerifyVirtualTransport           string `set:"address_verify_virtual_transport" default:"$virtual_transport" nonempty:"yes" doc:"virtual_transport of address probes"`
	VerifyRelayTransport             string `set:"address_verify_relay_transport" default:"$relay_transport" nonempty:"yes" doc:"relay_transport of address probes"`
	VerifyDefaultTransport           string `set:"address_verify_default_transport" default:"$default_transport" nonempty:"yes" doc:"default_transport of address probes"`
	VerifyRelayhost                  string `set:"address_verify_relayhost" default:"$relayhost" doc:"relayhost of address probes"`
	VerifyTransportMaps              string `set:"address_verify_transport_maps" default:"$transport_maps" doc:"transport_maps of address probes"`
	VerifySenderRelayhostMaps        string `set:"address_verify_sender_dependent_relayhost_maps" default:"$sender_dependent_relayhost_maps" doc:"sender_dependent_relayhost_maps of address probes"`
	VerifySenderDefaultTransportMaps string `set:"address_verify_sender_dependent_default_transport_maps" default:"$sender_dependent_default_transport_maps" doc:"sender_dependent_default_transport_maps of address probes"`
}

var _ = postfix.Register("trivial-rewrite", Settings{})
