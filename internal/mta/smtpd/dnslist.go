package smtpd

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/dns"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// A dnsList is a list in the DNS, of addresses (RFC 5782) or domains, as the
// restrictions name it: "domain" or "domain=d.d.d.d".
type dnsList struct {
	spec   string
	domain string
	filter *addrPattern // of the addresses that count; nil: any
}

func parseDNSList(spec string) (*dnsList, error) {
	domain, filter, filtered := strings.Cut(spec, "=")
	l := &dnsList{spec: spec, domain: domain}
	if !filtered {
		return l, nil
	}
	var err error
	if l.filter, err = parseAddrPattern(filter); err != nil {
		return nil, fmt.Errorf("RBL reply error: %w", err)
	}
	return l, nil
}

// An addrPattern is an IPv4 address whose octets may be sets: 127.0.0.[1..3;9].
type addrPattern [4][256]bool

func parseAddrPattern(text string) (*addrPattern, error) {
	p, rest := new(addrPattern), text
	for i := range p {
		var octet string
		more := false
		if set, ok := strings.CutPrefix(rest, "["); ok {
			if octet, rest, ok = strings.Cut(set, "]"); !ok {
				return nil, fmt.Errorf("missing ']' character in address pattern \"%s\"", text)
			}
			rest, more = strings.CutPrefix(rest, ".")
			if rest != "" && !more {
				return nil, fmt.Errorf("need \".\" after \"]\" in address pattern \"%s\"", text)
			}
		} else {
			octet, rest, more = strings.Cut(rest, ".")
			if strings.ContainsAny(octet, ";.[]") {
				octet = ""
			}
		}
		if more != (i < len(p)-1) || !p.add(i, octet) {
			return nil, fmt.Errorf("bad address pattern \"%s\": need four numbers from 0 to 255, or [number;number..number]", text)
		}
	}
	return p, nil
}

// add takes the numbers of one octet: "1" or "1;3..5".
func (p *addrPattern) add(octet int, set string) bool {
	for item := range strings.SplitSeq(set, ";") {
		from, to, isRange := strings.Cut(item, "..")
		if !isRange {
			to = from
		}
		first, err := strconv.ParseUint(from, 10, 8)
		last, err2 := strconv.ParseUint(to, 10, 8)
		if err != nil || err2 != nil || first > last {
			return false
		}
		for n := first; n <= last; n++ {
			p[octet][n] = true
		}
	}
	return true
}

func (p *addrPattern) match(addr netip.Addr) bool {
	for i, octet := range addr.As4() {
		if !p[i][octet] {
			return false
		}
	}
	return true
}

// listing is what a list says of a client or domain.
type listing uint8

const (
	notListed listing = iota
	listed
	listFailed // the list cannot be asked
)

// maxListText is the most of its reasons that a list can have shown.
const maxListText = 500

// query asks a list for a name and, where it is listed, why.
func (e *eval) query(l *dnsList, name string) (listing, string) {
	name += "." + l.domain
	names := e.s.srv.names
	if names == nil {
		return listFailed, ""
	}
	answer, err := names.Addrs(e.s.ctx, name, dns.IPv4)
	if dns.Temporary(err) {
		e.s.srv.log.Warningf("%s: RBL lookup error: %s", name, lookupError(name, "A", err))
		return listFailed, ""
	}
	if err != nil || !l.matches(answer.Records) {
		return notListed, ""
	}
	txt, err := names.TXT(e.s.ctx, name)
	if err != nil {
		if errors.Is(err, errFiltered) {
			e.s.srv.log.Warningf("%s: TXT lookup error: %v", name, errFiltered)
		}
		return listed, ""
	}
	text := clean(strings.Join(txt.Records, " / "))
	return listed, text[:min(len(text), maxListText)]
}

func (l *dnsList) matches(addrs []netip.Addr) bool {
	for _, addr := range addrs {
		if addr.Is4() && (l.filter == nil || l.filter.match(addr)) {
			return true
		}
	}
	return false
}

// queryAddr asks for an address: 1.2.0.192.list, or nibbles of IPv6.
func (e *eval) queryAddr(l *dnsList, addr netip.Addr) (listing, string) {
	if !addr.IsValid() {
		return notListed, ""
	}
	var b []byte
	bytes := addr.AsSlice()
	for i := len(bytes) - 1; i >= 0; i-- {
		if addr.Is4() {
			b = append(strconv.AppendUint(b, uint64(bytes[i]), 10), '.')
			continue
		}
		b = fmt.Appendf(b, "%x.%x.", bytes[i]&0xf, bytes[i]>>4)
	}
	return e.query(l, strings.TrimSuffix(string(b), "."))
}

// queryDomain asks for the domain of a name or mail address. Lists of domains are not
// asked for addresses.
func (e *eval) queryDomain(l *dnsList, what string) (listing, string) {
	domain := domainOf(what)
	if domain == "" || domain[0] == '[' || isDigits(domain[strings.LastIndexByte(domain, '.')+1:]) {
		return notListed, ""
	}
	domain = smtp.ASCIIDomain(domain)
	if !smtp.ValidHostname(domain) {
		return notListed, ""
	}
	return e.query(l, domain)
}

// domainOf is the domain of a mail address, or all of a host name.
func domainOf(what string) string { return what[strings.LastIndexByte(what, '@')+1:] }

func (e *eval) rejectRBLClient(it *item) verdict { return e.rejectAddr(it.list) }

