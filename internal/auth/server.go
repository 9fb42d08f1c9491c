package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"math"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
	"github.com/dovetail-mail/dovetail/internal/auth/password"
	"github.com/dovetail-mail/dovetail/internal/auth/system"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/sasl"
)

// A Kind is which protocol a socket speaks.
type Kind uint8

// Kinds of sockets.
const (
	KindClient Kind = iota // auth-client: SASL for Postfix and others
	KindLogin              // login/login: SASL for login processes, confirmed by REQUEST
	KindMaster             // auth-master: users, and REQUEST
	KindUserdb             // auth-userdb: users
	KindToken              // tokenlogin: not supported, connections are closed
)

// KindOf returns the kind of a listener by its name, as Dovecot decides it:
// what follows the last "-" of the file name, or all of it.
func KindOf(name string) Kind {
	name = name[strings.LastIndexByte(name, '/')+1:]
	name = name[strings.LastIndexByte(name, '-')+1:]
	switch name {
	case "login":
		return KindLogin
	case "master":
		return KindMaster
	case "userdb":
		return KindUserdb
	case "token", "tokenlogin":
		return KindToken
	}
	return KindClient
}

// A Server answers on all auth sockets of one configuration.
type Server struct {
	log       *maillog.Logger
	set       *Settings
	env       *db.Env
	names     *usernames
	mechs     []*sasl.Mechanism
	session   sasl.Session
	passdbs   []*passdb
	masterdbs []*passdb
	userdbs   []*userdb
	cache     *cache  // nil for none
	policy    *policy // nil for none
	noPenalty bool    // for any address
	hashers   *gate   // to what computes expensive hashes
	proxySelf []netip.Addr
	shared    *shared

	// verify compares a password with a stored one: password.Verify, which tests count.
	verify func(scheme, stored, plain, user string) error
}

// shared is what stays when a new configuration comes into force. Connections
// stay, too: requests that begin then are for the new server.
type shared struct {
	present   atomic.Pointer[Server]
	penalties *penalties
	lastCUID  atomic.Uint32
	onetime   onetime
	tokenKey  [32]byte

	mu     sync.Mutex
	logins map[uint32]*clientConn // of KindLogin, by process id
}

func newShared(present *Server) *shared {
	s := &shared{penalties: newPenalties(), logins: make(map[uint32]*clientConn)}
	rand.Read(s.tokenKey[:])
	s.present.Store(present)
	return s
}

// Replace puts next, which has the new configuration, in the place of s. What
// has begun goes on.
func (s *Server) Replace(next *Server) {
	next.shared = s.shared
	s.shared.present.Store(next)
	time.AfterFunc(requestTimeout, s.Close)
}

// NewServer checks the auth settings of a setup and opens its databases. Errors are
// those that Dovecot's auth process dies of at start.
func NewServer(setup *Setup, log *maillog.Logger) (*Server, error) {
	cfg := setup.Config
	set, err := dovecot.Get[Settings](cfg, dovecot.Filter{Service: "auth"})
	if err != nil {
		return nil, err
	}
	dbs, err := dovecot.Get[dovecot.Auth](cfg, dovecot.Filter{Service: "auth"})
	if err != nil {
		return nil, err
	}
	drivers, err := dovecot.Get[db.Settings](cfg, dovecot.Filter{Service: "auth"})
	if err != nil {
		return nil, err
	}
	policySettings, err := dovecot.Get[PolicySettings](cfg, dovecot.Filter{Service: "auth"})
	if err != nil {
		return nil, err
	}
	policy, err := newPolicy(policySettings, drivers, set.Verbose || set.Debug || set.DebugPasswords)
	if err != nil {
		return nil, err
	}
	s, err := newServer(set, dbs, &db.Env{Settings: *drivers, ExtFiles: setup.Files}, log)
	if err != nil {
		return nil, err
	}
	s.policy = policy
	if policy != nil && policy.set.LogOnly {
		log.Warningf("auth-policy: Currently in log-only mode. Ignoring tarpit and disconnect instructions from policy server")
	}
	if setup.Worker != "" {
		s.env.System = system.NewClient(setup.Worker)
	}
	s.noPenalty, err = penaltiesOff(cfg)
	return s, err
}

