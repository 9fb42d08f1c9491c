package smtp

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/sasl"
	wire "github.com/dovetail-mail/dovetail/internal/smtp"
)

// refusals remembers logins that servers have refused with code 535 (smtp_sasl_auth_cache_name): to try a wrong password
// again and again may lock the account. Another password is tried at once.
type refusals struct {
	mu     sync.Mutex
	logins map[login]refusal
}

type login struct{ host, user string }

type refusal struct {
	password [sha256.Size]byte
	until    time.Time
	dsn      wire.Enhanced
	text     string
}

// maxRefusals bounds what is remembered. A full memory forgets any for a new one.
const maxRefusals = 10_000

func (r *refusals) store(host string, c sasl.Credentials, said *reply, limit time.Duration) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.logins == nil {
		r.logins = make(map[login]refusal)
	}
	if len(r.logins) >= maxRefusals {
		for victim := range r.logins {
			delete(r.logins, victim)
			break
		}
	}
	r.logins[login{host, c.Username}] = refusal{sha256.Sum256([]byte(c.Password)), time.Now().Add(limit), said.dsn, said.String()}
}

func (r *refusals) find(host string, c sasl.Credentials) (refusal, bool) {
	if r == nil {
		return refusal{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := login{host, c.Username}
	known, ok := r.logins[key]
	if ok && (time.Now().After(known.until) || known.password != sha256.Sum256([]byte(c.Password))) {
		delete(r.logins, key)
		ok = false
	}
	return known, ok
}

// knownRefusal is the status of a login that is known to be refused.
func (s *session) knownRefusal(c sasl.Credentials) *deliver.Status {
	known, ok := s.agent.sasl.refused.find(s.server.host, c)
	if !ok {
		return nil
	}
	r := reply{dsn: known.dsn, text: []byte(known.text)}
	if s.agent.set.SASLSoftBounce && r.dsn[0] == 5 {
		r.dsn[0] = 4
	}
	return s.rejected(&r, "SASL [CACHED] authentication failed; server "+s.server.host+" said: "+known.text)
}
