package lmtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/login/balancer"
	"github.com/dovetail-mail/dovetail/internal/mda/login/trusted"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// ErrUnknownUser is what a [Userdb] returns for a user who does not exist.
var ErrUnknownUser = errors.New("user doesn't exist")

// A Userdb tells who a recipient is.
type Userdb interface {
	// Lookup returns the user of a name, which is the recipient's address
	// without detail. It returns ErrUnknownUser for one who does not exist; every
	// other error is temporary.
	Lookup(ctx context.Context, username string, from Peer) (store.UserInfo, error)
}

// A Peer is the client on whose behalf a user is looked up.
type Peer struct {
	Local, Remote net.Addr
	Session       string
	Secured       bool
	Forward       string // fields that a proxy passed on, separated by TAB
}

// A Mailer saves messages.
type Mailer interface {
	// Deliver saves a copy for one recipient, into the mailbox named by
	// detail or, if that is empty, INBOX. It returns when the copy is durable. An
	// error that is a *store.Error carries what the MTA is told; every error
	// but an over-quota one is temporary.
	Deliver(ctx context.Context, user store.UserInfo, detail string, env Envelope, msg Content) error
}

// Content is a message with the lines this server has put in front, its lines
// ending in CRLF. Several deliveries may read it, one after the other.
type Content interface {
	io.ReaderAt
	Size() int64
}

// An Envelope is what a delivery knows of a message besides its content.
type Envelope struct {
	Sender    string `json:"sender"`    // empty: the null sender
	Recipient string `json:"recipient"` // as the MTA gave it, with detail; ORCPT if there was one
	Session   string `json:"session"`   // session identifier of this delivery, for the log
	HeaderLen int64  `json:"header_len,omitempty"`
}

// Config is what a [Server] needs.
type Config struct {
	Dovecot *dovecot.Config
	Log     *maillog.Logger // lines get the tag "lmtp(pid)"
	Users   Userdb
	Passdb  Passdb // asked where mailboxes are with lmtp_proxy
	Deliver Mailer
	TLS     *tls.Config // nil: no STARTTLS
}

// A Listener is where a client came in.
type Listener struct {
	TLS     bool // TLS from the first byte
	HAProxy bool // a PROXY header comes first
}

// A Server serves LMTP clients. It is safe for concurrent use.
type Server struct {
	users   Userdb
	passdb  Passdb // nil without lmtp_proxy
	deliver Mailer
	conf    *dovecot.Config
	tls     *tls.Config
	log     *maillog.Logger
	set     *Settings
	host    string
	trusted trusted.Networks
	headers *balancer.Reader
	pid     int
	clients atomic.Uint64 // so far

	mu     sync.Mutex
	active map[string]uint32 // deliveries under way by user, if there is a limit
}

// NewServer returns a server for the configuration.
func NewServer(cfg Config) (*Server, error) {
	set, err := dovecot.Get[Settings](cfg.Dovecot, dovecot.Filter{Service: "lmtp"})
	if err != nil {
		return nil, err
	}
	s := &Server{users: cfg.Users, deliver: cfg.Deliver, tls: cfg.TLS, set: set, host: set.Hostname, pid: os.Getpid(), conf: cfg.Dovecot}
	if set.Proxy {
		if s.passdb = cfg.Passdb; s.passdb == nil {
			return nil, errors.New("lmtp_proxy: no passdb is known here")
		}
	}
	s.log = cfg.Log.With("lmtp(" + strconv.Itoa(s.pid) + ")")
	if s.host == "" {
		if s.host, err = os.Hostname(); err != nil {
			return nil, err
		}
	}
	if s.headers, err = balancer.NewReader(cfg.Dovecot, "lmtp", s.log); err != nil {
		return nil, err
	}
	if s.trusted, err = trusted.Parse("login_trusted_networks", set.TrustedNetworks); err != nil {
		return nil, err
	}
	if set.UserConcurrencyLimit > 0 {
		s.active = make(map[string]uint32)
	}
	return s, nil
}

// Serve serves one client until it leaves. When ctx ends, the client is sent
// away after the command under way. Serve closes conn.
func (s *Server) Serve(ctx context.Context, conn net.Conn, l Listener) {
	defer conn.Close()
	defer func() {
		if p := recover(); p != nil {
			s.log.Print(maillog.Panic, fmt.Sprintf("%v\n%s", p, debug.Stack()))
		}
	}()
	c := newSession(s, conn)
	if l.HAProxy {
		h, ok := s.headers.Read(ctx, conn)
		if !ok {
			return
		}
		c.balanced(&h)
	}
	defer c.close()
	c.run(ctx, l)
}

// enter counts a recipient of user, unless lmtp_user_concurrency_limit is reached.
func (s *Server) enter(user string) bool {
	if s.active == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active[user] >= s.set.UserConcurrencyLimit {
		return false
	}
	s.active[user]++
	return true
}

func (s *Server) leave(user string) {
	if s.active == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active[user]--; s.active[user] == 0 {
		delete(s.active, user)
	}
}
