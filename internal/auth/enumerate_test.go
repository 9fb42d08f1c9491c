package auth

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
	"github.com/dovetail-mail/dovetail/internal/auth/password"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// work is the comparisons of passwords that a server makes.
type work struct {
	mu   sync.Mutex
	done []string // scheme and cost of each
}

// verify counts instead of computing.
func (w *work) verify(scheme, stored, plain, _ string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	cost, _, _ := strings.Cut(strings.TrimPrefix(stored, "$6$"), "$")
	w.done = append(w.done, scheme+" "+cost)
	if plain != "secret" {
		return password.ErrMismatch
	}
	return nil
}

// take returns what was done since it was last called.
func (w *work) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	done := w.done
	w.done = nil
	return done
}

// chainServer serves with a configuration; @DIR@ is where the files are.
func chainServer(t *testing.T, config string, files map[string]string) (*Server, *work) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := dovecot.Parse("dovecot.conf", strings.ReplaceAll(config, "@DIR@", dir))
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(&Setup{Config: cfg}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	w := &work{}
	s.verify = w.verify
	return s, w
}

// An unknown user makes the passdbs do the work that a known one does: the same
// comparisons, of the same cost, also from the cache and with several passdbs.
func TestUnknownUsersWork(t *testing.T) {
	const (
		many = "alice:{SHA512-CRYPT}$6$rounds=20000$abcdefgh$x\n"
		few  = "bob:$6$rounds=1000$abcdefgh$x\n"
	)
	passdb := func(file, more string) string {
		return "passdb {\n  driver = passwd-file\n  args = @DIR@/" + file + "\n" + more + "}\n"
	}
	for _, tt := range []struct{ name, config string }{
		{"one passdb", passdb("many", "")},
		{"two", passdb("many", "") + passdb("few", "")},
		{"cache", "auth_cache_size = 1M\n" + passdb("many", "")},
		{"all must agree", passdb("many", "  result_success = continue-ok\n") + passdb("few", "  result_failure = return-fail\n")},
		{"cached hash in a worker", "auth_cache_size = 1M\nauth_cache_verify_password_with_worker = yes\n" + passdb("many", "")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, w := chainServer(t, tt.config, map[string]string{"many": many, "few": few})
			try := func(user, pass string) []string {
				req := &db.Request{User: user, OriginalUser: user, Password: pass, Service: "imap", Mechanism: "PLAIN", Log: s.log}
				chain := s.newPassChain(req, purposeVerify)
				r, done := chain.run(context.Background(), false)
				if !done {
					r, done = chain.run(context.Background(), true)
				}
				if !done || (r == resultOK) {
					t.Errorf("%s: %v, %v", user, r, done)
				}
				return w.take()
			}
			try("alice", "wrong") // the first one teaches what a comparison costs
			try("bob", "wrong")
			known := try("alice", "wrong, too")
			if len(known) == 0 {
				t.Fatal("no comparison for a user who is known")
			}
			for range 2 { // the second time the cache may know that there is no such user
				if got := try("nobody", "wrong"); !slices.Equal(got, known) {
					t.Errorf("unknown user: %q, known one: %q", got, known)
				}
				if got := try("nobody", "secret"); !slices.Equal(got, known) {
					t.Errorf("unknown user, decoy's password: %q", got)
				}
			}
		})
	}
}

// Before any user was known the decoy is of the default scheme.
func TestFirstDecoy(t *testing.T) {
	s, w := chainServer(t, "passdb {\n  driver = passwd-file\n  args = scheme=SHA512-CRYPT @DIR@/users\n}\n", map[string]string{"users": "alice:x\n"})
	req := &db.Request{User: "nobody", OriginalUser: "nobody", Password: "x", Service: "imap", Mechanism: "PLAIN", Log: s.log}
	chain := s.newPassChain(req, purposeVerify)
	if r, done := chain.run(context.Background(), true); r != resultUnknown || !done {
		t.Errorf("%v, %v", r, done)
	}
	if done := w.take(); len(done) != 1 || !strings.HasPrefix(done[0], "SHA512-CRYPT ") {
		t.Errorf("%q", done)
	}
}

// A thousand wrong passwords from one address, each of which takes a second to compare, cost
// a right one from elsewhere two or three turns.
func TestGoodAmongExpensive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := chainServer(t, "passdb {\n  driver = passwd-file\n  args = @DIR@/users\n}\n", map[string]string{"users": "alice:{SHA512-CRYPT}$6$abcdefgh$x\n"})
		s.verify = func(_, _, plain, _ string) error {
			time.Sleep(time.Second)
			if plain != "secret" {
				return password.ErrMismatch
			}
			return nil
		}
		ask := func(pass, ip string) (result, time.Duration) {
			begun := time.Now()
			req := &db.Request{User: "alice", Password: pass, Mechanism: "PLAIN", Log: s.log, Remote: netip.AddrPortFrom(netip.MustParseAddr(ip), 1)}
			chain := s.newPassChain(req, purposeVerify)
			r, _ := chain.run(context.Background(), true)
			return r, time.Since(begun)
		}
		var failing sync.WaitGroup
		for i := range 1000 {
			failing.Go(func() {
				if r, _ := ask(fmt.Sprint("wrong ", i), "192.0.2.1"); r != resultMismatch {
					t.Errorf("result %v", r)
				}
			})
		}
		synctest.Wait()
		for range 3 {
			if r, took := ask("secret", "192.0.2.2"); r != resultOK || took > 3*time.Second {
				t.Errorf("%v after %v", r, took)
			}
		}
		failing.Wait()
	})
}
