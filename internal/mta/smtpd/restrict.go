package smtpd

import (
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
	anyArg            // something else
	laterArg          // known, but not part of Dovetail yet: refused at start
)

// restrictions is the table of all restrictions. It is filled at start, as some
// of them evaluate lists themselves.
var restrictions map[string]restriction

func init() {
	restrictions = map[string]restriction{
		"permit":                   {noArg, func(*eval, *item) verdict { return permit }},
		"reject":                   {noArg, (*eval).rejectAll},
		"defer":                    {noArg, (*eval).deferAll},
		"defer_if_permit":          {noArg, (*eval).deferIfPermit},
		"defer_if_reject":          {noArg, (*eval).deferIfReject},
		"sleep":                    {numberArg, (*eval).sleep},
		"reject_unauth_pipelining": {noArg, (*eval).rejectUnauthPipelining},
		"reject_plaintext_session": {noArg, (*eval).rejectPlaintextSession},

		"permit_inet_interfaces":                 {noArg, (*eval).permitInetInterfaces},
		"permit_mynetworks":                      {noArg, (*eval).permitMynetworks},
		"permit_sasl_authenticated":              {noArg, (*eval).permitSASLAuthenticated},
		"permit_tls_clientcerts":                 {noArg, (*eval).permitTLSClientcerts},
		"permit_tls_all_clientcerts":             {noArg, (*eval).permitTLSClientcerts},
		"reject_unknown_client_hostname":         {noArg, (*eval).rejectUnknownClient},
		"reject_unknown_client":                  {noArg, (*eval).rejectUnknownClient},
		"reject_unknown_reverse_client_hostname": {noArg, (*eval).rejectUnknownReverseClient},
		"check_client_access":                    {tableArg, (*eval).checkClientAccess},
		"check_reverse_client_hostname_access":   {tableArg, (*eval).checkReverseClientAccess},
		"check_sasl_access":                      {tableArg, (*eval).checkSASLAccess},

		"check_helo_access":             {tableArg, (*eval).checkHELOAccess},
		"reject_invalid_helo_hostname":  {noArg, (*eval).rejectInvalidHELO},
		"reject_invalid_hostname":       {noArg, (*eval).rejectInvalidHELO},
		"reject_non_fqdn_helo_hostname": {noArg, (*eval).rejectNonFQDNHELO},
		"reject_non_fqdn_hostname":      {noArg, (*eval).rejectNonFQDNHELO},
		"reject_unknown_helo_hostname":  {noArg, (*eval).rejectUnknownHELO},
		"reject_unknown_hostname":       {noArg, (*eval).rejectUnknownHELO},

		"check_sender_access":                          {tableArg, (*eval).checkSenderAccess},
		"reject_non_fqdn_sender":                       {noArg, (*eval).rejectNonFQDNSender},
		"reject_unknown_sender_domain":                 {noArg, (*eval).rejectUnknownSenderDomain},
		"reject_unknown_address":                       {noArg, (*eval).rejectUnknownSenderDomain},
		"reject_unlisted_sender":                       {noArg, (*eval).rejectUnlistedSender},
		"reject_sender_login_mismatch":                 {noArg, (*eval).rejectSenderLoginMismatch},
		"reject_authenticated_sender_login_mismatch":   {noArg, (*eval).rejectAuthenticatedMismatch},
		"reject_unauthenticated_sender_login_mismatch": {noArg, (*eval).rejectUnauthenticatedMismatch},
		"reject_known_sender_login_mismatch":           {noArg, (*eval).rejectKnownMismatch},

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

		"check_etrn_access": {tableArg, (*eval).checkETRNAccess},
	}
	for _, name := range laterRestrictions {
		restrictions[name] = restriction{arg: laterArg}
	}
}

