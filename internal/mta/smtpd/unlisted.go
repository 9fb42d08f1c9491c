package smtpd

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/cleanup"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// rejectUnlistedRecipient refuses recipients who do not exist, as far as the
// tables of their class tell (LOCAL_RECIPIENT_README).
func (e *eval) rejectUnlistedRecipient(*item) verdict {
	if e.rcpt == nil || e.s.srv.override&cleanup.NoUnknownRecipientChecks != 0 {
		return dunno
	}
	res, err := e.resolved()
	if err != nil {
		return e.lookupFailed(e.s.rcptSubject())
	}
	return e.unlisted(res, e.s.rcptSubject(), smtp.Enhanced{5, 1, 1})
}

// rejectUnlistedSender refuses senders of our domains who do not exist.
func (e *eval) rejectUnlistedSender(*item) verdict {
	sender := e.s.tx.sender
	if sender == "" || e.s.srv.override&cleanup.NoUnknownRecipientChecks != 0 {
		return dunno
	}
	r := e.s.srv.resolver
	res, err := r.Resolve(e.s.ctx, "", r.Rewrite(e.s.ctx, "local", sender))
	if err != nil {
		return e.lookupFailed(e.s.senderSubject())
	}
	return e.unlisted(&res, e.s.senderSubject(), smtp.Enhanced{5, 1, 0})
}

func (e *eval) unlisted(res *resolve.Result, sub subject, enhanced smtp.Enhanced) verdict {
	if res.BadSyntax {
		return e.refuseWith(replyBadRecipient)
	}
	lists := &e.s.srv.lists
	for _, maps := range lists.rewriting(sub.class == "Sender address") {
		if found, v := e.listed(maps, res.Recipient, sub); found || v != dunno {
			return v
		}
	}
	if v := e.undeliverable(res, sub, enhanced); v != dunno || res.Transport == "error" || res.Transport == "retry" {
		return v
	}
	set := &e.s.srv.set
	switch res.Class {
	case resolve.Local:
		return e.unlistedIn(lists.localRecipients, res, sub, set.UnknownLocalRecipientRejectCode, enhanced, " in local recipient table")
	case resolve.VirtualMailbox:
		return e.unlistedIn(e.s.srv.resolver.MailboxMaps(), res, sub, set.UnknownVirtualMailboxRejectCode, enhanced, " in virtual mailbox table")
	case resolve.Relay:
		return e.unlistedIn(lists.relayRecipients, res, sub, set.UnknownRelayRecipientRejectCode, enhanced, " in relay recipient table")
	}
	return dunno
}

// listed looks an address up; v is reject when the table cannot be asked.
func (e *eval) listed(maps resolve.Maps, addr string, sub subject) (found bool, v verdict) {
	_, _, found, err := e.s.srv.resolver.Find(e.s.ctx, maps, addr, resolve.FindDefault)
	if err != nil {
		return false, e.lookupFailed(sub)
	}
	return found, dunno
}

// unlistedIn refuses an address that is not in the table of its class. A class
// without table takes all.
func (e *eval) unlistedIn(maps resolve.Maps, res *resolve.Result, sub subject, code int, enhanced smtp.Enhanced, table string) verdict {
	if maps.Empty() || res.Class == resolve.Local && e.isSystemAddress(res.Recipient) {
		return dunno
	}
	if found, v := e.listed(maps, res.Recipient, sub); found || v != dunno {
		return v
	}
	if !e.s.srv.lists.showTable {
		table = ""
	}
	e.s.history.unlisted = true
	return e.refuse(code, enhanced, sub, "User unknown"+table)
}

// isSystemAddress reports whether a local address is one that the mail system
// itself uses; they always exist.
func (e *eval) isSystemAddress(addr string) bool {
	local, _ := smtp.SplitAddress(addr)
	return strings.EqualFold(local, "postmaster") || strings.EqualFold(local, "mailer-daemon") ||
		strings.EqualFold(local, e.s.srv.core.DoubleBounceSender)
}

// undeliverable refuses what the transport error or retry would return. Those have
// all addresses of virtual alias domains that no table knows.
func (e *eval) undeliverable(res *resolve.Result, sub subject, enhanced smtp.Enhanced) verdict {
	code := 550
	switch {
	case res.Transport == "retry":
		code, enhanced = 450, enhanced.WithClass(450)
	case res.Transport != "error":
		return dunno
	case res.Class == resolve.VirtualAlias:
		code = e.s.srv.set.UnknownVirtualAliasRejectCode
	}
	text := strings.TrimLeft(res.Nexthop, " \t") // "error: text" is as good as "error:text"
	if dsn, used := smtp.ParseEnhanced(text); used > 0 {
		enhanced, text = e.s.dsnFor(sub.class, dsn), strings.TrimLeft(text[used:], " ")
	}
	e.s.history.unlisted = true
	return e.refuse(code, enhanced, sub, text)
}
