package smtpd

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// Anvil is anvil(8): it counts connections and events per service and client
// address. It is safe for concurrent use.
type Anvil struct {
	log     *maillog.Logger // tag "postfix/anvil[pid]"
	changed chan struct{}   // tells Run of other settings
	mu      sync.Mutex
	unit    time.Duration // anvil_rate_time_unit
	every   time.Duration // anvil_status_update_time
	clients map[anvilKey]*anvilClient
	peaks   [anvilKinds + 1]peak
	size    peak
	swept   int64 // seconds of the epoch
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
// time, as with Postfix: all start at zero together when it is over, and Postfix
// counts in whole seconds.
type anvilClient struct {
	count int
	rates [anvilKinds]int
	start int64 // of the unit of time
	gone  int64 // when the last connection ended
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
	return &Anvil{unit: unit, log: log, clients: make(map[anvilKey]*anvilClient), changed: make(chan struct{}, 1)}
}

// Configure sets the unit of time and how often [Anvil.Run] reports, and reports now: Postfix's anvil ends at
// each reload. Unlike there, what was counted still counts.
func (a *Anvil) Configure(unit, every time.Duration) {
	a.Report()
	a.mu.Lock()
	a.unit, a.every = unit, every
	a.mu.Unlock()
	select {
	case a.changed <- struct{}{}:
	default: // Run has not seen the last change yet
	}
}

// Run reports at times, from the first [Anvil.Configure] until ctx ends.
func (a *Anvil) Run(ctx context.Context) {
	var due <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-due:
			a.Report()
		case <-a.changed:
		}
		a.mu.Lock()
		due = time.After(a.every)
		a.mu.Unlock()
	}
}

// connect counts a connection and returns how many the client has open, and
// opened in the current unit of time.
func (a *Anvil) connect(key anvilKey, now time.Time) (count, rate int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sweep(now.Unix())
	c := a.client(key, now.Unix())
	rate = a.event(c, key, anvilConnections, now)
	c.count++
	if c.count > a.peaks[anvilKinds].n {
		a.peaks[anvilKinds] = peak{c.count, key, now}
	}
	if n := len(a.clients); n > a.size.n {
		a.size = peak{n, key, now}
	}
	return c.count, rate
}

// disconnect takes back one connection.
func (a *Anvil) disconnect(key anvilKey, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.clients[key]; c != nil {
		c.count--
		c.gone = now.Unix()
	}
}

// add counts an event and returns how many there were.
func (a *Anvil) add(key anvilKey, kind anvilKind, now time.Time) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.event(a.client(key, now.Unix()), key, kind, now)
}

// rate returns how many events there were in the current unit of time.
func (a *Anvil) rate(key anvilKey, kind anvilKind, now time.Time) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.clients[key]
	if c == nil || a.over(c, now.Unix()) {
		return 0
	}
	return c.rates[kind]
}

// client returns the counts of a client, new ones if there are none that are still of use.
func (a *Anvil) client(key anvilKey, now int64) *anvilClient {
	c := a.clients[key]
	if c == nil || a.stale(c, now) {
		c = &anvilClient{start: now, gone: now}
		a.clients[key] = c
	}
	return c
}

// over says whether the unit of time that a client's rates are of has passed.
func (a *Anvil) over(c *anvilClient, now int64) bool { return c.start+int64(a.unit.Seconds()) < now }

// stale says whether a client has had no connection for a unit of time: then it is forgotten.
func (a *Anvil) stale(c *anvilClient, now int64) bool {
	return c.count <= 0 && c.gone+int64(a.unit.Seconds()) <= now
}

// event counts one.
func (a *Anvil) event(c *anvilClient, key anvilKey, kind anvilKind, now time.Time) int {
	if a.over(c, now.Unix()) {
		c.start, c.rates = now.Unix(), [anvilKinds]int{}
	}
	c.rates[kind]++
	if n := c.rates[kind]; n > a.peaks[kind].n {
		a.peaks[kind] = peak{n, key, now}
	}
	return c.rates[kind]
}

// sweep forgets clients, once in a unit of time.
func (a *Anvil) sweep(now int64) {
	if now-a.swept < int64(a.unit.Seconds()) {
		return
	}
	a.swept = now
	for key, c := range a.clients {
		if a.stale(c, now) {
			delete(a.clients, key)
		}
	}
}

var peakNames = [...]string{
	anvilConnections: "connection rate", anvilKinds: "connection count", anvilMessages: "message rate",
	anvilRecipients: "recipient rate", anvilTLS: "newtls rate", anvilAuth: "auth rate",
}

// Report logs the greatest counts since the last report.
func (a *Anvil) Report() {
	a.mu.Lock()
	peaks, size, unit := a.peaks, a.size, a.unit
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
		a.log.Infof("statistics: max %s %d/%ds for (%s) at %s", peakNames[kind], p.n, int(unit.Seconds()), p.key, p.at.Format(time.Stamp))
	}
	if size.n > 0 {
		a.log.Infof("statistics: max cache size %d at %s", size.n, size.at.Format(time.Stamp))
	}
}
