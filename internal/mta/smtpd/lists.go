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
	canonical       resolve.Maps
	senderCanon     resolve.Maps
	rcptCanon       resolve.Maps
	aliases         resolve.Maps
	localRecipients resolve.Maps
	relayRecipients resolve.Maps

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

func (l *lists) open(set *Settings, core *postfix.Core, main *postfix.Main, open resolve.Opener) error {
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

func (l *lists) openMaps(set *Settings, main *postfix.Main, open resolve.Opener) error {
	maps := []struct {
		dst          *resolve.Maps
		param, value string
	}{
		{&l.discardMaps, "smtpd_discard_ehlo_keyword_address_maps", set.DiscardEHLOKeywordAddressMaps},
		{&l.footerMaps, "smtpd_reject_footer_maps", set.RejectFooterMaps},
		{&l.senderLogins, "smtpd_sender_login_maps", set.SenderLoginMaps},
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
func (l *lists) rewriting(sender bool) [3]resolve.Maps {
	if sender {
		return [3]resolve.Maps{l.senderCanon, l.canonical, l.aliases}
	}
	return [3]resolve.Maps{l.rcptCanon, l.canonical, l.aliases}
}

// forbidsBareLF reports whether a bare LF may not end the content.
func (s *session) forbidsBareLF() bool {
	return s.srv.bareLF != bareLFAllow && !s.srv.lists.bareLFExempt.matches(s)
}

func (s *session) rejectsBareLF() bool {
	return s.srv.bareLF == bareLFReject && !s.srv.lists.bareLFExempt.matches(s)
}
