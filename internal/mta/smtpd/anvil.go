package smtpd

import (
	"net/netip"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// Anvil is anvil(8): it counts connections and events per service and client
// address. It is safe for concurrent use.
type Anvil struct {
	unit    time.Duration
	log     *maillog.Logger // tag "postfix/anvil[pid]"
	mu      sync.Mutex
	clients map[anvilKey]*anvilClient
	peaks   [anvilKinds + 1]peak
	size    peak
	swept   time.Time
}

type anvilKey struct {
	service string
	client  netip.Prefix // its network, as smtpd_client_ipv4_prefix_length and _ipv6_ say
}

// String is how statistics name a client: without length if it is one address.
func (k anvilKey) String() string {
	client := k.client.String()
	if k.client.IsSingleIP() {
		client = k.client.Addr().String()
	}
	return k.service + ":" + client
}

// anvilClient counts for one client. Rates are those of the current unit of
// time, as with Postfix: they start at zero when it is over.
type anvilClient struct {
	count int
	rates [anvilKinds]int
	start [anvilKinds]time.Time
}

// anvilKind is an event with a rate.
type anvilKind uint8

const (
	anvilConnections anvilKind = iota
	anvilMessages
	anvilRecipients
	anvilTLS
	anvilAuth
	anvilKinds
)

// peak is the greatest count since the last report.
type peak struct {
	n   int
	key anvilKey
	at  time.Time
}

// NewAnvil returns counters with the given unit of time
// (anvil_rate_time_unit).
func NewAnvil(unit time.Duration, log *maillog.Logger) *Anvil {
	return &Anvil{unit: unit, log: log, clients: make(map[anvilKey]*anvilClient)}
}

// connect counts a connection and returns how many the client has open, and
// opened in the current unit of time.
func (a *Anvil) connect(key anvilKey, now time.Time) (count, rate int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sweep(now)
	c := a.client(key)
	c.count++
	if c.count > a.peaks[anvilKinds].n {
		a.peaks[anvilKinds] = peak{c.count, key, now}
	}
	if n := len(a.clients); n > a.size.n {
		a.size = peak{n, key, now}
	}
	return c.count, a.event(c, key, anvilConnections, now)
}

func (a *Anvil) disconnect(key anvilKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.clients[key]; c != nil {
		c.count--
	}
}

// add counts an event and returns how many there were.
func (a *Anvil) add(key anvilKey, kind anvilKind, now time.Time) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.event(a.client(key), key, kind, now)
}

func (a *Anvil) client(key anvilKey) *anvilClient {
	c := a.clients[key]
	if c == nil {
		c = new(anvilClient)
		a.clients[key] = c
	}
	return c
}

func (a *Anvil) event(c *anvilClient, key anvilKey, kind anvilKind, now time.Time) int {
	if now.Sub(c.start[kind]) >= a.unit {
		c.start[kind], c.rates[kind] = now, 0
	}
	c.rates[kind]++
	if n := c.rates[kind]; n > a.peaks[kind].n {
		a.peaks[kind] = peak{n, key, now}
	}
	return c.rates[kind]
}

// sweep forgets clients that have no connection and did nothing for a unit of
// time.
func (a *Anvil) sweep(now time.Time) {
	if now.Sub(a.swept) < a.unit {
		return
	}
	a.swept = now
	for key, c := range a.clients {
		idle := c.count == 0
		for _, start := range c.start {
			idle = idle && now.Sub(start) >= a.unit
		}
		if idle {
			delete(a.clients, key)
		}
	}
}

var peakNames = [...]string{
	anvilConnections: "connection rate", anvilKinds: "connection count", anvilMessages: "message rate",
	anvilRecipients: "recipient rate", anvilTLS: "newtls rate", anvilAuth: "auth rate",
}

// Report logs the greatest counts since the last report; the caller does so
// every anvil_status_update_time and at the end.
func (a *Anvil) Report() {
	a.mu.Lock()
	peaks, size := a.peaks, a.size
	a.peaks, a.size = [anvilKinds + 1]peak{}, peak{}
	a.mu.Unlock()
	for _, kind := range [...]anvilKind{anvilConnections, anvilKinds, anvilMessages, anvilRecipients, anvilTLS, anvilAuth} {
		p := &peaks[kind]
		if p.n == 0 {
			continue
		}
		if kind == anvilKinds {
			a.log.Infof("statistics: max %s %d for (%s) at %s", peakNames[kind], p.n, p.key, p.at.Format(time.Stamp))
			continue
		}
		a.log.Infof("statistics: max %s %d/%ds for (%s) at %s", peakNames[kind], p.n, int(a.unit.Seconds()), p.key, p.at.Format(time.Stamp))
	}
	if size.n > 0 {
		a.log.Infof("statistics: max cache size %d at %s", size.n, size.at.Format(time.Stamp))
	}
}

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

// admit counts the connection; ok is false when there are too many.
func (s *session) admit() (r smtp.Reply, ok bool) {
	set := &s.srv.set
	if s.srv.anvil == nil || s.srv.lists.xclient.matches(s) || set.ClientConnectionCountLimit == 0 && set.ClientConnectionRateLimit == 0 {
		return r, true
	}
	count, rate := s.srv.anvil.connect(s.anvilKey(), s.srv.now())
	s.counted = true
	if s.srv.lists.eventExempt.matches(s) {
		return r, true
	}
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
		s.srv.anvil.disconnect(s.anvilKey())
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
