package smtpd

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/dns"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

func (e *eval) checkHELOAccess(it *item) verdict {
	if e.s.heloName == "" {
		return dunno
	}
	return e.hostAccess(it, e.s.heloName, e.s.heloSubject(), 0)
}

// checkLiteral judges a HELO name that is an address literal.
func (e *eval) checkLiteral() verdict {
	if _, ok := smtp.ParseLiteral(e.s.heloName); ok {
		return dunno
	}
	return e.refuse(e.s.srv.set.InvalidHostnameRejectCode, smtp.Enhanced{5, 5, 2}, e.s.heloSubject(), "invalid ip address")
}

func (e *eval) rejectInvalidHELO(*item) verdict {
	name := e.s.heloName
	if name == "" {
		return dunno
	}
	if name[0] == '[' {
		return e.checkLiteral()
	}
	bare := strings.TrimSuffix(name, ".")
	if _, err := netip.ParseAddr(bare); err == nil || smtp.ValidHostname(bare) {
		return dunno
	}
	return e.refuse(e.s.srv.set.InvalidHostnameRejectCode, smtp.Enhanced{5, 5, 2}, e.s.heloSubject(), "Invalid name")
}

func (e *eval) rejectNonFQDNHELO(*item) verdict {
	name := e.s.heloName
	if name == "" {
		return dunno
	}
	if name[0] == '[' {
		return e.checkLiteral()
	}
	if isFQDN(name) {
		return dunno
	}
	return e.refuse(e.s.srv.set.NonFQDNRejectCode, smtp.Enhanced{5, 5, 2}, e.s.heloSubject(), "need fully-qualified hostname")
}

// isFQDN reports whether a host name is valid and has more than one label.
func isFQDN(name string) bool {
	name = strings.TrimSuffix(name, ".")
	return smtp.ValidHostname(name) && strings.IndexByte(name, '.') >= 0
}

func (e *eval) rejectUnknownHELO(*item) verdict {
	name := e.s.heloName
	if name == "" {
		return dunno
	}
	if name[0] == '[' {
		return e.checkLiteral()
	}
	switch e.domainExists(name, "address or MX") {
	case domainOK, domainNullMX, domainFiltered:
		return dunno
	case domainTemp:
		return e.tempfail(e.s.srv.checks.UnknownHELOTempfailAction, e.s.heloSubject().reply(450, smtp.Enhanced{4, 7, 1}, "Host not found"))
	}
	return e.refuse(e.s.srv.set.UnknownHostnameRejectCode, smtp.Enhanced{4, 7, 1}, e.s.heloSubject(), "Host not found")
}

// permitNakedIPAddress is an old restriction: it permits clients that give an address as
// their name.
func (e *eval) permitNakedIPAddress(it *item) verdict {
	e.s.srv.log.Warningf("restriction permit_naked_ip_address is deprecated. Use permit_mynetworks or permit_sasl_authenticated instead")
	name := e.s.heloName
	if name == "" || strings.Trim(name, "0123456789.:") != "" {
		return dunno
	}
	if _, ok := mailhostAddr(name); !ok {
		return e.refuse(e.s.srv.set.InvalidHostnameRejectCode, smtp.Enhanced{5, 5, 2}, e.s.heloSubject(), "invalid ip address")
	}
	return e.permitted(it.name, e.s.heloSubject(), "")
}

// mailhostAddr reads an address as address literals have it within their brackets.
func mailhostAddr(text string) (netip.Addr, bool) { return smtp.ParseLiteral("[" + text + "]") }

// domainStatus is whether mail can be sent to a domain.
type domainStatus uint8

const (
	domainOK domainStatus = iota
	domainNone
	domainNullMX // it says that it takes no mail (RFC 7505)
	domainTemp
	domainFiltered // smtpd_dns_reply_filter drops what is known
)

// domainExists looks for mail exchangers or addresses of a name; what is how warnings name the two.
func (e *eval) domainExists(name, what string) domainStatus {
	temporary := func(err error) domainStatus {
		if errors.Is(err, errFiltered) {
			e.s.srv.log.Warningf("%s: %s lookup error: %v", name, what, errFiltered)
			return domainFiltered
		}
		return domainTemp
	}
	names := e.s.srv.names
	switch {
	case names == nil:
		return domainTemp
	case !smtp.ValidHostname(name):
		return domainNone
	}
	mx, mxErr := names.MX(e.s.ctx, name)
	switch {
	case mxErr == nil && len(mx.Records) == 1 && mx.Records[0].Host == "":
		return domainNullMX
	case mxErr == nil && len(mx.Records) > 0:
		return domainOK
	case errors.Is(mxErr, errFiltered):
		return temporary(mxErr)
	}
	addrs, err := names.Addrs(e.s.ctx, name, dns.Any)
	switch {
	case err == nil && len(addrs.Records) > 0:
		return domainOK
	case dns.Temporary(err):
		return temporary(err)
	case dns.Temporary(mxErr):
		return domainTemp
	}
	return domainNone
}
