package smtpd

import (
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
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

// rules are the lists of main.cf.
type rules struct {
	client, helo, sender, relay, recipient, data, endOfData, etrn ruleList
	headerRewrite                                                 rewriteClients
	classes                                                       map[string]ruleList
}

// listKind is what a list is about: it gives bare tables their meaning.
type listKind struct {
	param  string
	access string // restriction that a bare "type:table" stands for
}

func (r *rules) compile(main *postfix.Main, set *Settings, open resolve.Opener, log *maillog.Logger) error {
	c := compiler{main: main, open: open, log: log, classes: map[string]bool{}}
	for _, name := range postfix.SplitList(set.RestrictionClasses) {
		c.classes[name] = true
	}
	lists := []struct {
		dst   *ruleList
		kind  listKind
		value string
	}{
		{&r.client, listKind{"smtpd_client_restrictions", "check_client_access"}, set.ClientRestrictions},
		{&r.helo, listKind{"smtpd_helo_restrictions", "check_helo_access"}, set.HELORestrictions},
		{&r.sender, listKind{"smtpd_sender_restrictions", "check_sender_access"}, set.SenderRestrictions},
		{&r.relay, listKind{"smtpd_relay_restrictions", "check_recipient_access"}, set.RelayRestrictions},
		{&r.recipient, listKind{"smtpd_recipient_restrictions", "check_recipient_access"}, set.RecipientRestrictions},
		{&r.data, listKind{"smtpd_data_restrictions", ""}, set.DataRestrictions},
		{&r.endOfData, listKind{"smtpd_end_of_data_restrictions", ""}, set.EndOfDataRestrictions},
		{&r.etrn, listKind{"smtpd_etrn_restrictions", "check_etrn_access"}, set.ETRNRestrictions},
	}
	for _, l := range lists {
		var err error
		if *l.dst, err = c.list(l.kind, l.value, 0); err != nil {
			return err
		}
	}
	if !r.relay.guards() && !r.recipient.guards() {
		return fmt.Errorf("in parameter smtpd_relay_restrictions or smtpd_recipient_restrictions, specify at least one working instance of: reject_unauth_destination, defer_unauth_destination, reject, defer, defer_if_permit or check_relay_domains")
	}
	var err error
	if r.classes, err = c.allClasses(); err != nil {
		return err
	}
	r.headerRewrite, err = c.rewriteClients(set.LocalHeaderRewriteClients)
	return err
}

// guards reports whether a list keeps the server from being an open relay.
func (l ruleList) guards() bool {
	for i := range l {
		it := &l[i]
		if it.warn {
			continue
		}
		switch strings.ToLower(it.name) {
		case "permit":
			return false
		case "reject_unauth_destination", "defer_unauth_destination", "reject", "defer", "defer_if_permit", "check_relay_domains":
			return true
		}
		if it.class != nil && it.class.guards() {
			return true
		}
	}
	return false
}

// compiler turns restriction lists into items.
type compiler struct {
	main    *postfix.Main
	open    resolve.Opener
	log     *maillog.Logger
	classes map[string]bool
}

// allClasses compiles the restriction classes for access tables that name them.
func (c *compiler) allClasses() (map[string]ruleList, error) {
	all := make(map[string]ruleList, len(c.classes))
	for name := range c.classes {
		it, _, err := c.item(listKind{name, ""}, []string{name}, 0)
		if err != nil {
			return nil, err
		}
		all[name] = it.class
	}
	return all, nil
}

// maxClassDepth bounds restriction classes within classes.
const maxClassDepth = 100

func (c *compiler) list(kind listKind, value string, depth int) (ruleList, error) {
	if depth > maxClassDepth {
		return nil, fmt.Errorf("%s: restriction classes refer to each other", kind.param)
	}
	words := postfix.SplitList(value)
	var list ruleList
	warn := false
	for i := 0; i < len(words); i++ {
		if strings.EqualFold(words[i], "warn_if_reject") {
			warn = true
			continue
		}
		it, used, err := c.item(kind, words[i:], depth)
		if err != nil {
			return nil, err
		}
		it.warn = warn
		warn = false
		i += used - 1
		list = append(list, it)
		if it.name == "permit" && i+1 < len(words) {
			c.log.Warningf("restriction `%s' after `permit' is ignored", words[i+1])
		}
	}
	return list, nil
}

// item compiles the restriction at the head of words, and says how many words
// it took.
func (c *compiler) item(kind listKind, words []string, depth int) (item, int, error) {
	word := words[0]
	if isTable(word) {
		if kind.access == "" {
			return item{name: word, run: (*eval).bareTable}, 1, nil
		}
		it, err := c.table(kind.access, word)
		return it, 1, err
	}
	name := strings.ToLower(word)
	if c.classes[word] {
		value, _, err := c.main.Expand(word)
		if err != nil {
			return item{}, 0, err
		}
		list, err := c.list(listKind{word, kind.access}, value, depth+1)
		if list == nil {
			list = ruleList{}
		}
		return item{name: word, run: (*eval).runClass, class: list}, 1, err
	}
	r, ok := restrictions[name]
	if !ok {
		return item{name: word, run: (*eval).unknownRestriction}, 1, nil
	}
	switch r.arg {
	case noArg:
		return item{name: name, run: r.run}, 1, nil
	case laterArg:
		return item{}, 0, fmt.Errorf("%s: restriction %s is not supported", kind.param, name)
	}
	if len(words) < 2 {
		if r.arg == numberArg {
			return item{name: name, run: (*eval).sleepWithoutNumber}, 1, nil
		}
		return item{}, 0, fmt.Errorf("%s: restriction %s must be followed by a lookup table", kind.param, name)
	}
	if r.arg == tableArg {
		it, err := c.table(name, words[1])
		return it, 2, err
	}
	return item{name: name, run: r.run, arg: words[1]}, 2, nil
}

func (c *compiler) table(name, spec string) (item, error) {
	maps, err := c.open.OpenMaps(name, spec)
	if err != nil {
		return item{}, fmt.Errorf("%s: %w", name, err)
	}
	return item{name: name, run: restrictions[name].run, arg: spec, maps: maps}, nil
}

// isTable reports whether a word is "type:name".
func isTable(word string) bool {
	i := strings.IndexByte(word, ':')
	return i > 0 && word[0] != '{'
}

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
