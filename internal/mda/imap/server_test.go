package imap

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/handoff"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

func itoa(n int) string { return strconv.Itoa(n) }

// testServer is a server for one user with an own home directory.
type testServer struct {
	srv     *Server
	cfg     *dovecot.Config
	pool    *mailbox.Pool
	home    string
	log     *maillog.Logger
	sink    *maillog.Sink
	logFile string
	ctx     context.Context
	cancel  context.CancelFunc
}

func newTestServer(t testing.TB, settings map[string]string) *testServer {
	t.Helper()
	home := t.TempDir()
	var text strings.Builder
	set := map[string]string{"mail_location": "sdbox:" + home + "/mail", "mail_fsync": "never"}
	for k, v := range settings {
		set[k] = v
	}
	for k, v := range set {
		text.WriteString(k + " = " + v + "\n")
	}
	text.WriteString("namespace inbox {\n  inbox = yes\n}\n")
	cfg, err := dovecot.Parse("test.conf", text.String())
	if err != nil {
		t.Fatal(err)
	}
	s := &testServer{cfg: cfg, home: home, logFile: filepath.Join(home, "log")}
	f, err := os.Create(s.logFile)
	if err != nil {
		t.Fatal(err)
	}
	s.sink = maillog.NewFile(f, maillog.Dovecot, "")
	s.log = maillog.New(s.sink, "imap(bob)<1><x>")
	s.pool = mailbox.NewPool(s.log)
	if s.srv, err = NewServer(Config{Dovecot: cfg, Pool: s.pool, Log: s.log}); err != nil {
		t.Fatal(err)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	t.Cleanup(func() {
		s.cancel()
		s.pool.Close()
		s.sink.Close()
	})
	return s
}

// logged returns what has been logged.
func (s *testServer) logged() string {
	s.sink.Flush()
	text, _ := os.ReadFile(s.logFile)
	return string(text)
}

// open opens the user.
func (s *testServer) open(t testing.TB) *store.User {
	t.Helper()
	user, err := store.OpenUser(s.ctx, s.cfg, store.UserInfo{Username: "bob", Home: s.home, Service: "imap"}, s.pool, s.log)
	if err != nil {
		t.Fatal(err)
	}
	return user
}

// dial connects a session.
func (s *testServer) dial(t *testing.T) net.Conn {
	conn, _ := s.serve(t)
	return conn
}

// serve connects a session and returns a channel that is closed when it has ended.
func (s *testServer) serve(t testing.TB) (net.Conn, <-chan struct{}) {
	t.Helper()
	client, conn := tcpPair(t)
	user := s.open(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer user.Close()
		s.srv.Serve(s.ctx, conn, handoff.Login{}, user)
	}()
	t.Cleanup(func() {
		client.Close()
		<-done
	})
	return client, done
}

// tcpPair returns two ends of a connection.
func tcpPair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return client, server
}
