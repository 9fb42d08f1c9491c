package smtp

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	wire "github.com/dovetail-mail/dovetail/internal/smtp"
)

// An attempt is the work on one request. A recipient is decided when its status
// was reported; one that a server refused for now, or whose server broke down, is not
// as long as another server is left to try.
type attempt struct {
	agent  *Agent
	req    *deliver.Request
	report func(int, deliver.Status)

	left  []int  // recipients not decided, by index in the request
	soft  []soft // those of them that the server at hand refused for now
	last  deliver.Status
	notes []string // what went wrong at the server at hand, logged if another one is tried
	tried []string // addresses of servers whose kept connections were used

	mu        sync.Mutex
	session   *session // to be interrupted when the context ends
	cancelled bool
}

// A soft status is one that another server may change.
type soft struct {
	rcpt   int
	status deliver.Status
}

// Deliver implements [deliver.Agent].
func (a *Agent) Deliver(ctx context.Context, r *deliver.Request, report func(int, deliver.Status)) {
	t, _ := a.attempts.Get().(*attempt)
	if t == nil {
		t = new(attempt)
	}
	t.agent, t.req, t.report, t.last = a, r, report, noServer
	for i := range r.Recipients {
		t.left = append(t.left, i)
	}
	stop := context.AfterFunc(ctx, t.interrupt)
	t.run(ctx)
	t.settle(ctx)
	if stop() { // else interrupt may still use it
		clear(t.soft)
		*t = attempt{left: t.left[:0], soft: t.soft[:0], notes: t.notes[:0], tried: t.tried[:0]}
		a.attempts.Put(t)
	}
}

// run tries a kept connection, and then the servers of each site in turn.
func (t *attempt) run(ctx context.Context) {
	t.reuse(ctx)
	if t.over(ctx) {
		return
	}
	sites := t.sites()
	for i, site := range sites {
		if t.over(ctx) {
			return
		}
		t.next()
		route, failed := t.agent.destination(ctx, site)
		if failed == nil {
			t.tryServers(ctx, site, route.servers)
			if route.final {
				return
			}
			continue
		}
		// A site that may work later is not forgotten for one that never will.
		if failed.Action == deliver.Deferred || t.last.Action == deliver.Bounced || t.last.Text == noServer.Text {
			t.last = *failed
		}
		if route.final { // the fallback would make it worse
			t.last = *failed
			return
		}
		if failed.Action == deliver.Bounced {
			t.suspect(i, len(sites))
		}
	}
}

// over says whether there is nothing left to do, or no time to do it.
func (t *attempt) over(ctx context.Context) bool { return len(t.left) == 0 || ctx.Err() != nil }

// sites are the next hop, which may be a list, and after it the fallback.
func (t *attempt) sites() []string {
	sites := strings.FieldsFunc(t.req.Nexthop, isListSeparator)
	if t.agent.set.FallbackRelay != "" && !strings.HasPrefix(t.req.Nexthop, "unix:") {
		sites = append(sites, strings.FieldsFunc(t.agent.set.FallbackRelay, isListSeparator)...)
	}
	return sites
}

