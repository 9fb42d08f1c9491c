package smtpd

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

func (e *eval) checkSenderAccess(it *item) verdict {
	if !e.s.tx.open {
		return dunno
	}
	addr, err := e.resolvedSender()
	if err != nil {
		return e.lookupFailed(e.s.senderSubject())
	}
	return e.addressAccess(it, addr, e.s.senderSubject())
}

// resolvedSender is the sender in the form that mail to it would have: user%ours@ours
// is user@ours.
func (e *eval) resolvedSender() (string, error) {
	sender := e.s.tx.sender
	if sender == "" {
		return "", nil
	}
	r := e.s.srv.resolver
	res, err := r.Resolve(e.s.ctx, "", r.Rewrite(e.s.ctx, "local", sender))
	return res.Recipient, err
}

func (e *eval) rejectNonFQDNSender(*item) verdict {
	return e.nonFQDN(e.s.tx.sender, e.s.senderSubject())
}

func (e *eval) nonFQDN(addr string, sub subject) verdict {
	if addr == "" {
		return dunno
	}
	_, domain := smtp.SplitAddress(addr)
	if domain != "" && domain[0] == '[' || isFQDN(domain) {
		return dunno
	}
	return e.refuse(e.s.srv.set.NonFQDNRejectCode, smtp.Enhanced{5, 5, 2}, sub, "need fully-qualified address")
}

func (e *eval) rejectUnknownSenderDomain(*item) verdict {
	if e.s.tx.sender == "" {
		return dunno
	}
	return e.unknownDomain(e.s.tx.sender, e.s.senderSubject(), unknownSender)
}

// unknownCodes are the status codes of an address whose domain does not exist.
type unknownCodes struct {
	none, nullMX smtp.Enhanced
	nullMXCode   int
}

var (
	unknownSender    = unknownCodes{smtp.Enhanced{4, 1, 8}, smtp.Enhanced{5, 7, 27}, 550}
	unknownRecipient = unknownCodes{smtp.Enhanced{4, 1, 2}, smtp.Enhanced{5, 1, 10}, 556}
)

// unknownDomain refuses an address to whose domain no mail can be sent. Domains
// of ours are known.
func (e *eval) unknownDomain(addr string, sub subject, codes unknownCodes) verdict {
	res, err := e.s.srv.resolver.Resolve(e.s.ctx, "", e.s.srv.resolver.Rewrite(e.s.ctx, "local", addr))
	if err != nil {
		return e.lookupFailed(sub)
	}
	_, domain := smtp.SplitAddress(res.Recipient)
	if res.Class != resolve.Default && res.Class != resolve.Relay || domain == "" || domain[0] == '[' {
		return dunno
	}
	switch e.domainExists(domain, "MX or address") {
	case domainNone:
		return e.refuse(e.s.srv.set.UnknownAddressRejectCode, codes.none, sub, "Domain not found")
	case domainTemp:
		return e.tempfail(e.s.srv.checks.UnknownAddressTempfailAction, sub.reply(450, codes.none, "Domain not found"))
	case domainNullMX:
		return e.refuse(codes.nullMXCode, codes.nullMX, sub, "Domain "+domain+" does not accept mail (nullMX)")
	}
	return dunno
}

// rejectSenderLoginMismatch is the two below together: a class of Postfix's own.
func (e *eval) rejectSenderLoginMismatch(*item) verdict {
	return e.run(ruleList{
		{name: "reject_authenticated_sender_login_mismatch", run: (*eval).rejectAuthenticatedMismatch},
		{name: "reject_unauthenticated_sender_login_mismatch", run: (*eval).rejectUnauthenticatedMismatch},
	})
}

func (e *eval) rejectAuthenticatedMismatch(it *item) verdict {
	return e.loginMismatch(it, func(owners string, found bool) string {
		if e.s.login.user != "" && (!found || !e.owns(owners)) {
			return "not owned by user " + e.s.login.user
		}
		return ""
	})
}

func (e *eval) rejectUnauthenticatedMismatch(it *item) verdict {
	return e.loginMismatch(it, func(_ string, found bool) string {
		if e.s.login.user == "" && found {
			return "not logged in"
		}
		return ""
	})
}

func (e *eval) rejectKnownMismatch(it *item) verdict {
	return e.loginMismatch(it, func(owners string, found bool) string {
		switch {
		case !found:
			return ""
		case e.s.login.user == "":
			return "not logged in"
		case !e.owns(owners):
			return "not owned by user " + e.s.login.user
		}
		return ""
	})
}

// loginMismatch looks up who owns the sender address; judge says what is wrong.
func (e *eval) loginMismatch(it *item, judge func(owners string, found bool) string) verdict {
	if !e.s.srv.set.SASLAuthEnable {
		e.s.srv.log.Warningf("restriction `%s' ignored: no SASL support", it.name)
		return dunno
	}
	if e.s.tx.sender == "" {
		return dunno
	}
	addr, err := e.resolvedSender()
	if err != nil {
		return e.lookupFailed(e.s.senderSubject())
	}
	owners, _, found, err := e.s.srv.resolver.Find(e.s.ctx, e.s.srv.lists.senderLogins, addr, resolve.FindDefault)
	if err != nil {
		return e.lookupFailed(e.s.senderSubject())
	}
	if text := judge(owners, found); text != "" {
		return e.refuse(553, smtp.Enhanced{5, 7, 1}, e.s.senderSubject(), text)
	}
	return dunno
}

// owns reports whether the login is one of a list.
func (e *eval) owns(owners string) bool {
	for _, name := range postfix.SplitList(owners) {
		if strings.EqualFold(name, e.s.login.user) {
			return true
		}
	}
	return false
}
