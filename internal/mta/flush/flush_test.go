package flush

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/table"
)

func newService(t *testing.T, mainCF string, flush func([]string)) *Service {
	t.Helper()
	main, err := postfix.Parse(t.TempDir(), "myhostname = mail.example.test\ninet_interfaces = 127.0.0.1\n"+mainCF)
	if err != nil {
		t.Fatal(err)
	}
	open, err := resolve.NewOpener(main, table.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(main, open, flush)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEligible(t *testing.T) {
	for _, c := range []struct {
		name, config, domain string
		ok                   bool
	}{
		{"relay domain", "relay_domains = site.test\n", "SITE.test", true},
		{"subdomain, not by default of fast_flush_domains", "relay_domains = site.test\nparent_domain_matches_subdomains =\n", "sub.site.test", false},
		{"subdomain", "relay_domains = site.test\nparent_domain_matches_subdomains = fast_flush_domains\n", "sub.site.test", true},
		{"another domain", "relay_domains = site.test\n", "other.test", false},
		{"switched off", "relay_domains = site.test\nfast_flush_domains =\n", "site.test", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			done := make(chan []string, 1)
			s := newService(t, c.config, func(domains []string) { done <- domains })
			err := s.Flush(t.Context(), c.domain)
			if c.ok != (err == nil) || !c.ok && !errors.Is(err, ErrDenied) {
				t.Fatalf("Flush: %v", err)
			}
			if c.ok {
				<-done
			}
		})
	}
}

// Who asks while a search is under way is served by the next one.
func TestOneSearchAtOnce(t *testing.T) {
	var mu sync.Mutex
	var searches [][]string
	begun, release := make(chan struct{}, 10), make(chan struct{})
	s := newService(t, "fast_flush_domains = static:all\n", func(domains []string) {
		mu.Lock()
		searches = append(searches, domains)
		mu.Unlock()
		begun <- struct{}{}
		<-release
	})
	ask := func(domain string) {
		if err := s.Flush(t.Context(), domain); err != nil {
			t.Fatal(err)
		}
	}
	ask("first.test")
	<-begun
	for range 100 {
		ask("b.test")
		ask("c.test")
	}
	close(release)
	<-begun
	mu.Lock()
	defer mu.Unlock()
	if len(searches) != 2 || !slices.Equal(searches[1], []string{"b.test", "c.test"}) {
		t.Errorf("searches for %q", searches)
	}
}