func isListSeparator(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\r' || r == '\n' }

// suspect turns the failure of a site that only a mistake in the configuration
// can explain into a temporary one.
func (t *attempt) suspect(site, sites int) {
	switch {
	case t.agent.set.FallbackRelay != "" && site == sites-1:
		t.agent.log.Warningf("%sfallback_relay configuration problem", t.agent.protocol.prefix())
	case site == 0 && t.req.Nexthop == t.agent.core.Relayhost:
		t.agent.log.Warningf("relayhost configuration problem")
	default:
		return
	}
	if t.last.Action == deliver.Bounced {
		t.last.Action, t.last.Enhanced, t.last.Dead = deliver.Deferred, wire.Enhanced{4, 3, 5}, true
	}
}

// reuse tries connections that were kept for the same next hop. One that the server
// closed meanwhile says nothing of the server.
func (t *attempt) reuse(ctx context.Context) {
	a := t.agent
	for !t.over(ctx) {
		s := a.cache.take(t.req.Nexthop)
		if s == nil {
			return
		}
		if !s.alive() {
			s.close()
			continue
		}
		err := t.transact(ctx, s)
		if err == errStale {
			s.close()
			continue
		}
		t.tried = append(t.tried, s.server.address)
		t.release(ctx, s, err)
		return
	}
}

// tryServers tries the servers of a site in their order.
func (t *attempt) tryServers(ctx context.Context, site string, servers []server) {
	set := t.agent.set
	sessions := 0
	for i := range servers {
		if set.MXAddressLimit > 0 && i == set.MXAddressLimit || set.MXSessionLimit > 0 && sessions == set.MXSessionLimit {
			return
		}
		srv := &servers[i]
		if slices.Contains(t.tried, srv.address) {
			continue
		}
		t.next()
		s, failed := t.connect(ctx, site, srv)
		if failed != nil {
			t.fail(*failed)
			if t.over(ctx) {
				return
			}
			continue
		}
		sessions++
		t.release(ctx, s, t.transact(ctx, s))
		if t.over(ctx) {
			return
		}
	}
}

// next goes on to another server: what the last one said is only logged.
func (t *attempt) next() {
	for _, note := range t.notes {
		t.agent.log.Infof("%s: %s", t.req.Message.ID, note)
	}
	if n := len(t.soft); n > 0 {
		t.last = t.soft[n-1].status
	}
	t.notes, t.soft = t.notes[:0], t.soft[:0]
}

// fail ends what one server can do for all recipients that have no status of
// their own. A permanent status decides them.
func (t *attempt) fail(status deliver.Status) {
	if t.mayChange(&status) {
		t.last = status
		if status.Relay != "none" {
			t.notes = append(t.notes, status.Text)
		}
		return
	}
	n := 0
	for _, i := range t.left {
		if t.isSoft(i) {
			t.left[n] = i
			n++
			continue
		}
		t.report(i, status)
	}
	t.left = t.left[:n]
}

// decide gives one recipient its status.
func (t *attempt) decide(i int, status deliver.Status) {
	if t.mayChange(&status) {
		t.soft = append(t.soft, soft{i, status})
		t.notes = append(t.notes, status.Text)
		return
	}
	if at := slices.Index(t.left, i); at >= 0 {
		t.left = slices.Delete(t.left, at, at+1)
	}
	t.report(i, status)
}

// mayChange tells whether another server is to be tried.
func (t *attempt) mayChange(status *deliver.Status) bool {
	return status.Action == deliver.Deferred || status.Action == deliver.Bounced && t.agent.core.SoftBounce
}

func (t *attempt) isSoft(i int) bool {
	return slices.ContainsFunc(t.soft, func(s soft) bool { return s.rcpt == i })
}

// settle reports all recipients that are left.
func (t *attempt) settle(ctx context.Context) {
	if ctx.Err() != nil {
		t.last = interrupted
	}
	for i := range t.soft {
		s := &t.soft[i]
		if at := slices.Index(t.left, s.rcpt); at >= 0 {
			t.left = slices.Delete(t.left, at, at+1)
			t.report(s.rcpt, s.status)
		}
	}
	for _, i := range t.left {
		t.report(i, t.last)
	}
}

// release keeps a session that is fit for more, and ends any other.
func (t *attempt) release(ctx context.Context, s *session, err error) {
	t.watch(s) // its message is decided: waiting may be interrupted again
	defer t.watch(nil)
	a := t.agent
	switch {
	case err != nil:
		s.close()
	case s.unfit, !a.keeps(ctx, t.req.Nexthop), ctx.Err() != nil,
		a.set.ReuseCountLimit > 0 && s.uses >= a.set.ReuseCountLimit,
		time.Since(s.opened) > a.set.ReuseTimeLimit,
		s.r.Buffered() > 0: // it said more than it was asked
		s.quit()
	default:
		t.watch(nil)
		t.tellPostmaster(ctx, s)
		a.cache.put(t.req.Nexthop, s)
		return
	}
	t.tellPostmaster(ctx, s)
}

// watch names the session that is interrupted when the context ends; nil is none, as
// while the server has the message and may accept it.
func (t *attempt) watch(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.session = s
	if t.cancelled && s != nil {
		s.interrupt()
	}
}

// interrupt is called when the context ends.
func (t *attempt) interrupt() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cancelled = true
	if t.session != nil {
		t.session.interrupt()
	}
}

// noServer is what stands when no server could be tried.
var noServer = deliver.Status{
	Action: deliver.Deferred, Enhanced: wire.Enhanced{4, 3, 0}, Relay: "none", Dead: true,
	Text: "server unavailable or unable to receive mail",
}

// interrupted is for recipients that were not decided when the context ended.
var interrupted = deliver.Status{
	Action: deliver.Deferred, Enhanced: wire.Enhanced{4, 3, 2}, Relay: "none", Text: "mail system is shutting down",
}
