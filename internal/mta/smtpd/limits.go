package smtpd

import (
	"net/netip"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// anvilKey is what the client is counted as.
func (s *session) anvilKey() anvilKey {
	length := s.srv.checks.ClientIPv6PrefixLength
	if s.client.addr.Is4() {
		length = s.srv.checks.ClientIPv4PrefixLength
	}
	client, err := s.client.addr.Prefix(length)
	if err != nil {
		client = netip.Prefix{} // no address: all of those are one client
	}
	return anvilKey{s.srv.service, client}
}

// exempt reports whether the limits do not hold for the client.
func (s *session) exempt() bool {
	return s.srv.anvil == nil || s.srv.lists.eventExempt.matches(s) || s.srv.lists.xclient.matches(s)
}

// counts says whether there is any limit on clients of this server. Where there is one, connections are
// counted too: a client without any is forgotten.
func (srv *Server) counts() bool {
	set := &srv.set
	return srv.anvil != nil && (set.ClientConnectionCountLimit > 0 || set.ClientConnectionRateLimit > 0 || set.ClientMessageRateLimit > 0 ||
		set.ClientRecipientRateLimit > 0 || set.ClientNewTLSSessionRateLimit > 0 || set.ClientAuthRateLimit > 0)
}

// admit counts the connection; ok is false when there are too many.
func (s *session) admit() (r smtp.Reply, ok bool) {
	set := &s.srv.set
	if !s.srv.counts() || s.exempt() {
		return r, true
	}
	count, rate := s.srv.anvil.connect(s.anvilKey(), s.srv.now())
	s.counted = true
	text := "Error: too many connections from " + s.client.addrText
	if limit := set.ClientConnectionCountLimit; limit > 0 && count > limit {
		s.srv.log.Warningf("Connection concurrency limit exceeded: %d from %s for service %s", count, s.client.label, s.srv.service)
		return s.hostReply(421, smtp.Enhanced{4, 7, 0}, text), false
	}
	if limit := set.ClientConnectionRateLimit; limit > 0 && rate > limit {
		s.srv.log.Warningf("Connection rate limit exceeded: %d from %s for service %s", rate, s.client.label, s.srv.service)
		return s.hostReply(421, smtp.Enhanced{4, 7, 0}, text), false
	}
	return r, true
}

// release undoes admit at the end of the session.
func (s *session) release() {
	if s.counted {
		s.srv.anvil.disconnect(s.anvilKey(), s.srv.now())
		s.counted = false
	}
}

// eventLimits are the words of the limits on events.
var eventLimits = [anvilKinds]struct{ log, reply string }{
	anvilMessages:   {"Message delivery request rate limit exceeded", "Error: too much mail from "},
	anvilRecipients: {"Recipient address rate limit exceeded", "Error: too many recipients from "},
	anvilAuth:       {"AUTH command rate limit exceeded", "Error: too many AUTH commands from "},
}

func (s *session) eventLimit(kind anvilKind) int {
	switch kind {
	case anvilMessages:
		return s.srv.set.ClientMessageRateLimit
	case anvilRecipients:
		return s.srv.set.ClientRecipientRateLimit
	case anvilAuth:
		return s.srv.set.ClientAuthRateLimit
	case anvilTLS:
		return s.srv.set.ClientNewTLSSessionRateLimit
	}
	return 0
}

// countEvent counts an event; ok is false when there were too many.
func (s *session) countEvent(kind anvilKind) (r smtp.Reply, ok bool) {
	limit := s.eventLimit(kind)
	if limit <= 0 || s.exempt() {
		return r, true
	}
	n := s.srv.anvil.add(s.anvilKey(), kind, s.srv.now())
	if n <= limit {
		return r, true
	}
	words := eventLimits[kind]
	s.srv.log.Warningf("%s: %d from %s for service %s", words.log, n, s.client.label, s.srv.service)
	return reply(450, smtp.Enhanced{4, 7, 1}, words.reply+s.client.addrText), false
}
