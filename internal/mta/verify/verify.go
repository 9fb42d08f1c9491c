package verify

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/cleanup"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
)

// Config is what a Service works with.
type Config struct {
	Main    *postfix.Main
	Cleanup *cleanup.Cleanup // takes the probes
	Log     *maillog.Logger  // tag "postfix/verify[pid]"
	Now     func() time.Time
	// Previous is the service of the configuration before, if there was one:
	// its results are used further.
	Previous *Service
}

// An Answer is what is known of an address.
type Answer struct {
	Status Status
	Text   string // what the delivery agent said
}

// Service verifies addresses. It is safe for concurrent use.
type Service struct {
	set     Settings
	core    postfix.Core
	cleanup *cleanup.Cleanup
	log     *maillog.Logger
	now     func() time.Time
	probes  sync.WaitGroup
	*cache
}

// A cache is the results, which outlive a configuration.
type cache struct {
	mu       sync.Mutex
	entries  map[string]entry
	changed  chan struct{} // something is to be written
	answered chan struct{} // closed when a result comes
}

// newCache returns an empty cache.
func newCache() *cache {
	return &cache{entries: make(map[string]entry), changed: make(chan struct{}, 1), answered: make(chan struct{})}
}

const (
	// maxEntries bounds the cache: clients choose the addresses.
	maxEntries = 1 << 20
	maxText    = 4096
	maxAddress = 1024
)

// New returns a service with the parameters of c.Main and the results of its
// cache. Results are written while [Service.Run] runs.
func New(c Config) (*Service, error) {
	s := &Service{cleanup: c.Cleanup, log: c.Log, now: c.Now}
	if s.now == nil {
		s.now = time.Now
	}
	if err := c.Main.Decode(&s.set); err != nil {
		return nil, err
	}
	if err := c.Main.Decode(&s.core); err != nil {
		return nil, err
	}
	if c.Previous != nil && c.Previous.set.Map == s.set.Map {
		s.cache = c.Previous.cache
		return s, nil
	}
	s.cache = newCache()
	s.read()
	return s, nil
}

// cacheKey is the key of an address. The colon of an IPv6 address has a meaning
// in some tables.
func cacheKey(address string) string {
	return strings.ReplaceAll(strings.ToLower(address), ":", "_")
}

// Query tells what is known of an address, and sends a probe if that is
// nothing, or too old.
func (s *Service) Query(ctx context.Context, address string) Answer {
	now := s.now().Unix()
	key := cacheKey(address)
	s.mu.Lock()
	e, known := s.entries[key]
	if !known || s.expired(&e, now) {
		e = entry{status: Unknown, text: "Address verification in progress"}
	}
	probe := s.stale(&e, now) && len(address) <= maxAddress
	if probe {
		e.probed = now
		if (e.updated != 0 || s.set.NegativeCache) && (known || len(s.entries) < maxEntries) {
			s.entries[key] = e
			s.touch()
		}
	}
	s.mu.Unlock()
	if probe {
		s.probes.Go(func() { s.probe(context.WithoutCancel(ctx), address) })
	}
	return Answer{e.status, e.text}
}

// Poll asks up to count times, delay apart, until the answer is not
// [Unknown]; it looks as soon as a result comes (address_verify_poll_count,
// address_verify_poll_delay).
func (s *Service) Poll(ctx context.Context, address string, count int, delay time.Duration) Answer {
	limit := time.NewTimer(delay * time.Duration(max(count-1, 0)))
	defer limit.Stop()
	for {
		s.mu.Lock()
		answered := s.answered
		s.mu.Unlock()
		a := s.Query(ctx, address)
		if a.Status != Unknown || count <= 1 {
			return a
		}
		select {
		case <-answered:
		case <-limit.C:
			count = 1
		case <-ctx.Done():
			return a
		}
	}
}

// Result takes what a probe found out; the queue manager calls it.
func (s *Service) Result(address string, found deliver.Action, text string) {
	status := Deliverable
	switch found {
	case deliver.Deferred:
		status = Deferred
	case deliver.Bounced:
		status = Undeliverable
	}
	if len(text) > maxText {
		text = text[:maxText]
	}
	now := s.now().Unix()
	key := cacheKey(address)
	s.mu.Lock()
	defer s.mu.Unlock()
	old, known := s.entries[key]
	// One failure does not make a good address bad before its time: it is
	// probed again later.
	if status == Deliverable || old.status != Deliverable || !known {
		if known || len(s.entries) < maxEntries {
			s.entries[key] = entry{status: status, updated: now, text: printable(text)}
		}
	}
	s.touch()
	close(s.answered)
	s.answered = make(chan struct{})
}

// printable replaces control characters: the text is of another system.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return '?'
		}
		return c
	}, s)
}

// touch says that something is to be written.
func (s *Service) touch() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// probe sends one.
func (s *Service) probe(ctx context.Context, address string) {
	sender := s.Sender()
	out, err := s.cleanup.Start(ctx, cleanup.Origin{Sender: sender, Local: true, Internal: true, Source: "verify"})
	if err == nil {
		now := s.now()
		head := "Received: by " + s.core.Myhostname + " (" + s.core.MailName + ")\r\n\tid " + out.ID() + "; " +
			string(cleanup.AppendDate(nil, now)) + "\r\n\r\n"
		if _, err = out.Write([]byte(head)); err != nil {
			out.Abort()
		} else {
			err = out.Finish(ctx, &queue.Envelope{
				Sender: sender, Recipients: []queue.Recipient{{Address: address, Original: address}},
				RewriteContext: "local", Verify: true,
			})
		}
	}
	if err != nil {
		s.log.Warningf("address probe for <%s>: %v", address, err)
	}
}

// Sender is the sender of probes now.
func (s *Service) Sender() string {
	if s.set.Sender == "" || s.set.Sender == "<>" {
		return ""
	}
	if s.set.SenderTTL == 0 {
		return s.set.Sender
	}
	return s.senderAt(s.now().Unix() / seconds(s.set.SenderTTL))
}

// senderAt is the sender of probes in one period of address_verify_sender_ttl: its
// number, in base 31, stands behind the user.
func (s *Service) senderAt(period int64) string {
	user, domain, at := strings.Cut(s.set.Sender, "@")
	user += senderDigits(period)
	if at {
		user += "@" + domain
	}
	return user
}

// senderDigits writes a number as Postfix does: digits and consonants, which make
// no words.
func senderDigits(n int64) string {
	const digits = "0123456789bcdfghjklmnpqrstvwxyz"
	b := strconv.FormatInt(n, len(digits))
	out := []byte(b)
	for i, c := range out {
		v := int(c - '0')
		if c >= 'a' {
			v = int(c-'a') + 10
		}
		out[i] = digits[v]
	}
	return string(out)
}

// IsSender says whether an address is the sender of probes: of this period of
// address_verify_sender_ttl, or one before or after. Servers that are probed may
// probe it.
func (s *Service) IsSender(address string) bool {
	if s.set.Sender == "" || s.set.Sender == "<>" {
		return false
	}
	want := []string{s.set.Sender}
	if s.set.SenderTTL > 0 {
		period := s.now().Unix() / seconds(s.set.SenderTTL)
		want = []string{s.senderAt(period - 1), s.senderAt(period), s.senderAt(period + 1)}
	}
	for _, w := range want {
		if !strings.Contains(w, "@") {
			w += "@" + s.core.Myorigin
		}
		if strings.EqualFold(w, address) {
			return true
		}
	}
	return false
}
