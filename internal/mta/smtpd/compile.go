package smtpd

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
)

// rules are the lists of main.cf.
type rules struct {
	client, helo, sender, relay, recipient, data, endOfData, etrn ruleList
	headerRewrite                                                 rewriteClients
	classes                                                       map[string]ruleList
	policies                                                      []*policyServer
	log                                                           *maillog.Logger
}

// listKind is what a list is about: it gives bare tables their meaning.
type listKind struct {
	param  string
	access string // restriction that a bare "type:table" stands for
}

func (r *rules) compile(main *postfix.Main, set *Settings, open resolve.Opener, log *maillog.Logger) error {
	c := compiler{main: main, open: open, log: log, classes: map[string]bool{}, policies: map[string]*policyServer{}}
	r.log = log
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
		return errors.New("in parameter smtpd_relay_restrictions or smtpd_recipient_restrictions, specify at least one working instance of: reject_unauth_destination, defer_unauth_destination, reject, defer, defer_if_permit or check_relay_domains")
	}
	var err error
	if r.classes, err = c.allClasses(); err != nil {
		return err
	}
	for _, p := range c.policies {
		r.policies = append(r.policies, p)
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
	main     *postfix.Main
	open     resolve.Opener // nil: the list is in an access table, which may not name others
	log      *maillog.Logger
	classes  map[string]bool
	policies map[string]*policyServer
	compiled map[string]ruleList // classes, for lists in access tables
}

// inTable compiles the restrictions that an access table has as its result.
func (r *rules) inTable(value string) (ruleList, error) {
	c := compiler{log: r.log, compiled: r.classes}
	return c.list(listKind{param: "access table"}, value, 0)
}

// allClasses compiles the restriction classes for access tables that name them.
func (c *compiler) allClasses() (map[string]ruleList, error) {
	all := make(map[string]ruleList, len(c.classes))
	for name := range c.classes {
		it, err := c.class(listKind{name, ""}, name, 0)
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
		if strings.EqualFold(it.name, "permit") && i+1 < len(words) {
			c.log.Warningf("restriction `%s' after `%s' is ignored", words[i+1], it.name)
		}
	}
	return list, nil
}

// item compiles the restriction at the head of words, and says how many words
// it took. Names of restrictions go before those of classes, as with Postfix.
func (c *compiler) item(kind listKind, words []string, depth int) (item, int, error) {
	word := words[0]
	if isTable(word) {
		if kind.access == "" {
			return item{name: word, run: (*eval).bareTable}, 1, nil
		}
		it, err := c.table(kind.access, kind.access, word)
		return it, 1, err
	}
	if r, ok := restrictions[strings.ToLower(word)]; ok {
		return c.restriction(r, words)
	}
	if class, ok := c.compiled[word]; ok {
		return item{name: word, run: (*eval).runClass, class: class}, 1, nil
	}
	if c.classes[word] {
		it, err := c.class(kind, word, depth)
		return it, 1, err
	}
	return item{name: word, run: (*eval).unknownRestriction}, 1, nil
}

// class compiles a restriction class.
func (c *compiler) class(kind listKind, name string, depth int) (item, error) {
	value, ok, err := c.main.Expand(name)
	if err != nil {
		return item{}, err
	}
	if !ok || value == "" {
		return item{}, fmt.Errorf("restriction class `%s' needs a definition", name)
	}
	list, err := c.list(listKind{name, kind.access}, value, depth+1)
	if list == nil {
		list = ruleList{}
	}
	return item{name: name, run: (*eval).runClass, class: list}, err
}

// restriction compiles one of Postfix's restrictions. What lacks its argument fails, as
// with Postfix, when it is evaluated.
func (c *compiler) restriction(r restriction, words []string) (item, int, error) {
	it := item{name: words[0], run: r.run}
	if r.arg == noArg {
		return it, 1, nil
	}
	used := 1
	if len(words) > 1 {
		used, it.arg = 2, words[1]
	}
	switch r.arg {
	case numberArg:
		if !isDigits(it.arg) {
			it.run, used = (*eval).sleepWithoutNumber, 1
		}
		return it, used, nil
	case dnsArg:
		if used == 1 {
			it.run = (*eval).withoutDomain
			return it, used, nil
		}
		var err error
		it.list, err = parseDNSList(it.arg)
		return it, used, err
	case policyArg:
		if !strings.Contains(it.arg, ":") {
			it.run = (*eval).withoutPolicyServer
			return it, used, nil
		}
		var err error
		it.policy, err = c.policy(it.arg)
		return it, used, err
	}
	if !strings.Contains(it.arg, ":") {
		if used == 1 {
			it.arg = it.name
		}
		it.run = (*eval).withoutTable
		return it, used, nil
	}
	table, err := c.table(strings.ToLower(it.name), it.name, it.arg)
	return table, used, err
}

func (c *compiler) table(access, name, spec string) (item, error) {
	var search []string
	if access == "check_ccert_access" {
		var err error
		if spec, search, err = searchOrder(spec); err != nil {
			return item{}, err
		}
	}
	maps, err := c.open.OpenMaps(access, spec)
	if err != nil {
		return item{}, fmt.Errorf("%s: %w", name, err)
	}
	return item{name: name, run: restrictions[access].run, arg: spec, maps: maps, search: search}, nil
}

// policy returns the client of a policy server; each server has one.
func (c *compiler) policy(spec string) (*policyServer, error) {
	p := c.policies[spec]
	if p != nil {
		return p, nil
	}
	p, err := newPolicyServer(c.main, spec, c.log)
	if err != nil {
		return nil, err
	}
	c.policies[spec] = p
	return p, nil
}

// isTable reports whether a word is "type:name".
func isTable(word string) bool {
	i := strings.IndexByte(word, ':')
	return i > 0 && word[0] != '{'
}
