package login

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/handoff"
	"github.com/dovetail-mail/dovetail/internal/mda/login/dialogue"
	"github.com/dovetail-mail/dovetail/internal/sasl"
)

// fakeAuth knows one password, "pass", for every user; users named after an
// answer get that answer.
type fakeAuth struct {
	mechanisms []client.Mechanism
	hang       chan struct{} // the user "hang" waits for it to be closed
}

func newFakeAuth() *fakeAuth {
	return &fakeAuth{mechanisms: []client.Mechanism{{Name: "PLAIN", Flags: sasl.Plaintext}}, hang: make(chan struct{})}
}

func (a *fakeAuth) Mechanisms() []client.Mechanism { return a.mechanisms }

// failures are the users whose logins fail in a way of their own.
var failures = map[string]client.Failure{
	"temp":     {Code: client.CodeTempFail, Temp: true},
	"authz":    {Code: client.CodeAuthzFail},
	"disabled": {Code: client.CodeUserDisabled},
	"reasoned": {Code: client.CodeUserDisabled, Reason: "Own reason"},
	"expired":  {Code: client.CodePassExpired},
	"locked":   {Fields: client.Fields{{Name: "nologin"}}},
}

func (a *fakeAuth) Authenticate(ctx context.Context, req *client.Request, challenge client.Challenger) (client.Result, error) {
	msg := req.Initial
	for !req.HasInitial || len(msg) > 0 && msg[0] == '?' {
		var err error
		if msg, err = challenge(nil); err != nil {
			return client.Result{}, err
		}
		req.HasInitial = true
	}
	parts := bytes.Split(msg, []byte{0})
	if len(parts) != 3 {
		return client.Result{}, &client.Failure{}
	}
	user, password := string(parts[1]), string(parts[2])
	if user == "hang" {
		select {
		case <-a.hang:
		case <-ctx.Done():
			return client.Result{}, ctx.Err()
		}
	}
	if user == "lost" {
		return client.Result{}, errors.New("connection lost")
	}
	if f, ok := failures[user]; ok {
		f.User = user
		return client.Result{}, &f
	}
	if password != "pass" {
		return client.Result{}, &client.Failure{User: user}
	}
	fields := client.Fields{{Name: "user", Value: user}}
	if user == "closed" {
		fields = append(fields, client.Field{Name: "nologin"}, client.Field{Name: "reason", Value: "Sorry closed"})
	}
	return client.Result{ID: 7, PID: 42, Cookie: "c0", User: user, Fields: fields}, nil
}

// fakeMail takes clients as the mail process does. It greets them as being
// logged in, and then sends back what they send.
type fakeMail struct {
	mu     sync.Mutex
	logins []handoff.Login
	refuse string
	err    error
}

func (m *fakeMail) Pass(_ context.Context, l *handoff.Login, conn syscall.Conn) (Passed, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	copied := *l
	copied.Input = bytes.Clone(l.Input)
	m.logins = append(m.logins, copied)
	if m.refuse != "" || m.err != nil {
		return Passed{Refused: m.refuse, Limit: m.refuse != ""}, m.err
	}
	c, err := dupConn(conn)
	if err != nil {
		return Passed{}, err
	}
	go m.serve(c, &copied)
	return Passed{PID: 99}, nil
}

func (m *fakeMail) serve(c net.Conn, l *handoff.Login) {
	defer c.Close()
	hello := "+OK Logged in.\r\n"
	if l.Tag != "" {
		hello = l.Tag + " OK Logged in\r\n"
	}
	io.WriteString(c, hello)
	c.Write(l.Input)
	io.Copy(c, c)
}

// dupConn makes a connection of a copy of the descriptor.
func dupConn(conn syscall.Conn) (net.Conn, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	raw.Control(func(orig uintptr) { fd, err = unix.FcntlInt(orig, unix.F_DUPFD_CLOEXEC, 0) })
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "passed")
	defer f.Close()
	return net.FileConn(f)
}

// testServer is a server with its listeners.
type testServer struct {
	*Server
	auth  *fakeAuth
	mail  *fakeMail
	log   string
	sink  *maillog.Sink
	ports map[string]net.Listener
	stop  context.CancelFunc
	done  sync.WaitGroup
}

// newTestServer starts a server for "imap" or "pop3".
func newTestServer(t testing.TB, service, config string, change ...func(*Config)) *testServer {
	t.Helper()
	cfg, err := dovecot.Parse("test.conf", "login_greeting = Dovecot ready.\n"+config)
	if err != nil {
		t.Fatal(err)
	}
	s := &testServer{auth: newFakeAuth(), mail: new(fakeMail), log: filepath.Join(t.TempDir(), "log")}
	f, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	s.sink = maillog.NewFile(f, maillog.Dovecot, "")
	c := Config{
		Dovecot: cfg, Service: service, Auth: s.auth, Pass: s.mail, TLS: dialogue.ServerTLS(t),
		Log: maillog.New(s.sink, service+"-login"),
	}
	for _, fn := range change {
		fn(&c)
	}
	if s.Server, err = NewServer(c); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	s.ports = map[string]net.Listener{}
	for _, l := range []Listener{
		{Name: service}, {Name: service + "s", TLS: true},
		{Name: "h" + service, HAProxy: true}, {Name: "h" + service + "s", TLS: true, HAProxy: true},
	} {
		s.ports[l.Name] = s.listen(ctx, t, l)
	}
	t.Cleanup(func() {
		s.stop()
		for _, ln := range s.ports {
			ln.Close()
		}
		s.done.Wait()
		s.sink.Close()
	})
	return s
}

func (s *testServer) listen(ctx context.Context, t testing.TB, l Listener) net.Listener {
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
	if name == "" {
		name = s.service
	}
	return s.ports[name].Addr().String()
}

// Log implements dialogue.Server.
func (s *testServer) Log() []string {
	s.sink.Flush()
	b, err := os.ReadFile(s.log)
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// Mail implements dialogue.Server.
func (s *testServer) Mail() string { return "" }
