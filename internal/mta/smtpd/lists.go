package smtpd

import (
	"context"
	"fmt"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
)

// lists are the match lists and tables that the server asks.
type lists struct {
	mynetworks      resolve.Networks
	xclient         hostList
	xforward        hostList
	verp            hostList
	eventExempt     hostList
	bareLFExempt    hostList
	saslExempt      hostList
	forbidden       resolve.List
	noop            resolve.List // nil: none
	permitActions   actionList
	mechanisms      resolve.List // smtpd_sasl_mechanism_filter
	discardMaps     resolve.Maps
	footerMaps      resolve.Maps
	senderLogins    resolve.Maps
	clientcerts     resolve.Maps // relay_clientcerts
	canonical       resolve.Maps
	senderCanon     resolve.Maps
	rcptCanon       resolve.Maps
	aliases         resolve.Maps
	localRecipients resolve.Maps
	relayRecipients resolve.Maps
	rblReplies      resolve.Maps
	nameFilter      resolve.Maps
	rejectFilter    resolve.Maps
	commandFilter   resolve.Maps
	relayDomains    resolve.List
	mapsRBL         []*dnsList
	mxBackupNets    resolve.Networks // nil: any

	plainParents bool // smtpd_access_maps is in parent_domain_matches_subdomains
	showTable    bool
}

// hostList is a list of clients; empty matches none without being asked.
type hostList struct{ nets resolve.Networks }

func (l hostList) matches(s *session) bool {
	if l.nets == nil {
		return false
	}
	match, err := l.nets.MatchAddr(s.ctx, s.client.name, s.client.addr)
	return err == nil && match
}

// actionList is smtpd_log_access_permit_actions.
type actionList struct{ list resolve.List }

func (l actionList) empty() bool { return l.list == nil }

func (l actionList) Match(ctx context.Context, s string) (bool, error) { return l.list.Match(ctx, s) }

func (l *lists) open(set *Settings, checks *CheckSettings, core *postfix.Core, main *postfix.Main, open resolve.Opener) error {
	var err error
	if l.mynetworks, err = open.OpenNetworks("mynetworks", core.Mynetworks); err != nil {
		return err
	}
	hosts := []struct {
		dst          *hostList
		param, value string
	}{
		{&l.xclient, "smtpd_authorized_xclient_hosts", set.AuthorizedXCLIENTHosts},
		{&l.xforward, "smtpd_authorized_xforward_hosts", set.AuthorizedXFORWARDHosts},
		{&l.verp, "smtpd_authorized_verp_clients", set.AuthorizedVERPClients},
		{&l.eventExempt, "smtpd_client_event_limit_exceptions", set.ClientEventLimitExceptions},
		{&l.bareLFExempt, "smtpd_forbid_bare_newline_exclusions", set.ForbidBareNewlineExclusions},
		{&l.saslExempt, "smtpd_sasl_exceptions_networks", set.SASLExceptionsNetworks},
	}
	for _, h := range hosts {
		if h.value == "" {
			continue
		}
		if h.dst.nets, err = open.OpenNetworks(h.param, h.value); err != nil {
			return fmt.Errorf("%s: %w", h.param, err)
		}
	}
	if err := l.openLists(set, open); err != nil {
		return err
	}
	if err := l.openChecks(checks, core, open); err != nil {
		return err
	}
	if err := l.openMaps(set, main, open); err != nil {
		return err
	}
	for _, name := range postfix.SplitList(core.ParentDomainMatchesSubdomains) {
		l.plainParents = l.plainParents || name == "smtpd_access_maps"
	}
	show, _, err := main.Expand("show_user_unknown_table_name")
	l.showTable = show != "no"
	return err
}

func (l *lists) openLists(set *Settings, open resolve.Opener) error {
	var err error
	if l.forbidden, err = open.OpenList("smtpd_forbidden_commands", set.ForbiddenCommands, resolve.StringList); err != nil {
		return err
	}
	if l.mechanisms, err = open.OpenList("smtpd_sasl_mechanism_filter", set.SASLMechanismFilter, resolve.StringList); err != nil {
		return err
	}
	if set.NoopCommands != "" {
		if l.noop, err = open.OpenList("smtpd_noop_commands", set.NoopCommands, resolve.StringList); err != nil {
			return err
		}
	}
	if set.LogAccessPermitActions != "" {
		l.permitActions.list, err = open.OpenList("smtpd_log_access_permit_actions", set.LogAccessPermitActions, resolve.StringList)
	}
	return err
}

