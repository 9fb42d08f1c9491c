package lmtp

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/login/dialogue"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// fakeUsers knows every user but nosuch, and is not available for tmpfail.
type fakeUsers struct{ dir string }

func (u fakeUsers) Lookup(_ context.Context, username string, _ Peer) (store.UserInfo, error) {
	local, _, _ := strings.Cut(username, "@")
	switch local {
	case "nosuch":
		return store.UserInfo{}, ErrUnknownUser
	case "tmpfail":
		return store.UserInfo{}, errors.New("database is down")
	}
	return store.UserInfo{Username: strings.ToLower(username), UID: os.Getuid(), GID: os.Getgid(), Home: filepath.Join(u.dir, strings.ToLower(username))}, nil
}

type testServer struct {
	*Server
	dir          string
	sink         *maillog.Sink
	ln, balanced net.Listener
	done         sync.WaitGroup
}

// newTestServer starts a server that saves into a directory of the test, or
// with mailer.
func newTestServer(t testing.TB, config string, mailer Mailer) *testServer {
	t.Helper()
	dir := t.TempDir()
	cfg, err := dovecot.Parse("test.conf", "login_greeting = Dovecot ready.\nmail_location = sdbox:"+dir+"/mail/%u\nfirst_valid_uid = 0\n"+config)
	if err != nil {
		t.Fatal(err)
	}
	s := &testServer{dir: dir}
	f, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	s.sink = maillog.NewFile(f, maillog.Dovecot, "")
	log := maillog.New(s.sink, "lmtp")
	if mailer == nil {
		pool := mailbox.NewPool(log)
		t.Cleanup(func() { pool.Close() })
		mailer = &Local{Dovecot: cfg, Pool: pool, Log: log}
	}
	if s.Server, err = NewServer(Config{Dovecot: cfg, Log: log, Users: fakeUsers{dir}, Deliver: mailer, TLS: dialogue.ServerTLS(t)}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s.ln = s.listen(ctx, t, Listener{})
	s.balanced = s.listen(ctx, t, Listener{HAProxy: true})
	t.Cleanup(func() {
		stop()
		s.ln.Close()
		s.balanced.Close()
		s.done.Wait()
		s.sink.Close()
	})
	return s
}

func (s *testServer) listen(ctx context.Context, t testing.TB, l Listener) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.done.Go(func() { s.Serve(ctx, conn, l) })
		}
	}()
	return ln
}

// Addr implements dialogue.Server.
func (s *testServer) Addr(name string) string {
	if name == "hlmtp" {
		return s.balanced.Addr().String()
	}
	return s.ln.Addr().String()
}

// Log implements dialogue.Server.
func (s *testServer) Log() []string {
	s.sink.Flush()
	b, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// Mail implements dialogue.Server.
func (s *testServer) Mail() string { return filepath.Join(s.dir, "mail") }
