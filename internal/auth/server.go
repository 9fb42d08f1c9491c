package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
	"github.com/dovetail-mail/dovetail/internal/auth/system"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot/ext"
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
	hashers   pool // compute expensive hashes
	workers   pool // wait for databases
	shared    *shared
}

// shared is what stays when a new configuration comes into force. Connections
// stay, too: requests that begin then are for the new server.
type shared struct {
	present   atomic.Pointer[Server]
	penalties *penalties
	lastCUID  atomic.Uint32
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
	s, err := newServer(set, dbs, setup.Files, log)
	if err == nil && setup.Worker != "" {
		s.env.System = system.NewClient(setup.Worker)
	}
	return s, err
}

func newServer(set *Settings, dbs *dovecot.Auth, files ext.Files, log *maillog.Logger) (*Server, error) {
	if set.Debug || set.DebugPasswords {
		set.Verbose = true
	}
	s := &Server{
		log: log, set: set,
		env:     &db.Env{Log: log, FirstValidUID: set.FirstValidUID, LastValidUID: set.LastValidUID, ExtFiles: files},
		names:   newUsernames(set),
		hashers: pool{max: runtime.GOMAXPROCS(0)},
		workers: pool{max: max(1, int(set.WorkerMaxCount))},
	}
	s.shared = newShared(s)
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
func (s *Server) Close() { s.env.Close() }

// openDatabases opens all sections in their order. Without userdb there is a
// static one, as in Dovecot.
func (s *Server) openDatabases(dbs *dovecot.Auth) error {
	for i := range dbs.Passdbs {
		section := &dbs.Passdbs[i]
		if section.Master && section.Deny {
			return errors.New("Master passdb can't have deny=yes")
		}
		p, err := s.openPassdb(section, i+1)
		if err != nil {
			return err
		}
		list := &s.passdbs
		if section.Master {
			list = &s.masterdbs
		}
		if p.skip == "unauthenticated" && len(*list) == 0 {
			continue // nobody is authenticated yet
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
	return nil
}

// chooseMechanisms looks up the mechanisms of auth_mechanisms.
func (s *Server) chooseMechanisms() error {
	for name := range strings.FieldsSeq(s.set.Mechanisms) {
		m, ok := sasl.Lookup(name)
		if !ok || m.NewServer == nil {
			return fmt.Errorf("Unknown authentication mechanism '%s'", strings.ToUpper(name))
		}
		if m.Flags&sasl.Anonymous == 0 && len(s.passdbs) == 0 {
			return fmt.Errorf("No passdbs specified in configuration file. %s mechanism needs one", m.Name)
		}
		s.mechs = append(s.mechs, m)
	}
	if len(s.mechs) == 0 {
		return errors.New("No authentication mechanisms configured")
	}
	return nil
}

// mechanism returns an offered mechanism.
func (s *Server) mechanism(name string) *sasl.Mechanism {
	for _, m := range s.mechs {
		if m.Name == name || strings.EqualFold(m.Name, name) {
			return m
		}
	}
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