func (l *lists) openChecks(checks *CheckSettings, core *postfix.Core, open resolve.Opener) error {
	var err error
	if l.rblReplies, err = open.OpenMaps("rbl_reply_maps", checks.RBLReplyMaps); err != nil {
		return fmt.Errorf("rbl_reply_maps: %w", err)
	}
	if l.nameFilter, err = open.OpenMaps("smtpd_dns_reply_filter", checks.DNSReplyFilter); err != nil {
		return fmt.Errorf("smtpd_dns_reply_filter: %w", err)
	}
	if l.rejectFilter, err = open.OpenMaps("smtpd_reject_filter_maps", checks.RejectFilterMaps); err != nil {
		return fmt.Errorf("smtpd_reject_filter_maps: %w", err)
	}
	if l.commandFilter, err = open.OpenMaps("smtpd_command_filter", checks.CommandFilter); err != nil {
		return fmt.Errorf("smtpd_command_filter: %w", err)
	}
	if l.relayDomains, err = open.OpenList("relay_domains", core.RelayDomains, resolve.DomainList); err != nil {
		return fmt.Errorf("relay_domains: %w", err)
	}
	if checks.PermitMXBackupNets != "" {
		if l.mxBackupNets, err = open.OpenNetworks("permit_mx_backup_networks", checks.PermitMXBackupNets); err != nil {
			return fmt.Errorf("permit_mx_backup_networks: %w", err)
		}
	}
	for _, spec := range postfix.SplitList(checks.MapsRBLDomains) {
		list, err := parseDNSList(spec)
		if err != nil {
			return fmt.Errorf("maps_rbl_domains: %w", err)
		}
		l.mapsRBL = append(l.mapsRBL, list)
	}
	return nil
}

func (l *lists) openMaps(set *Settings, main *postfix.Main, open resolve.Opener) error {
	maps := []struct {
		dst          *resolve.Maps
		param, value string
	}{
		{&l.discardMaps, "smtpd_discard_ehlo_keyword_address_maps", set.DiscardEHLOKeywordAddressMaps},
		{&l.footerMaps, "smtpd_reject_footer_maps", set.RejectFooterMaps},
		{&l.senderLogins, "smtpd_sender_login_maps", set.SenderLoginMaps},
		{&l.clientcerts, "relay_clientcerts", set.RelayClientcerts},
		{&l.localRecipients, "local_recipient_maps", set.LocalRecipientMaps},
		{&l.relayRecipients, "relay_recipient_maps", set.RelayRecipientMaps},
		{&l.canonical, "canonical_maps", ""},
		{&l.senderCanon, "sender_canonical_maps", ""},
		{&l.rcptCanon, "recipient_canonical_maps", ""},
		{&l.aliases, "virtual_alias_maps", ""},
	}
	for _, m := range maps {
		value, err := m.value, error(nil)
		if value == "" { // declared elsewhere
			if value, _, err = main.Expand(m.param); err != nil {
				return err
			}
		}
		if *m.dst, err = open.OpenMaps(m.param, value); err != nil {
			return fmt.Errorf("%s: %w", m.param, err)
		}
	}
	return nil
}

// rewriting lists the tables that change addresses: who is in them exists.
func (l *lists) rewriting(sender bool) []resolve.Maps {
	if sender {
		return []resolve.Maps{l.rcptCanon, l.senderCanon, l.canonical, l.aliases}
	}
	return []resolve.Maps{l.rcptCanon, l.canonical, l.aliases}
}

// forbidsBareLF reports whether a bare LF may not end the content.
func (s *session) forbidsBareLF() bool {
	return s.srv.bareLF != bareLFAllow && !s.srv.lists.bareLFExempt.matches(s)
}

// noteBareLF remembers that a line or content had a bare LF.
func (s *session) noteBareLF() {
	s.bareLF = s.bareLF || s.srv.bareLF == bareLFNote && s.r.BareLF() && !s.srv.lists.bareLFExempt.matches(s)
}

func (s *session) rejectsBareLF() bool {
	return s.srv.bareLF == bareLFReject && !s.srv.lists.bareLFExempt.matches(s)
}
