package smtpd

import (
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
	if smtp.ValidHostname(strings.TrimSuffix(name, ".")) {
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
	switch e.domainExists(name) {
	case domainOK, domainNullMX:
		return dunno
	case domainTemp:
		return e.tempfail(reply(450, smtp.Enhanced{4, 7, 1}, "<"+printable(name)+">: Helo command rejected: Host not found"))
	}
	return e.refuse(e.s.srv.set.UnknownHostnameRejectCode, smtp.Enhanced{4, 7, 1}, e.s.heloSubject(), "Host not found")
}

// tempfail is for refusals that a name server's failure is the reason of:
// reject_tempfail_action says whether they wait for the outcome.
func (e *eval) tempfail(r smtp.Reply) verdict {
	if e.s.srv.set.RejectTempfailAction == "defer" {
		return e.refuseWith(r)
	}
	return e.saveIfPermit(r)
}

// domainStatus is whether mail can be sent to a domain.
type domainStatus uint8

const (
	domainOK domainStatus = iota
	domainNone
	domainNullMX // it says that it takes no mail (RFC 7505)
	domainTemp
)

// domainExists looks for mail exchangers or addresses of a name.
func (e *eval) domainExists(name string) domainStatus {
	names := e.s.srv.names
	if names == nil {
		return domainTemp
	}
	mx, err := names.MX(e.s.ctx, name)
	switch {
	case err == nil && len(mx.Records) == 1 && mx.Records[0].Host == "":
		return domainNullMX
	case err == nil && len(mx.Records) > 0:
		return domainOK
	case dns.Temporary(err):
		return domainTemp
	}
	addrs, err := names.Addrs(e.s.ctx, name, dns.Any)
	switch {
	case err == nil && len(addrs.Records) > 0:
		return domainOK
	case dns.Temporary(err):
		return domainTemp
	}
	return domainNone
}