// laterRestrictions are refused at start: to ignore them would let in what they
// are to keep out.
var laterRestrictions = []string{
	"check_policy_service", "reject_rbl_client", "reject_rhsbl_client", "reject_rhsbl_reverse_client",
	"reject_rhsbl_helo", "reject_rhsbl_sender", "reject_rhsbl_recipient", "permit_dnswl_client",
	"permit_rhswl_client", "check_ccert_access", "check_client_ns_access", "check_client_mx_access",
	"check_client_a_access", "check_reverse_client_hostname_ns_access",
	"check_reverse_client_hostname_mx_access", "check_reverse_client_hostname_a_access",
	"check_helo_ns_access", "check_helo_mx_access", "check_helo_a_access", "check_sender_ns_access",
	"check_sender_mx_access", "check_sender_a_access", "check_recipient_ns_access",
	"check_recipient_mx_access", "check_recipient_a_access", "reject_unverified_sender",
	"reject_unverified_recipient", "permit_mx_backup", "reject_maps_rbl",
}

// item is one restriction of a list, with its argument.
type item struct {
	name  string // as configured
	run   func(e *eval, it *item) verdict
	arg   string
	maps  resolve.Maps
	class ruleList // of a restriction class
	warn  bool     // after warn_if_reject
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
	s       *session
	command string
	subject subject
	rcpt    *smtp.Rcpt
	warn    bool
	depth   int
	reply   smtp.Reply // of the verdict reject
}

// run evaluates a list.
func (e *eval) run(list ruleList) verdict {
	for i := range list {
		it := &list[i]
		outer := e.warn
		e.warn = outer || it.warn
		v := it.run(e, it)
		e.warn = outer
		if v == permit && !e.s.srv.lists.permitActions.empty() {
			e.logPermit(it)
		}
		if v != dunno || e.s.tx.actions.discard {
			return v
		}
	}
	return dunno
}

func (e *eval) runClass(it *item) verdict { return e.run(it.class) }

func (e *eval) logPermit(it *item) {
	match, err := e.s.srv.lists.permitActions.Match(e.s.ctx, it.name)
	if err != nil || !match {
		return
	}
	e.s.logAction("permit", e.command, func(b []byte) []byte {
		b = append(append(b, "action="...), it.name...)
		b = append(append(b, " for "...), e.subject.class...)
		return append(append(b, '='), e.subject.text...)
	})
}

// pendingDefers are the replies that defer_if_permit and defer_if_reject keep
// until the outcome is known.
type pendingDefers struct{ ifPermit, ifReject smtp.Reply }

// refuse is the verdict of a restriction that found a reason: text after the
// subject. With warn_if_reject it is only logged.
func (e *eval) refuse(code int, enhanced smtp.Enhanced, sub subject, text string) verdict {
	return e.refuseWith(reply(code, enhanced, "<"+printable(sub.text)+">: "+sub.class+" rejected: "+text))
}

// refuseWith is refuse for replies of other forms.
func (e *eval) refuseWith(r smtp.Reply) verdict {
	r.Enhanced = r.Enhanced.WithClass(r.Code)
	if e.warn {
		e.s.logAction("reject_warning", e.command, r.AppendText)
		return dunno
	}
	return e.final(r)
}

// final rejects, whatever warn_if_reject says.
func (e *eval) final(r smtp.Reply) verdict {
	if saved := e.s.tx.defers.ifReject; r.Code/100 == 5 && saved.Code != 0 {
		r = saved
	}
	if e.s.srv.core.SoftBounce && r.Code/100 == 5 {
		r.Code -= 100
		r.Enhanced = r.Enhanced.WithClass(r.Code)
	}
	if len(r.Text) > maxReply {
		r.Text = r.Text[:maxReply]
	}
	e.reply = r
	e.s.logReject(e.command, r)
	return reject
}

// maxReply is where the text of a reply is cut (RFC 5321 4.5.3.1.5).
const maxReply = 500

// lookupFailed is for tables that cannot be asked now.
func (e *eval) lookupFailed(sub subject) verdict {
	return e.final(reply(451, smtp.Enhanced{4, 3, 0}, "<"+printable(sub.text)+">: Temporary lookup failure"))
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
