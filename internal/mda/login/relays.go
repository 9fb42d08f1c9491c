package login

import (
	"strings"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/mda/ipc"
)

// Relays are the sessions of a login process that are relayed to other servers, or about to
// be. They stay when a new configuration comes into force. The zero value has none.
type Relays struct {
	mu  sync.Mutex
	all map[relayKicker]ipc.Session
}

// A relayKicker ends a session on behalf of doveadm.
type relayKicker interface{ kick() }

func (r *Relays) add(k relayKicker, s ipc.Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = make(map[relayKicker]ipc.Session)
	}
	r.all[k] = s
}

// replace puts next in the place of k.
func (r *Relays) replace(k, next relayKicker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all[next] = r.all[k]
	delete(r.all, k)
}

func (r *Relays) remove(k relayKicker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, k)
}

// Relayed returns the sessions that a query means. With Kick they have been told to end.
func (r *Relays) Relayed(q *ipc.Query) []ipc.Session {
	var meant []ipc.Session
	var kicked []relayKicker
	r.mu.Lock()
	for k, s := range r.all {
		if q.Matches(&s) {
			meant = append(meant, s)
			kicked = append(kicked, k)
		}
	}
	r.mu.Unlock()
	if q.Kick {
		for _, k := range kicked {
			k.kick()
		}
	}
	return meant
}

// causeKicked is how a session ends that an administrator does not want.
const causeKicked = "Disconnected by proxy: Kicked by admin"

func (p *proxy) kick() { p.interrupt("", causeKicked) }

func (r *proxyRelay) kick() { r.end(causeKicked, -1) }

// relayedSession is what doveadm is told of a session.
func (p *proxy) relayedSession(fields client.Fields) ipc.Session {
	s := ipc.Session{Service: p.srv.service, User: p.user, Remote: p.remote.Addr(), Host: p.dest.host, Server: p.dest.addr}
	for _, f := range fields {
		if strings.HasPrefix(f.Name, "user_") {
			if s.Fields == nil {
				s.Fields = make(map[string]string)
			}
			s.Fields[f.Name] = f.Value
		}
	}
	return s
}
