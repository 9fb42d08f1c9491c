package smtpd

import (
	"strings"
	"unicode/utf8"

	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// verdict is what a restriction says.
type verdict uint8

const (
	dunno verdict = iota // nothing: the next one decides
	permit
	reject
)

// A restriction is one of those that postconf(5) lists.
type restriction struct {
	arg argKind
	run func(e *eval, it *item) verdict
}

// argKind is what follows the name of a restriction in a list.
type argKind uint8

const (
	noArg     argKind = iota
	tableArg          // a lookup table
	numberArg         // seconds
	dnsArg            // domain of a list in the DNS
	policyArg         // a policy server
)

// restrictions is the table of all restrictions. It is filled at start, as some
// of them evaluate lists themselves.
var restrictions map[string]restriction

func init() {
	restrictions = map[string]restriction{
		"permit":                   {noArg, (*eval).permitAll},
		"reject":                   {noArg, (*eval).rejectAll},
		"defer":                    {noArg, (*eval).deferAll},
		"defer_if_permit":          {noArg, (*eval).deferIfPermit},
		"defer_if_reject":          {noArg, (*eval).deferIfReject},
		"sleep":                    {numberArg, (*eval).sleep},
		"reject_unauth_pipelining": {noArg, (*eval).rejectUnauthPipelining},
		"reject_plaintext_session": {noArg, (*eval).rejectPlaintextSession},
		"check_policy_service":     {policyArg, (*eval).checkPolicyService},

		"permit_inet_interfaces":                  {noArg, (*eval).permitInetInterfaces},
		"permit_mynetworks":                       {noArg, (*eval).permitMynetworks},
		"permit_sasl_authenticated":               {noArg, (*eval).permitSASLAuthenticated},
		"reject_unknown_client_hostname":          {noArg, (*eval).rejectUnknownClient},
		"reject_unknown_client":                   {noArg, (*eval).rejectUnknownClient},
		"reject_unknown_reverse_client_hostname":  {noArg, (*eval).rejectUnknownReverseClient},
		"check_client_access":                     {tableArg, (*eval).checkClientAccess},
		"check_reverse_client_hostname_access":    {tableArg, (*eval).checkReverseClientAccess},
		"check_sasl_access":                       {tableArg, (*eval).checkSASLAccess},
		"check_client_ns_access":                  {tableArg, checkServers(clientName, serversNS)},
		"check_client_mx_access":                  {tableArg, checkServers(clientName, serversMX)},
		"check_client_a_access":                   {tableArg, checkServers(clientName, serversA)},
		"check_reverse_client_hostname_ns_access": {tableArg, checkServers(reverseName, serversNS)},
		"check_reverse_client_hostname_mx_access": {tableArg, checkServers(reverseName, serversMX)},
		"check_reverse_client_hostname_a_access":  {tableArg, checkServers(reverseName, serversA)},
		"reject_maps_rbl":                         {noArg, (*eval).rejectMapsRBL},
		"reject_rbl_client":                       {dnsArg, (*eval).rejectRBLClient},
		"reject_rbl":                              {dnsArg, (*eval).rejectRBLClient},
		"permit_dnswl_client":                     {dnsArg, (*eval).permitDNSWLClient},
		"reject_rhsbl_client":                     {dnsArg, rejectRHSBL(clientName)},
		"permit_rhswl_client":                     {dnsArg, (*eval).permitRHSWLClient},
		"reject_rhsbl_reverse_client":             {dnsArg, rejectRHSBL(reverseName)},

		"check_helo_access":             {tableArg, (*eval).checkHELOAccess},
		"reject_invalid_helo_hostname":  {noArg, (*eval).rejectInvalidHELO},
		"reject_invalid_hostname":       {noArg, (*eval).rejectInvalidHELO},
		"reject_non_fqdn_helo_hostname": {noArg, (*eval).rejectNonFQDNHELO},
		"reject_non_fqdn_hostname":      {noArg, (*eval).rejectNonFQDNHELO},
		"reject_unknown_helo_hostname":  {noArg, (*eval).rejectUnknownHELO},
		"reject_unknown_hostname":       {noArg, (*eval).rejectUnknownHELO},
		"permit_naked_ip_address":       {noArg, (*eval).permitNakedIPAddress},
		"check_helo_ns_access":          {tableArg, checkServers(heloName, serversNS)},
		"check_helo_mx_access":          {tableArg, checkServers(heloName, serversMX)},
		"check_helo_a_access":           {tableArg, checkServers(heloName, serversA)},
		"reject_rhsbl_helo":             {dnsArg, rejectRHSBL(heloName)},

		"check_sender_access":                          {tableArg, (*eval).checkSenderAccess},
		"reject_non_fqdn_sender":                       {noArg, (*eval).rejectNonFQDNSender},
		"reject_unknown_sender_domain":                 {noArg, (*eval).rejectUnknownSenderDomain},
		"reject_unknown_address":                       {noArg, (*eval).rejectUnknownSenderDomain},
		"reject_unlisted_sender":                       {noArg, (*eval).rejectUnlistedSender},
		"reject_sender_login_mismatch":                 {noArg, (*eval).rejectSenderLoginMismatch},
		"reject_authenticated_sender_login_mismatch":   {noArg, (*eval).rejectAuthenticatedMismatch},
		"reject_unauthenticated_sender_login_mismatch": {noArg, (*eval).rejectUnauthenticatedMismatch},
		"reject_known_sender_login_mismatch":           {noArg, (*eval).rejectKnownMismatch},
		"reject_unverified_sender":                     {noArg, (*eval).rejectUnverifiedSender},
		"check_sender_ns_access":                       {tableArg, checkServers(senderAddress, serversNS)},
		"check_sender_mx_access":                       {tableArg, checkServers(senderAddress, serversMX)},
		"check_sender_a_access":                        {tableArg, checkServers(senderAddress, serversA)},
		"reject_rhsbl_sender":                          {dnsArg, rejectRHSBL(senderAddress)},

		"check_recipient_access":          {tableArg, (*eval).checkRecipientAccess},
		"reject_unauth_destination":       {noArg, (*eval).rejectUnauthDestination},
		"check_relay_domains":             {noArg, (*eval).checkRelayDomains},
		"defer_unauth_destination":        {noArg, (*eval).deferUnauthDestination},
		"permit_auth_destination":         {noArg, (*eval).permitAuthDestination},
		"reject_non_fqdn_recipient":       {noArg, (*eval).rejectNonFQDNRecipient},
		"reject_unknown_recipient_domain": {noArg, (*eval).rejectUnknownRecipientDomain},
		"reject_unlisted_recipient":       {noArg, (*eval).rejectUnlistedRecipient},
		"check_recipient_maps":            {noArg, (*eval).rejectUnlistedRecipient},
		"reject_multi_recipient_bounce":   {noArg, (*eval).rejectMultiRecipientBounce},
		"reject_unverified_recipient":     {noArg, (*eval).rejectUnverifiedRecipient},
		"permit_mx_backup":                {noArg, (*eval).permitMXBackup},
		"check_recipient_ns_access":       {tableArg, checkServers(recipientAddress, serversNS)},
		"check_recipient_mx_access":       {tableArg, checkServers(recipientAddress, serversMX)},
		"check_recipient_a_access":        {tableArg, checkServers(recipientAddress, serversA)},
		"reject_rhsbl_recipient":          {dnsArg, rejectRHSBL(recipientAddress)},

		"check_etrn_access": {tableArg, (*eval).checkETRNAccess},
	}
}

// item is one restriction of a list, with its argument.
type item struct {
	name   string // as configured
	run    func(e *eval, it *item) verdict
	arg    string
	maps   resolve.Maps
	list   *dnsList
	policy *policyServer
	class  ruleList // of a restriction class
	search []string // which keys of the client are looked up, where there is a choice
	warn   bool     // after warn_if_reject
}

// ruleList is a compiled restriction list.
type ruleList []item

// subject is what a restriction judges, as replies name it.
type subject struct {
	text  string // shown in <>
	class string // "Client host", "Recipient address", ...
}

// eval evaluates restrictions for one command.
type eval struct {
	s           *session
	command     string
	subject     subject
	rcpt        *smtp.Rcpt
	warn        bool
	policyDepth int        // of default actions of policy servers that fail
	depth       int        // of access tables in access tables
	reply       smtp.Reply // of the verdict reject
}

// run evaluates a list. When every outcome is a deferral already, the rest of it
// does not matter.
func (e *eval) run(list ruleList) verdict {
	for i := range list {
		if e.s.tx.actions.discard {
			break
		}
		it := &list[i]
		outer := e.warn
		e.warn = outer || it.warn
		v := it.run(e, it)
		e.warn = outer
		if v != dunno {
			return v
		}
		if d := &e.s.tx.defers; d.ifPermit.Code != 0 && d.ifReject.Code != 0 {
			break
		}
	}
	return dunno
}

func (e *eval) runClass(it *item) verdict { return e.run(it.class) }

// permitted is the verdict of what permits, and logs it if
// smtpd_log_access_permit_actions says so. From tells which table said it.
func (e *eval) permitted(action string, sub subject, from string) verdict {
	list := e.s.srv.lists.permitActions
	if list.empty() || e.s.tx.defers.ifPermit.Code != 0 {
		return permit
	}
	if match, err := list.Match(e.s.ctx, action); err != nil || !match {
		return permit
	}
	e.s.logAction("permit", e.command, func(b []byte) []byte {
		b = append(append(b, "action="...), action...)
		b = append(append(b, " for "...), sub.class...)
		b = append(append(b, '='), sub.text...)
		b = append(b, ' ')
		if from != "" {
			b = append(append(b, "from "...), from...)
		}
		return b
	})
	return permit
}

// pendingDefers are the replies that defer_if_permit and defer_if_reject keep
// until the outcome is known.
type pendingDefers struct{ ifPermit, ifReject smtp.Reply }

// refuse is the verdict of a restriction that found a reason: text after the
// subject. With warn_if_reject it is only logged.
func (e *eval) refuse(code int, enhanced smtp.Enhanced, sub subject, text string) verdict {
	return e.refuseWith(sub.reply(code, enhanced, text))
}

// reply words a refusal of the subject.
func (sub subject) reply(code int, enhanced smtp.Enhanced, text string) smtp.Reply {
	return reply(code, enhanced, "<"+sub.text+">: "+sub.class+" rejected: "+text)
}

// refuseWith is refuse for replies of other forms.
func (e *eval) refuseWith(r smtp.Reply) verdict { return e.judge(r, e.warn) }

// final rejects, whatever warn_if_reject says.
func (e *eval) final(r smtp.Reply) verdict { return e.judge(r, false) }

// judge brings a refusal into its final form, logs it, and keeps it as the answer
// unless it is only a warning.
func (e *eval) judge(r smtp.Reply, warn bool) verdict {
	if r.Code < 400 || r.Code > 599 {
		e.s.srv.log.Warningf("SMTP reply code configuration error: %s", r.Error())
		r = reply(450, smtp.Enhanced{4, 7, 1}, "Service unavailable")
	}
	saved := &e.s.tx.defers.ifReject
	if !warn && r.Code/100 == 5 && saved.Code != 0 {
		r, *saved = *saved, smtp.Reply{}
		return e.judge(r, false)
	}
	e.s.blame(r, warn)
	r = e.s.softened(r)
	r.Enhanced = r.Enhanced.WithClass(r.Code)
	r.Text = clean(r.Text)
	if n := len("550 ") + len(r.Enhanced.String()) + 1 + len(r.Text) - maxReply; n > 0 {
		r.Text = r.Text[:len(r.Text)-n]
	}
	if warn {
		e.s.logAction("reject_warning", e.command, r.AppendText)
		return dunno
	}
	e.reply = r
	e.s.logReject(e.command, r)
	return reject
}

// maxReply is where a reply is cut (RFC 5321 4.5.3.1.5).
const maxReply = 510

// clean replaces by blanks what does not print in a reply.
func clean(s string) string {
	i := 0
	for i < len(s) && s[i] >= ' ' && s[i] < 0x7f {
		i++
	}
	if i == len(s) {
		return s
	}
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c == utf8.RuneError {
			return ' '
		}
		return c
	}, s)
}

