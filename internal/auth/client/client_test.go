package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/auth"
	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/sasl"
)

const testUsers = `alice:{PLAIN}secret:1001:1002::/home/alice::userdb_quota_rule=*:storage=10M
bob:{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=:1003:1003::/home/bob
closed:{PLAIN}secret:1004:1004::/h::nologin reason=Closed
slow:{BLF-CRYPT}$2y$05$ZPHrjMTsZw/ewKeXl61iJO2k87a96t7ZAmNDZN.q.tdat2ZbN/McO:1005:1005::/h
`

const testConf = `auth_mechanisms = plain login cram-md5
auth_failure_delay = 0
passdb {
  driver = passwd-file
  args = %[1]s/users
}
userdb {
  driver = passwd-file
  args = %[1]s/users
}
`

// startServer returns the directory of the sockets login, auth-client,
// auth-master.
func startServer(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "users"), []byte(testUsers), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := dovecot.Parse("dovecot.conf", fmt.Sprintf(testConf, dir))
	if err != nil {
		t.Fatal(err)
	}
	s, err := auth.NewServer(&auth.Setup{Config: cfg}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"login", "auth-client", "auth-master"} {
		listen(t, s, filepath.Join(dir, name), auth.KindOf(name))
	}
	return dir
}

// listen serves one socket and returns what stops that.
func listen(t testing.TB, s *auth.Server, path string, kind auth.Kind) (stop func()) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l, kind) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func dial(t testing.TB, path string) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), "unix", path, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func plain(user, password string) *client.Request {
	return &client.Request{
		Mechanism: "PLAIN", Service: "imap", Secured: true, NoPenalty: true,
		Remote:  netip.MustParseAddrPort("192.0.2.9:1234"),
		Initial: []byte("\x00" + user + "\x00" + password), HasInitial: true,
	}
}