func (e *eval) rejectAddr(l *dnsList) verdict {
	status, why := e.queryAddr(l, e.s.client.addr)
	if status != listed {
		return dunno
	}
	return e.blocked(l, e.s.client.addrText, "Client host", why)
}

// rejectMapsRBL is an old restriction, whose lists are in a parameter.
func (e *eval) rejectMapsRBL(*item) verdict {
	for i := range e.s.srv.lists.mapsRBL {
		if v := e.rejectAddr(e.s.srv.lists.mapsRBL[i]); v != dunno {
			return v
		}
	}
	return dunno
}

// A target is what a restriction takes its name from; ok is false if there is none now.
type target func(e *eval) (name string, sub subject, ok bool)

func clientName(e *eval) (string, subject, bool) {
	return e.s.client.name, e.s.clientSubject(), e.s.client.name != unknownName
}

func reverseName(e *eval) (string, subject, bool) {
	return e.s.client.reverse, subject{e.s.client.reverse, "Unverified Client host"}, e.s.client.reverse != unknownName
}

func heloName(e *eval) (string, subject, bool) {
	return e.s.heloName, e.s.heloSubject(), e.s.heloName != ""
}

func senderAddress(e *eval) (string, subject, bool) {
	return e.s.tx.sender, e.s.senderSubject(), e.s.tx.sender != ""
}

func recipientAddress(e *eval) (string, subject, bool) {
	return e.s.rcptNow, e.s.rcptSubject(), e.rcpt != nil && e.s.rcptNow != ""
}

// rejectRHSBL makes the restrictions that ask a list for a domain.
func rejectRHSBL(of target) func(e *eval, it *item) verdict {
	return func(e *eval, it *item) verdict {
		name, sub, ok := of(e)
		if !ok {
			return dunno
		}
		status, why := e.queryDomain(it.list, name)
		if status != listed {
			return dunno
		}
		return e.blocked(it.list, name, sub.class, why)
	}
}

func (e *eval) permitDNSWLClient(it *item) verdict {
	return e.permitListed(it, e.s.client.addrText, func() (listing, string) { return e.queryAddr(it.list, e.s.client.addr) })
}

func (e *eval) permitRHSWLClient(it *item) verdict {
	if e.s.client.name == unknownName {
		return dunno
	}
	return e.permitListed(it, e.s.client.name, func() (listing, string) { return e.queryDomain(it.list, e.s.client.name) })
}

// permitListed permits what a list has: nobody's mail to anywhere, as the list is not ours.
func (e *eval) permitListed(it *item, what string, query func() (listing, string)) verdict {
	if e.command == "RCPT" && e.rcpt != nil {
		ours, err := e.authorized()
		if err != nil {
			return e.lookupFailed(e.s.rcptSubject())
		}
		if !ours {
			return dunno
		}
	}
	switch status, _ := query(); status {
	case listed:
		return e.permitted(it.name, e.s.clientSubject(), "")
	case listFailed:
		return e.saveIfReject(subject{what, "Client host"}.reply(450, smtp.Enhanced{4, 7, 1}, "Service unavailable"))
	}
	return dunno
}

// blocked refuses what a list has, in the words of rbl_reply_maps or default_rbl_reply.
func (e *eval) blocked(l *dnsList, what, class, why string) verdict {
	checks := &e.s.srv.checks
	template, found := "", false
	if maps := e.s.srv.lists.rblReplies; !maps.Empty() {
		var err error
		if template, found, err = maps.Lookup(e.s.ctx, l.spec); err != nil {
			return e.configError()
		}
	}
	value := func(name string) (string, bool) {
		switch name {
		case "rbl_code":
			return strconv.Itoa(checks.MapsRBLRejectCode), true
		case "rbl_domain":
			return l.domain, true
		case "rbl_reason", "rbl_txt":
			return why, true
		case "rbl_what":
			return what, true
		case "rbl_class":
			return class, true
		}
		return "", false
	}
	var text string
	err := errNoTemplate
	if found {
		if text, err = e.s.expand(template, value); err != nil {
			e.s.srv.log.Warningf("rbl_reject_reply: bad rbl reply template for domain %s: %s", l.spec, template)
		}
	}
	if err != nil {
		if text, err = e.s.expand(checks.DefaultRBLReply, value); err != nil {
			return e.configError() // default_rbl_reply was tried at start
		}
	}
	return e.refuseWith(e.blockedReply(text, class))
}

var errNoTemplate = errors.New("no template")

// blockedReply makes a reply of an expanded template: code, perhaps an enhanced code,
// and text.
func (e *eval) blockedReply(text, class string) smtp.Reply {
	code, err := strconv.Atoi(text[:min(len(text), 3)])
	if err != nil || code < 400 || code > 599 || len(text) < 4 || text[3] != ' ' {
		e.s.srv.log.Warningf("rbl response code configuration error: %s", text)
		return reply(450, smtp.Enhanced{4, 7, 1}, "Service unavailable")
	}
	text = strings.TrimLeft(text[4:], " \t")
	enhanced := smtp.Enhanced{4, 7, 1}
	if dsn, used := smtp.ParseEnhanced(text); used > 0 {
		enhanced, text = e.s.dsnFor(class, dsn), strings.TrimLeft(text[used:], " \t")
	}
	if text == "" {
		text = "Service unavailable"
	}
	return reply(code, enhanced, text)
}
