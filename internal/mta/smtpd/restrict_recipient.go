package smtpd

import (
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

func (e *eval) checkRecipientAccess(it *item) verdict {
	if e.rcpt == nil {
		return dunno
	}
	res, err := e.resolved()
	if err != nil {
		return e.lookupFailed(e.s.rcptSubject())
	}
	v := e.addressAccess(it, res.Recipient, e.s.rcptSubject())
	if v == permit && res.Routed && !e.s.srv.set.AllowUntrustedRouting {
		return dunno // it may go on to anywhere
	}
	return v
}

// resolved resolves the recipient, once for all restrictions.
func (e *eval) resolved() (*resolve.Result, error) {
	tx := &e.s.tx
	if tx.resolvedOf != e.rcpt.To || tx.resolvedOf == "" {
		r := e.s.srv.resolver
		res, err := r.Resolve(e.s.ctx, r.Rewrite(e.s.ctx, "local", tx.sender), r.Rewrite(e.s.ctx, "local", e.rcpt.To))
		if err != nil {
			return nil, err
		}
		tx.resolved, tx.resolvedOf = res, e.rcpt.To
	}
	return &tx.resolved, nil
}

// authorized reports whether the recipient is in a domain that this host
// receives or relays mail for, and not routed on to elsewhere.
func (e *eval) authorized() (bool, error) {
	res, err := e.resolved()
	if err != nil {
		return false, err
	}
	if res.Class == resolve.Default {
		return false, nil
	}
	return !res.Routed || e.s.srv.set.AllowUntrustedRouting, nil
}

// refuseUnauth is what the *_unauth_destination restrictions do:
// nothing for our recipients, else a refusal.
func (e *eval) refuseUnauth(code int, enhanced smtp.Enhanced) verdict {
	if e.rcpt == nil {
		return dunno
	}
	ours, err := e.authorized()
	if err != nil {
		return e.lookupFailed(e.s.rcptSubject())
	}
	if ours {
		return dunno
	}
	return e.refuseWith(reply(code, enhanced, "<"+e.s.rcptNow+">: Relay access denied"))
}

func (e *eval) rejectUnauthDestination(*item) verdict {
	return e.refuseUnauth(e.s.srv.set.RelayDomainsRejectCode, smtp.Enhanced{5, 7, 1})
}

func (e *eval) deferUnauthDestination(*item) verdict {
	return e.refuseUnauth(e.s.srv.set.RelayDomainsRejectCode-100, smtp.Enhanced{4, 7, 1})
}

// checkRelayDomains is an old name for: permit what is ours, and clients that we
// relay for by their name, refuse the rest.
func (e *eval) checkRelayDomains(it *item) verdict {
	if e.rcpt == nil {
		return dunno
	}
	match, err := e.s.srv.lists.relayDomains.Match(e.s.ctx, e.s.client.name)
	if err == nil && !match {
		match, err = e.authorized()
	}
	if err != nil {
		return e.lookupFailed(e.s.rcptSubject())
	}
	if match {
		return e.permitted(it.name, e.s.rcptSubject(), "")
	}
	return e.refuse(e.s.srv.set.RelayDomainsRejectCode, smtp.Enhanced{5, 7, 1}, e.s.rcptSubject(), "Relay access denied")
}

func (e *eval) permitAuthDestination(it *item) verdict {
	if e.rcpt == nil {
		return dunno
	}
	ours, err := e.authorized()
	if err != nil {
		return e.lookupFailed(e.s.rcptSubject())
	}
	if ours {
		return e.permitted(it.name, e.s.rcptSubject(), "")
	}
	return dunno
}

func (e *eval) rejectNonFQDNRecipient(*item) verdict {
	if e.rcpt == nil {
		return dunno
	}
	return e.nonFQDN(e.rcpt.To, e.s.rcptSubject())
}

func (e *eval) rejectUnknownRecipientDomain(*item) verdict {
	if e.rcpt == nil {
		return dunno
	}
	return e.unknownDomain(e.rcpt.To, e.s.rcptSubject(), unknownRecipient)
}

// rejectMultiRecipientBounce refuses bounces to several recipients; no mail
// system sends them.
func (e *eval) rejectMultiRecipientBounce(*item) verdict {
	most := 1
	if e.command == "RCPT" {
		most = 0 // the one being looked at is not among them yet
	}
	if e.s.tx.sender != "" || !e.s.tx.open || len(e.s.tx.recipients) <= most {
		return dunno
	}
	return e.refuse(e.s.srv.set.MultiRecipientBounceRejectCode, smtp.Enhanced{5, 5, 3}, e.subject, "Multi-recipient bounce")
}
