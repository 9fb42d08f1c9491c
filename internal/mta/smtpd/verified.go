package smtpd

import (
	"github.com/dovetail-mail/dovetail/internal/mta/verify"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// A probeRule says what becomes of an address whose probe did not succeed.
type probeRule struct {
	enhanced                smtp.Enhanced
	deferCode, rejectCode   int
	tempfail, alternateText string
}

// maxProbeText bounds what is shown of what another server said.
const maxProbeText = 250

func (e *eval) rejectUnverifiedSender(*item) verdict {
	c := &e.s.srv.checks
	return e.unverified(e.s.tx.sender, e.s.senderSubject(), probeRule{
		smtp.Enhanced{4, 1, 7}, c.UnverifiedSenderDeferCode, c.UnverifiedSenderRejectCode, c.UnverifiedSenderTempfailAction, c.UnverifiedSenderRejectReason,
	})
}

func (e *eval) rejectUnverifiedRecipient(*item) verdict {
	if e.rcpt == nil {
		return dunno
	}
	c := &e.s.srv.checks
	return e.unverified(e.rcpt.To, e.s.rcptSubject(), probeRule{
		smtp.Enhanced{4, 1, 1}, c.UnverifiedRecipientDeferCode, c.UnverifiedRecipientRejectCode, c.UnverifiedRecipientTempfailAction, c.UnverifiedRecipientRejectReason,
	})
}

// unverified refuses an address that is not known to take mail (ADDRESS_VERIFICATION_README).
func (e *eval) unverified(addr string, sub subject, rule probeRule) verdict {
	if addr == "" {
		return dunno
	}
	if e.s.srv.verify == nil {
		e.s.srv.log.Warningf("verify service failure")
		return e.tempfail(rule.tempfail, sub.reply(450, rule.enhanced, "address verification problem"))
	}
	checks := &e.s.srv.checks
	answer := e.s.srv.verify(e.s.ctx, addr, checks.VerifyPollCount, checks.VerifyPollDelay)
	code := 0
	switch answer.Status {
	case verify.Deliverable:
		return dunno
	case verify.Undeliverable:
		code = rule.rejectCode
	default:
		code = rule.deferCode
	}
	why := answer.Text
	if code >= 400 && rule.alternateText != "" {
		why = rule.alternateText
	}
	switch code / 100 {
	case 2:
		return dunno
	case 4:
		return e.tempfail(rule.tempfail, sub.reply(code, rule.enhanced, "unverified address: "+why[:min(len(why), maxProbeText)]))
	}
	return e.refuse(code, rule.enhanced, sub, "undeliverable address: "+why)
}
