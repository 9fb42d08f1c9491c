package cleanup

import (
	"context"
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/mta/rfc822"
)

// A class is a place where addresses stand.
type class uint8

const (
	envelopeSender class = 1 << iota
	envelopeRecipient
	headerSender
	headerRecipient
)

var classNames = map[string]class{
	"envelope_sender": envelopeSender, "envelope_recipient": envelopeRecipient,
	"header_sender": headerSender, "header_recipient": headerRecipient,
}

// parseClasses reads the value of param; some parameters take not all classes.
func parseClasses(param, value string, allowed class) (class, error) {
	var set class
	for _, word := range postfix.SplitList(value) {
		c := classNames[strings.ToLower(word)]
		if c&allowed == 0 {
			return 0, fmt.Errorf("unknown %s value %q in %q", param, word, value)
		}
		set |= c
	}
	return set, nil
}

// A mapping is canonical_maps or one of its kin.
type mapping struct {
	param   string
	maps    resolve.Maps
	classes class
}

// A masquerade hides the hosts of a domain, or with "!" those of no other domain that
// comes after it.
type masquerade struct {
	domain string
	keep   bool
}

// mappings are the ways in which an address is rewritten besides its standard form.
type mappings struct {
	all         []mapping // in the order in which they are applied
	masquerades []masquerade
	masked      class
	exceptions  resolve.List // nil for none
	classes     class        // for which there is anything to do
	propagate   bool
}

// openMappings returns the mappings of the configuration.
func openMappings(set *Settings, res *resolve.Resolver, open resolve.Opener) (ms mappings, err error) {
	ms.propagate = res.Propagates("canonical")
	for _, m := range []struct {
		param, value, classParam, classes string
		allowed                           class
	}{
		{"sender_canonical_maps", set.SenderCanonicalMaps, "sender_canonical_classes", set.SenderCanonicalClasses, envelopeSender | headerSender},
		{"recipient_canonical_maps", set.RecipientCanonicalMaps, "recipient_canonical_classes", set.RecipientCanonicalClasses, envelopeRecipient | headerRecipient},
		{"canonical_maps", set.CanonicalMaps, "canonical_classes", set.CanonicalClasses, envelopeSender | envelopeRecipient | headerSender | headerRecipient},
	} {
		classes, err := parseClasses(m.classParam, m.classes, m.allowed)
		if err != nil {
			return ms, err
		}
		maps, err := open.OpenMaps(m.param, m.value)
		if err != nil {
			return ms, fmt.Errorf("%s: %w", m.param, err)
		}
		if !maps.Empty() {
			ms.all = append(ms.all, mapping{m.param, maps, classes})
			ms.classes |= classes
		}
	}
	if ms.masked, err = parseClasses("masquerade_classes", set.MasqueradeClasses, envelopeSender|envelopeRecipient|headerSender|headerRecipient); err != nil {
		return ms, err
	}
	for _, word := range postfix.SplitList(set.MasqueradeDomains) {
		domain := strings.TrimLeft(word, "!")
		ms.masquerades = append(ms.masquerades, masquerade{strings.ToLower(domain), (len(word)-len(domain))%2 == 1})
		ms.classes |= ms.masked
	}
	if set.MasqueradeExceptions != "" {
		ms.exceptions, err = open.OpenList("masquerade_exceptions", set.MasqueradeExceptions, resolve.StringList)
	}
	return ms, err
}

// mapped applies the mappings of a class to an address in internal form.
func (m *Message) mapped(cl class, addr string) string {
	ms := &m.c.mappings
	if ms.classes&cl == 0 || m.origin.Unmapped {
		return addr
	}
	for i := range ms.all {
		if ms.all[i].classes&cl != 0 {
			addr = m.canonical(&ms.all[i], addr)
		}
	}
	if ms.masked&cl != 0 {
		addr = m.masquerade(addr)
	}
	return addr
}

// maxCanonical is how often a result is looked up again.
const maxCanonical = 10

// canonical applies canonical(5): an address becomes one other. One that maps to itself
// is final.
func (m *Message) canonical(by *mapping, addr string) string {
	for range maxCanonical {
		addrs, err := m.c.res.Map(m.ctx, m.c.log, by.param, by.maps, addr, m.c.mappings.propagate)
		if err != nil {
			m.lookupFailed(by.param, " for "+rfc822.Quote(addr))
			return addr
		}
		if len(addrs) == 0 {
			return addr
		}
		if len(addrs) > 1 {
			m.c.log.Warningf("%s: multi-valued %s entry for %s", m.id, by.param, rfc822.Quote(addr))
		}
		self := strings.EqualFold(addrs[0], addr)
		if addr = addrs[0]; self {
			return addr
		}
	}
	m.c.log.Warningf("%s: unreasonable %s map nesting for %s -- message not accepted, try again later", m.id, by.param, rfc822.Quote(addr))
	return addr
}

// masquerade takes the host off a domain that does not show its hosts.
func (m *Message) masquerade(addr string) string {
	ms := &m.c.mappings
	at := strings.LastIndexByte(addr, '@')
	if at < 0 || len(ms.masquerades) == 0 {
		return addr
	}
	if ms.exceptions != nil {
		user, _, _ := strings.Cut(rfc822.Quote(addr), addr[at:])
		excepted, err := ms.exceptions.Match(m.ctx, user)
		if err != nil {
			m.c.log.Infof("%s: masquerade_exceptions map lookup problem -- message not accepted, try again later", m.id)
			m.refuse(writeError, replyWrite)
		}
		if excepted {
			return addr
		}
	}
	domain := strings.ToLower(addr[at+1:])
	for _, k := range ms.masquerades {
		if k.domain == "" {
			continue
		}
		if k.domain == domain {
			break
		}
		if host, ok := strings.CutSuffix(domain, k.domain); ok && strings.HasSuffix(host, ".") {
			if !k.keep {
				return addr[:at+1] + k.domain
			}
			break
		}
	}
	return addr
}

// senderAddress is the envelope sender as it is queued. Mail of MAILER-DAEMON here is mail
// of nobody.
func (m *Message) senderAddress() string {
	if m.senderKnown {
		return m.sender
	}
	m.senderKnown = true
	sender := m.c.res.Rewrite(m.ctx, "local", m.origin.Sender)
	if len(sender) == len(m.c.daemon) && strings.EqualFold(sender, m.c.daemon) {
		sender = ""
	}
	if sender != "" || m.c.mappings.classes&envelopeSender != 0 {
		sender = m.mapped(envelopeSender, sender)
	}
	m.sender = sender
	return sender
}

// recipientAddress is an envelope recipient before aliases.
func (m *Message) recipientAddress(ctx context.Context, addr string) string {
	if addr == "" {
		addr = m.c.set.EmptyRecipient
	}
	return m.mapped(envelopeRecipient, m.c.res.Rewrite(ctx, "local", addr))
}