// lookupFailed is for tables that cannot be asked now.
func (e *eval) lookupFailed(sub subject) verdict {
	return e.final(reply(451, smtp.Enhanced{4, 3, 0}, "<"+sub.text+">: Temporary lookup failure"))
}

// configError is for what the administrator has to set right.
func (e *eval) configError() verdict { return e.final(replyConfig) }

func (e *eval) unknownRestriction(it *item) verdict {
	e.s.srv.log.Warningf("unknown smtpd restriction: %q", it.name)
	return e.configError()
}

func (e *eval) bareTable(it *item) verdict {
	e.s.srv.log.Warningf("specify one of (check_client_access, check_reverse_client_hostname_access, check_helo_access, check_sender_access, check_recipient_access, check_etrn_access) before %s restriction %q", e.subject.class, it.name)
	return e.configError()
}

// withoutTable is a restriction that lacks its table.
func (e *eval) withoutTable(it *item) verdict {
	e.s.srv.log.Warningf("restriction %s: bad argument %q: need maptype:mapname", strings.ToLower(it.name), it.arg)
	return e.configError()
}

// withoutDomain is a restriction that lacks the domain of its list. Postfix goes on.
func (e *eval) withoutDomain(it *item) verdict {
	e.s.srv.log.Warningf("restriction %s requires domain name argument", it.name)
	return dunno
}

func (e *eval) withoutPolicyServer(*item) verdict {
	e.s.srv.log.Warningf("restriction check_policy_service must be followed by transport:server")
	return e.configError()
}
