package smtpd

import "github.com/dovetail-mail/dovetail/internal/smtp"

// The subjects of the lists.
func (s *session) clientSubject() subject { return subject{s.client.label, "Client host"} }
func (s *session) heloSubject() subject   { return subject{s.heloName, "Helo command"} }
func (s *session) senderSubject() subject { return subject{s.tx.sender, "Sender address"} }
func (s *session) rcptSubject() subject   { return subject{s.rcptNow, "Recipient address"} }

// list evaluates one restriction list; ok is false when the command is refused.
func (s *session) list(l ruleList, command string, sub subject, rcpt *smtp.Rcpt) (smtp.Reply, bool) {
	if len(l) == 0 || s.tx.actions.discard {
		return smtp.Reply{}, true
	}
	s.tx.defers.ifReject = smtp.Reply{}
	e := eval{s: s, command: command, subject: sub, rcpt: rcpt}
	if e.run(l) == reject {
		return e.reply, false
	}
	return smtp.Reply{}, true
}

// earlyDefers are the replies that defer_if_permit kept in lists before RCPT: the
// outcome is known there. That of the sender's list includes those before it and stays
// until that list is evaluated again, also past the end of the transaction.
type earlyDefers struct{ client, helo, sender smtp.Reply }

// beforeMail is what lists about the client and its name kept.
func (d *earlyDefers) beforeMail() smtp.Reply {
	if d.client.Code != 0 {
		return d.client
	}
	return d.helo
}

// evaluateEarly evaluates a list before RCPT. Before is what lists before it kept.
func (s *session) evaluateEarly(l ruleList, command string, sub subject, before smtp.Reply, kept *smtp.Reply) (smtp.Reply, bool) {
	s.tx.defers = pendingDefers{ifPermit: before}
	r, ok := s.list(l, command, sub, nil)
	*kept = s.tx.defers.ifPermit
	return r, ok
}

// checkConnect is for smtpd_delay_reject=no.
func (s *session) checkConnect() (smtp.Reply, bool) {
	return s.evaluateEarly(s.srv.rules.client, s.where, s.clientSubject(), smtp.Reply{}, &s.early.client)
}

// checkHELO is for smtpd_delay_reject=no.
func (s *session) checkHELO() (smtp.Reply, bool) {
	return s.evaluateEarly(s.srv.rules.helo, s.where, s.heloSubject(), s.early.client, &s.early.helo)
}

// checkSender is for smtpd_delay_reject=no.
func (s *session) checkSender() (smtp.Reply, bool) {
	if r, ok := s.evaluateEarly(s.srv.rules.sender, "MAIL", s.senderSubject(), s.early.beforeMail(), &s.early.sender); !ok {
		return r, false
	}
	return s.checkUnlistedSender("MAIL")
}

func (s *session) checkUnlistedSender(command string) (smtp.Reply, bool) {
	if !s.srv.set.RejectUnlistedSender || s.tx.actions.discard {
		return smtp.Reply{}, true
	}
	e := eval{s: s, command: command, subject: s.senderSubject()}
	if e.rejectUnlistedSender(nil) == reject {
		return e.reply, false
	}
	return smtp.Reply{}, true
}

// checkRecipient decides about a recipient: the lists that were put off, the
// relay and recipient lists, and whether the recipient exists.
func (s *session) checkRecipient(command string, rcpt *smtp.Rcpt) (smtp.Reply, bool) {
	if isPostmaster(rcpt.To) {
		return smtp.Reply{}, true
	}
	s.tx.defers = pendingDefers{}
	if s.srv.set.DelayReject {
		if r, ok := s.checkPutOff(command, rcpt); !ok {
			return r, false
		}
	}
	s.tx.defers.ifPermit = s.early.sender // VRFY without MAIL: that of the transaction before, as Postfix has it
	first, second := s.srv.rules.relay, s.srv.rules.recipient
	if !s.srv.set.RelayBeforeRecipientRestrictions {
		first, second = second, first
	}
	// One list in two parts: what it saved for the outcome holds for both.
	if r, ok := s.twoLists(first, second, command, rcpt); !ok {
		return r, false
	}
	if r, ok := s.settle(command, s.rcptSubject()); !ok || !s.srv.set.RejectUnlistedRecipient || s.tx.actions.discard {
		return r, ok
	}
	e := eval{s: s, command: command, subject: s.rcptSubject(), rcpt: rcpt}
	if e.rejectUnlistedRecipient(nil) == reject {
		return e.reply, false
	}
	return smtp.Reply{}, true
}

