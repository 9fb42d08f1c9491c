package flush

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
)

// Settings are the parameters of the service.
type Settings struct {
	Domains string `set:"fast_flush_domains" default:"$relay_domains" doc:"domains whose mail may be flushed with ETRN and postqueue -s"`
}

var _ = postfix.Register("flush", Settings{})

// ErrDenied says that a domain is not one of fast_flush_domains.
var ErrDenied = errors.New("destination is not eligible for fast flush service")

// Service flushes domains. It is safe for concurrent use.
type Service struct {
	domains resolve.List
	flush   func(domains []string)

	mu      sync.Mutex
	asked   []string // not begun yet
	running bool
}

// New returns the service with the parameters of main. flush tries the mail that
// waits for some domains, in lower case.
func New(main *postfix.Main, tables resolve.Opener, flush func(domains []string)) (*Service, error) {
	set, err := postfix.Get[Settings](main)
	if err != nil {
		return nil, err
	}
	s := &Service{flush: flush}
	if s.domains, err = tables.OpenList("fast_flush_domains", set.Domains, resolve.DomainList); err != nil {
		return nil, fmt.Errorf("fast_flush_domains: %w", err)
	}
	return s, nil
}

// Flush has the mail for a domain tried soon. It does not wait for that. An
// error other than [ErrDenied] is that of a table, and temporary.
func (s *Service) Flush(ctx context.Context, domain string) error {
	domain = strings.ToLower(domain)
	ok, err := s.domains.Match(ctx, domain)
	if err != nil {
		return err
	}
	if !ok {
		return ErrDenied
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.asked {
		if other == domain {
			return nil
		}
	}
	s.asked = append(s.asked, domain)
	if !s.running {
		s.running = true
		go s.run()
	}
	return nil
}

// run searches the queue until nothing more is asked for.
func (s *Service) run() {
	for {
		s.mu.Lock()
		domains := s.asked
		s.asked = nil
		if len(domains) == 0 {
			s.running = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		s.flush(domains)
	}
}
