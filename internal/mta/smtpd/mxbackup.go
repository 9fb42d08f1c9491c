package smtpd

import (
	"github.com/dovetail-mail/dovetail/internal/dns"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// permitMXBackup permits recipients in our domains, and in those that this host is a mail
// exchanger for, though not the best one.
func (e *eval) permitMXBackup(it *item) verdict {
	if e.rcpt == nil {
		return dunno
	}
	res, err := e.resolved()
	if err != nil {
		return e.lookupFailed(e.s.rcptSubject())
	}
	if res.Routed && !e.s.srv.set.AllowUntrustedRouting {
		return dunno
	}
	if res.Class != resolve.Default {
		return e.permitted(it.name, e.s.rcptSubject(), "")
	}
	_, domain := smtp.SplitAddress(res.Recipient)
	if domain == "" || domain[0] == '[' || e.s.srv.names == nil {
		return dunno
	}
	answer, err := e.s.srv.names.MX(e.s.ctx, smtp.ASCIIDomain(domain))
	if err != nil {
		if dns.Temporary(err) {
			e.cannotTell("Unable to look up mail exchanger information: " + lookupReason(err))
		}
		return dunno
	}
	best, rest := answer.Records, answer.Records
	for i, mx := range answer.Records {
		if mx.Pref != answer.Records[0].Pref {
			best, rest = answer.Records[:i], answer.Records[i:]
			break
		}
	}
	if len(best) == len(answer.Records) || e.isAmong(best) || !e.isAmong(rest) || !e.trustsBest(best) {
		return dunno
	}
	return e.permitted(it.name, e.s.rcptSubject(), "")
}

// cannotTell keeps a later refusal from being for good.
func (e *eval) cannotTell(text string) {
	e.saveIfReject(e.s.rcptSubject().reply(450, smtp.Enhanced{4, 4, 4}, text))
}

// isAmong reports whether this host is one of the mail exchangers.
func (e *eval) isAmong(list []dns.MX) bool {
	for _, mx := range list {
		res, err := e.s.srv.resolver.Resolve(e.s.ctx, "", "postmaster@"+mx.Host)
		if err == nil && res.Class == resolve.Local {
			return true
		}
	}
	for _, mx := range list {
		addrs, err := e.s.srv.names.NativeAddrs(e.s.ctx, mx.Host, e.s.srv.family)
		if err != nil {
			e.cannotTell("Unable to look up mail exchanger host " + mx.Host + ": " + resolverError(err))
			continue
		}
		for _, addr := range addrs.Records {
			if e.s.srv.resolver.OwnAddr(addr) {
				return true
			}
		}
	}
	return false
}

// trustsBest reports whether all addresses of the best mail exchangers are in
// permit_mx_backup_networks, if there are any.
func (e *eval) trustsBest(best []dns.MX) bool {
	nets := e.s.srv.lists.mxBackupNets
	if nets == nil {
		return true
	}
	for _, mx := range best {
		addrs, err := e.s.srv.names.Addrs(e.s.ctx, mx.Host, e.s.srv.family)
		if err != nil {
			e.cannotTell("Unable to look up host " + mx.Host + " as mail exchanger: " + lookupReason(err))
			return false
		}
		for _, addr := range addrs.Records {
			match, err := nets.MatchAddr(e.s.ctx, mx.Host, addr.Unmap())
			if err != nil {
				e.cannotTell("Unable to verify host " + mx.Host + " as mail exchanger")
			}
			if err != nil || !match {
				return false
			}
		}
	}
	return true
}
