package login

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/haproxy"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/handoff"
	"github.com/dovetail-mail/dovetail/internal/mda/login/balancer"
)

// An Authenticator is the auth server: a [*client.Client].
type Authenticator interface {
	Mechanisms() []client.Mechanism
	Authenticate(ctx context.Context, req *client.Request, challenge client.Challenger) (client.Result, error)
}

var _ Authenticator = (*client.Client)(nil)

// A Passer hands authenticated clients to the mail process.
type Passer interface {
	// Pass sends a copy of conn's descriptor with l and returns when the mail
	// process has it, or has refused it. An error is that nobody answered.
	Pass(ctx context.Context, l *handoff.Login, conn syscall.Conn) (Passed, error)
}

// Passed is what became of a client that was passed.
type Passed struct {
	PID     int    // the mail process, for the log
	Refused string // why the mail process does not want the client; empty if it has it
	Limit   bool   // the reason is a limit on the user's connections
}

// Config is what a [Server] needs.
type Config struct {
	Dovecot *dovecot.Config
	Service string // "imap" or "pop3"
	Auth    Authenticator
	Pass    Passer
	TLS     *tls.Config     // nil: no TLS
	Log     *maillog.Logger // tag "imap-login" or "pop3-login"

	// Relays keeps the sessions that are relayed to other servers; nil for one of its own.
	Relays *Relays

	// Root is the directory that login_proxy_notify_path is relative to.
	Root string

	// MaxClients is how many clients may be here before the oldest of them is
	// disconnected for a new one (client_limit); 0 is no limit.
	MaxClients int
}

// A Listener is where a client came in.
type Listener struct {
	Name    string // of the inet_listener
	TLS     bool   // TLS from the first byte
	HAProxy bool   // a PROXY header comes first
}

// A Server serves one protocol. It is safe for concurrent use.
type Server struct {
	Config
	service string
	log     *maillog.Logger
	rules   sync.Map // variant: *rules
	headers *balancer.Reader
	proxies proxies

	verifiers sync.Map // dovecot.SSL: *tlsconf.ClientVerifier
	host      string
	pid       int
	nextID    atomic.Uint64

	// relayPatience is how long a TLS client may leave output unread.
	relayPatience time.Duration
	// goodbyeTime is how long relaying goes on when the process is to end.
	goodbyeTime time.Duration

	mu      sync.Mutex
	clients clientList
}

// NewServer returns a server for the configuration. It reads no file later.
func NewServer(cfg Config) (*Server, error) {
	s := &Server{Config: cfg, service: cfg.Service, log: cfg.Log, pid: os.Getpid(), relayPatience: relayPatience, goodbyeTime: goodbyeTime}
	if s.Relays == nil {
		s.Relays = new(Relays)
	}
	var err error
	if s.host, err = os.Hostname(); err != nil {
		return nil, err
	}
	if s.headers, err = balancer.NewReader(s.Dovecot, s.service, s.log); err != nil {
		return nil, err
	}
	r, err := s.rulesFor(netip.Addr{}, netip.Addr{}, "")
	if err != nil {
		return nil, err
	}
	s.proxies.log, s.proxies.notifyPath = s.log, filepath.Join(cfg.Root, r.set.ProxyNotifyPath)
	s.proxies.sources = parseSources(r.set.SourceIPs, s.log)
	return s, nil
}

// Serve serves a client until it was passed to a mail process or has gone; for
// a TLS client, until its session in the mail process is over. It closes conn.
// When ctx ends, clients not logged in are sent away.
func (s *Server) Serve(ctx context.Context, conn net.Conn, l Listener) {
	defer s.recover(conn)
	if rest := s.login(ctx, conn, l); rest != nil {
		rest.run(ctx)
	}
}

// recover ends the session of conn, and nothing else, when it has panicked. It
// is deferred.
func (s *Server) recover(conn net.Conn) {
	if p := recover(); p != nil {
		s.log.Print(maillog.Panic, fmt.Sprintf("%v\n%s", p, debug.Stack()))
		conn.Close()
	}
}

// A remainder is what is left here of a client that is logged in.
type remainder interface{ run(ctx context.Context) }

// login serves a client until it is authenticated. It returns nil unless bytes have to
// be relayed then: those of a TLS client, or between a client and another server.
func (s *Server) login(ctx context.Context, conn net.Conn, l Listener) remainder {
	var h *haproxy.Header
	if l.HAProxy {
		header, ok := s.headers.Read(ctx, conn)
		if !ok {
			conn.Close()
			return nil
		}
		h = &header
	}
	c, err := newSession(s, conn, l, h)
	if err != nil {
		s.log.Errorf("Error reading configuration: %v", err)
		conn.Close()
		return nil
	}
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	c.cancel = cancel
	if !s.add(c) {
		c.finish(causeQueueFull)
		return nil
	}
	defer s.remove(c)
	defer c.in.release()
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, func() { c.interrupt(textShutdown, causeShutdown) })
		defer stop()
	}
	c.run(waiting)
	switch {
	case c.relay != nil:
		return c.relay
	case c.relayed != nil:
		return c.relayed
	}
	conn.Close()
	return nil
}
