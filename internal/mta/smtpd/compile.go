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
		return errors.New("in parameter smtpd_relay_restrictions or smtpd_recipient_restrictions, specify at least one working instance of: reject_unauth_destination, defer_unauth_destination, reject, defer, defer_if_permit or check_relay_domains")
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