func TestAuthenticate(t *testing.T) {
	c := dial(t, filepath.Join(startServer(t), "auth-client"))
	if got := len(c.Mechanisms()); got != 3 {
		t.Fatalf("%d mechanisms: %v", got, c.Mechanisms())
	}
	if m := c.Mechanisms()[0]; m.Name != "PLAIN" || m.Flags != sasl.Plaintext {
		t.Errorf("first mechanism is %v", m)
	}
	r, err := c.Authenticate(t.Context(), plain("Alice", "secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if orig, _ := r.Fields.Get("original_user"); r.User != "alice" || orig != "Alice" {
		t.Errorf("got %+v", r)
	}
	r, err = c.Authenticate(t.Context(), plain("closed", "secret"), nil)
	if reason, _ := r.Fields.Get("reason"); err != nil || !r.Fields.Has("nologin") || reason != "Closed" {
		t.Errorf("got %+v, %v", r, err)
	}
	var failure *client.Failure
	_, err = c.Authenticate(t.Context(), plain("alice", "wrong"), nil)
	if !errors.As(err, &failure) || failure.User != "alice" || failure.Temp {
		t.Errorf("wrong password: got %v", err)
	}
	_, err = c.Authenticate(t.Context(), &client.Request{Mechanism: "FOO", Service: "imap"}, nil)
	if !errors.Is(err, client.ErrMechanism) {
		t.Errorf("unknown mechanism: got %v", err)
	}
}

// TestMechanisms has each mechanism's client side log in.
func TestMechanisms(t *testing.T) {
	c := dial(t, filepath.Join(startServer(t), "auth-client"))
	for _, name := range []string{"PLAIN", "LOGIN", "CRAM-MD5"} {
		for _, password := range []string{"secret", "wrong"} {
			mech, _ := sasl.Lookup(name)
			exchange := mech.NewClient(sasl.Credentials{Username: "alice", Password: password})
			req := &client.Request{Mechanism: name, Service: "smtp", NoPenalty: true}
			req.Initial, _ = exchange.Start()
			req.HasInitial = req.Initial != nil
			r, err := c.Authenticate(t.Context(), req, exchange.Next)
			if password == "secret" && (err != nil || r.User != "alice") {
				t.Errorf("%s: %v, %v", name, r, err)
			}
			if password == "wrong" && err == nil {
				t.Errorf("%s: wrong password was accepted", name)
			}
		}
	}
}

func TestAbort(t *testing.T) {
	c := dial(t, filepath.Join(startServer(t), "auth-client"))
	req := &client.Request{Mechanism: "LOGIN", Service: "smtp"}
	_, err := c.Authenticate(t.Context(), req, func([]byte) ([]byte, error) { return nil, client.ErrAborted })
	if !errors.Is(err, client.ErrAborted) {
		t.Errorf("got %v, want ErrAborted", err)
	}
	if _, err := c.Authenticate(t.Context(), plain("alice", "secret"), nil); err != nil {
		t.Errorf("after an abort: %v", err)
	}
}

func TestMaster(t *testing.T) {
	dir := startServer(t)
	c := dial(t, filepath.Join(dir, "login"))
	m, err := client.DialMaster(t.Context(), "unix", filepath.Join(dir, "auth-master"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	lookup := client.Lookup{Service: "lmtp"}
	u, err := m.User(t.Context(), "ALICE", lookup)
	quota, _ := u.Fields.Get("quota_rule")
	if err != nil || u.Username != "alice" || u.UID != 1001 || u.GID != 1002 || u.Home != "/home/alice" || quota != "*:storage=10M" {
		t.Errorf("User: %+v, %v", u, err)
	}
	if _, err := m.User(t.Context(), "nosuch", lookup); !errors.Is(err, client.ErrUnknownUser) {
		t.Errorf("unknown user: %v", err)
	}
	if f, err := m.Pass(t.Context(), "closed", lookup); err != nil || !f.Has("nologin") {
		t.Errorf("Pass: %v, %v", f, err)
	}
	var names []string
	if err := m.List(t.Context(), "*", "doveadm", func(name string) { names = append(names, name) }); err != nil || len(names) != 4 {
		t.Errorf("List: %v, %v", names, err)
	}
	if n, err := m.FlushCache(t.Context()); err != nil || n != 0 {
		t.Errorf("FlushCache: %d, %v", n, err)
	}
	r, err := c.Authenticate(t.Context(), plain("bob", "secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if u, err = m.Request(t.Context(), r.PID, r.ID, r.Cookie); err != nil || u.Username != "bob" || u.UID != 1003 {
		t.Errorf("Request: %+v, %v", u, err)
	}
	if _, err = m.Request(t.Context(), r.PID, r.ID, r.Cookie); err == nil {
		t.Error("a login was confirmed twice")
	}
}

// TestReconnect restarts the server under a client.
func TestReconnect(t *testing.T) {
	dir := startServer(t)
	cfg, err := dovecot.Parse("dovecot.conf", fmt.Sprintf(testConf, dir))
	if err != nil {
		t.Fatal(err)
	}
	s, err := auth.NewServer(&auth.Setup{Config: cfg}, nil)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "again")
	stop := listen(t, s, path, auth.KindClient)
	c := dial(t, path)
	if _, err := c.Authenticate(t.Context(), plain("alice", "secret"), nil); err != nil {
		t.Fatal(err)
	}
	stop()
	listen(t, s, path, auth.KindClient)
	for range 100 { // the client may not have noticed yet
		if _, err = c.Authenticate(t.Context(), plain("alice", "secret"), nil); err == nil {
			return
		}
	}
	t.Errorf("the client did not come back: %v", err)
}

// TestConcurrent mixes quick and slow logins of many callers on one connection.
func TestConcurrent(t *testing.T) {
	c := dial(t, filepath.Join(startServer(t), "auth-client"))
	var wg sync.WaitGroup
	for i := range 16 {
		user := []string{"alice", "bob", "slow"}[i%3]
		wg.Go(func() {
			for j := range 20 {
				password := []string{"secret", "wrong"}[j%2]
				r, err := c.Authenticate(t.Context(), plain(user, password), nil)
				if (password == "secret") != (err == nil) || (err == nil && r.User != user) {
					t.Errorf("%s: %v, %v", user, r, err)
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkLogin is PLAIN logins through client, socket and server, of 32
// callers.
func BenchmarkLogin(b *testing.B) {
	c := dial(b, filepath.Join(startServer(b), "auth-client"))
	req := plain("alice", "secret")
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Authenticate(context.Background(), req, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkUser is userdb lookups the same way.
func BenchmarkUser(b *testing.B) {
	m, err := client.DialMaster(b.Context(), "unix", filepath.Join(startServer(b), "auth-master"), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := m.User(context.Background(), "alice", client.Lookup{Service: "lmtp"}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