func (s *session) twoLists(first, second ruleList, command string, rcpt *smtp.Rcpt) (smtp.Reply, bool) {
	s.tx.defers.ifReject = smtp.Reply{}
	e := eval{s: s, command: command, subject: s.rcptSubject(), rcpt: rcpt}
	if e.run(first) == reject || !s.tx.actions.discard && e.run(second) == reject {
		return e.reply, false
	}
	return smtp.Reply{}, true
}

// checkPutOff evaluates the lists that smtpd_delay_reject put off.
func (s *session) checkPutOff(command string, rcpt *smtp.Rcpt) (smtp.Reply, bool) {
	if r, ok := s.list(s.srv.rules.client, command, s.clientSubject(), rcpt); !ok {
		return r, false
	}
	if r, ok := s.list(s.heloRules(), command, s.heloSubject(), rcpt); !ok {
		return r, false
	}
	if !s.tx.open { // VRFY
		return smtp.Reply{}, true
	}
	r, ok := s.list(s.srv.rules.sender, command, s.senderSubject(), rcpt)
	s.early.sender = s.tx.defers.ifPermit
	if !ok {
		return r, false
	}
	return s.checkUnlistedSender(command)
}

// heloRules is the list about the client's name: none if it gave no name.
func (s *session) heloRules() ruleList {
	if s.heloName == "" {
		return nil
	}
	return s.srv.rules.helo
}

// checkData evaluates the list of DATA and the first BDAT.
func (s *session) checkData() (smtp.Reply, bool) {
	return s.atContent(s.srv.rules.data, s.where, subject{"DATA", "Data command"})
}

func (s *session) checkEndOfData() (smtp.Reply, bool) {
	return s.atContent(s.srv.rules.endOfData, "END-OF-MESSAGE", subject{"END-OF-MESSAGE", "End-of-data"})
}

// atContent evaluates a list about the whole message; the recipient is known
// when there is only one.
func (s *session) atContent(l ruleList, command string, sub subject) (smtp.Reply, bool) {
	if len(l) == 0 {
		return smtp.Reply{}, true
	}
	var rcpt *smtp.Rcpt
	if len(s.tx.recipients) == 1 {
		rcpt = &smtp.Rcpt{To: s.tx.recipients[0].Address}
		s.rcptNow = rcpt.To
		defer func() { s.rcptNow = "" }()
	}
	s.tx.defers = pendingDefers{}
	if r, ok := s.list(l, command, sub, rcpt); !ok {
		return r, false
	}
	return s.settle(command, sub)
}

func (s *session) checkETRN(site string) (smtp.Reply, bool) {
	s.site = site
	s.tx.defers = pendingDefers{}
	if s.srv.set.DelayReject {
		if r, ok := s.list(s.srv.rules.client, "ETRN", s.clientSubject(), nil); !ok {
			return r, false
		}
		if r, ok := s.list(s.heloRules(), "ETRN", s.heloSubject(), nil); !ok {
			return r, false
		}
	} else {
		s.tx.defers.ifPermit = s.early.beforeMail()
	}
	sub := subject{site, "Etrn command"}
	if r, ok := s.list(s.srv.rules.etrn, "ETRN", sub, nil); !ok {
		return r, false
	}
	return s.settle("ETRN", sub)
}

// settle refuses what lists did not permit for sure.
func (s *session) settle(command string, sub subject) (smtp.Reply, bool) {
	saved := s.tx.defers.ifPermit
	if saved.Code == 0 {
		return smtp.Reply{}, true
	}
	e := eval{s: s, command: command, subject: sub}
	e.final(saved)
	return e.reply, false
}