// penaltiesOff reports whether no address has to wait after failures. As in Dovecot, one
// asks for that by turning off the socket of anvil that penalties are kept behind.
func penaltiesOff(cfg *dovecot.Config) (bool, error) {
	services, err := dovecot.Services(cfg)
	if err != nil {
		return false, err
	}
	for _, s := range services {
		for _, l := range s.UnixListeners {
			if s.Name == "anvil" && l.Path == "anvil-auth-penalty" && l.Mode == 0 {
				return true, nil
			}
		}
	}
	return false, nil
}

// penalizes reports whether failures of the client's address count.
func (s *Server) penalizes(r *request) bool { return !r.noPenalty && !s.noPenalty }

func newServer(set *Settings, dbs *dovecot.Auth, env *db.Env, log *maillog.Logger) (*Server, error) {
	env.Log, env.FirstValidUID, env.LastValidUID = log, set.FirstValidUID, set.LastValidUID
	set.Debug = set.Debug || set.DebugPasswords
	set.Verbose = set.Verbose || set.Debug
	if set.VerbosePasswords == "yes" {
		set.VerbosePasswords = "plain"
	}
	s := &Server{
		log: log, set: set,
		env:     env,
		names:   newUsernames(set),
		hashers: newGate(runtime.GOMAXPROCS(0)),
		verify:  password.Verify,
	}
	if set.CacheSize > 0 && set.CacheTTL > 0 {
		s.cache = newCache(int(min(set.CacheSize, math.MaxInt)), set.CacheTTL, set.CacheNegativeTTL)
	}
	s.shared = newShared(s)
	var err error
	if s.proxySelf, err = parseProxySelf(set.ProxySelf); err != nil {
		return nil, err
	}
	s.session.Hostname, _ = os.Hostname()
	s.session.Realms = strings.Fields(set.Realms)
	s.session.Username = set.AnonymousUsername
	if err := s.openDatabases(dbs); err != nil {
		s.Close()
		return nil, err
	}
	if err := s.chooseMechanisms(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close closes the connections of the databases. Lookups fail afterwards.
func (s *Server) Close() {
	s.env.Close()
	s.policy.close()
}

// openDatabases opens all sections in their order. Without userdb there is a
// static one, as in Dovecot.
func (s *Server) openDatabases(dbs *dovecot.Auth) error {
	defer func() {
		if len(s.masterdbs) > 0 {
			s.names.master = s.masterdbs[0].name
		}
	}()
	for i := range dbs.Passdbs {
		section := &dbs.Passdbs[i]
		if section.Master && section.Deny {
			return errors.New("Master passdb can't have deny=yes")
		}
		list := &s.passdbs
		if section.Master {
			list = &s.masterdbs
		}
		if section.Skip == "unauthenticated" && len(*list) == 0 {
			continue // nobody is authenticated yet
		}
		p, err := s.openPassdb(section, i+1)
		if err != nil {
			return err
		}
		*list = append(*list, p)
	}
	userdbs := dbs.Userdbs
	if len(userdbs) == 0 {
		userdbs = []dovecot.Userdb{{Driver: "static", Skip: "never", ResultSuccess: "return-ok", ResultFailure: "continue", ResultInternalfail: "continue"}}
	}
	for i := range userdbs {
		u, err := s.openUserdb(&userdbs[i], i+1)
		if err != nil {
			return err
		}
		s.userdbs = append(s.userdbs, u)
	}
	s.env.WarnUnused()
	return nil
}

// acceptPause is how long a listener rests that cannot accept a connection.
const acceptPause = 100 * time.Millisecond

// Serve accepts connections from l until ctx is done, then closes l and the
// connections and returns nil. If l is closed, by a reload, the connections
// that are there stay.
func (s *Server) Serve(ctx context.Context, l net.Listener, kind Kind) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var sessions sync.WaitGroup
	defer sessions.Wait()
	for {
		conn, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case err != nil:
			// Out of descriptors, which any user of a public socket can bring about:
			// those who are connected go on, and others may come when some have left.
			s.log.Errorf("accept(%s) failed: %v", l.Addr(), err)
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		sessions.Go(func() { s.serveConn(ctx, conn, l, kind) })
	}
}

// serveConn serves one connection until it ends.
func (s *Server) serveConn(ctx context.Context, conn net.Conn, l net.Listener, kind Kind) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer func() {
		if v := recover(); v != nil {
			logPanic(s.log, v)
		}
	}()
	switch kind {
	case KindMaster, KindUserdb:
		newMasterConn(s, conn, l, kind).serve(ctx)
	case KindClient, KindLogin:
		newClientConn(s, conn, kind).serve(ctx)
	}
}
