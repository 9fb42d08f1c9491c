package mail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mda/handoff"
	"github.com/dovetail-mail/dovetail/internal/mda/hibernate"
	"github.com/dovetail-mail/dovetail/internal/mda/imap"
	"github.com/dovetail-mail/dovetail/internal/mda/lmtp"
	"github.com/dovetail-mail/dovetail/internal/mda/lmtp/logprefix"
	"github.com/dovetail-mail/dovetail/internal/mda/pop3"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// A process is the running mail process.
type process struct {
	p    *master.Process
	log  *maillog.Logger
	pool *mailbox.Pool
	set  atomic.Pointer[servers]

	ctx      context.Context // ends when sessions must
	sessions sync.WaitGroup
	active   atomic.Int64
	users    userConnections
	running  running

	received atomic.Uint64 // messages with work
	remote   *remoteMailer
	owners   owners
	waiter   hibernate.Waiter
	tidy     tidier
	lastWork atomic.Int64 // unix time in nanoseconds

	crowdedUntil atomic.Int64 // likewise: see isCrowded
}

// servers are the protocol servers under one configuration. Sessions keep the
// ones that they began with.
type servers struct {
	cfg      *dovecot.Config
	settings map[string]*Settings
	prefix   map[string]*logprefix.Settings
	userdb   string        // path of the socket auth-userdb
	idle     time.Duration // how long a process without sessions waits for another
	imap     *imap.Server
	pop3     *pop3.Server
	lmtp     *lmtp.Server
}

// Run serves until the master closes the control socket or tells it to stop.
func Run(p *master.Process) error {
	if err := p.Drop(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	m := &process{p: p, log: p.Log, ctx: ctx, pool: mailbox.NewPool(p.Log)}
	if p.Identity.Change {
		m.remote = newRemoteMailer(p.Control)
		m.pool.RecoverForeign(func(top string) error { return m.remote.recover(ctx, top) })
	}
	m.pool.UseJournals()
	defer context.AfterFunc(ctx, m.running.stopAll)()
	m.received.Store(1) // what the process began with
	defer m.pool.Close()
	if err := m.configure(); err != nil {
		return err
	}
	for _, l := range p.Listeners() {
		go m.serveLMTP(l)
	}
	if err := p.Ready(); err != nil {
		return err
	}
	go m.tellIdle()
	ended := make(chan error, 1)
	go func() { ended <- m.control() }()
	var err error
	select {
	case <-ctx.Done():
	case err = <-ended: // the master let us go: finish what is under way
	}
	p.CloseListeners()
	m.sessions.Wait()
	m.owners.close()
	m.waiter.Close() //nolint:errcheck // nobody is waited for
	return err
}

// configure makes servers for the configuration that the master sent last.
func (m *process) configure() error {
	cfg := new(dovecot.Config)
	if err := cfg.UnmarshalBinary(m.p.Config); err != nil {
		return err
	}
	s := &servers{cfg: cfg, settings: make(map[string]*Settings), prefix: make(map[string]*logprefix.Settings)}
	var err error
	for _, service := range []string{"imap", "pop3"} {
		if s.settings[service], err = dovecot.Get[Settings](cfg, dovecot.Filter{Service: service}); err != nil {
			return err
		}
		if s.prefix[service], err = dovecot.Get[logprefix.Settings](cfg, dovecot.Filter{Service: service}); err != nil {
			return err
		}
	}
	if s.userdb, s.idle, err = processSettings(cfg); err != nil {
		return err
	}
	if s.imap, err = imap.NewServer(imap.Config{Dovecot: cfg, Pool: m.pool, Log: m.log, Crowded: m.isCrowded}); err != nil {
		return err
	}
	if s.pop3, err = pop3.NewServer(pop3.Config{Dovecot: cfg, Pool: m.pool, Log: m.log}); err != nil {
		return err
	}
	if len(m.p.Listeners()) > 0 {
		if s.lmtp, err = m.newLMTP(cfg, s.userdb); err != nil {
			return err
		}
	}
	m.set.Store(s)
	return nil
}

func (m *process) newLMTP(cfg *dovecot.Config, socket string) (*lmtp.Server, error) {
	users, err := newUserdb(m.ctx, socket, m.log)
	if err != nil {
		return nil, err
	}
	if set, err := dovecot.Get[Settings](cfg, dovecot.Filter{Service: "lmtp"}); err != nil {
		return nil, err
	} else if set.MailUID != "" && m.remote == nil {
		users.uid, users.gid = os.Getuid(), os.Getgid()
	} else if set.MailUID != "" {
		if users.uid, users.gid, err = mailOwner(set); err != nil {
			return nil, err
		}
	}
	local := &lmtp.Local{Dovecot: cfg, Pool: m.pool, Log: m.log, Owners: m.owners.lookup(socket, "lmtp", m.log)}
	tlsConfig, err := tlsconf.Dovecot(cfg, dovecot.Filter{Service: "lmtp"})
	if err != nil {
		return nil, err
	}
	return lmtp.NewServer(lmtp.Config{
		Dovecot: cfg, Log: m.log, Users: users, Passdb: users, TLS: tlsConfig,
		Deliver: &router{local: local, remote: m.remote, uid: os.Getuid()},
	})
}

// control serves the master's messages.
func (m *process) control() error {
	for {
		msg, err := m.p.Control.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, master.ErrDescriptors) {
			return err
		}
		m.lastWork.Store(time.Now().UnixNano())
		switch msg.Kind {
		case KindLogin:
			m.received.Add(1)
			m.accept(&msg)
		case KindDeliver:
			m.received.Add(1)
			m.deliver(&msg)
		case KindRecover:
			m.received.Add(1)
			m.recoverFor(&msg)
		case KindKick:
			m.received.Add(1)
			m.running.kick(&msg)
			msg.CloseFiles()
		case KindDelivered:
			if m.remote != nil {
				m.remote.answered(&msg)
			}
		case "reload":
			m.reload(&msg)
			m.received.Add(1)
		default:
			msg.CloseFiles()
		}
	}
}

func (m *process) reload(msg *master.Message) {
	err := m.p.Reload(msg, func(listeners []*master.Listener) error {
		if err := m.configure(); err != nil {
			return err
		}
		for _, l := range listeners {
			go m.serveLMTP(l)
		}
		return nil
	})
	if err != nil {
		m.log.Errorf("reload: %v", err)
	}
}

// accept starts the session of a connection.
func (m *process) accept(msg *master.Message) {
	var login Login
	if err := msg.Decode(&login); err != nil {
		m.log.Errorf("login: %v", err)
		msg.CloseFiles()
		return
	}
	conn, err := m.take(msg, &login)
	if err != nil {
		go m.decline(&login, err)
		return
	}
	m.sessions.Add(1)
	m.active.Add(1)
	go m.admit(conn, &login)
}

// admit says whether the connection is wanted, and starts its session if so. It is
// not done by whoever receives from the master, who must never wait for it, nor by
// the session, whose stack stays small.
func (m *process) admit(conn net.Conn, login *Login) {
	set := m.set.Load()
	limit := set.settings[login.Login.Service].MaxUserIPConnections
	release, ok := m.users.take(login.Login.Service, &login.User, limit)
	accepted := Accepted{ID: login.ID}
	if ok {
		go m.session(conn, login, set, release)
	} else {
		accepted.Refused = fmt.Sprintf("Maximum number of connections from user+IP exceeded (mail_max_userip_connections=%d)", limit)
		conn.Close()
		defer m.finished()
	}
	if err := m.p.Control.Send(KindAccepted, &accepted); err != nil {
		m.log.Errorf("login: %v", err)
	}
}

// recover ends one session, and nothing else, when serving it has panicked outside
// of what its protocol recovers. It is deferred.
func (m *process) recover(login *Login) {
	if p := recover(); p != nil {
		m.log.With(login.Login.Service+"("+login.User.Username+")").Print(maillog.Panic, fmt.Sprintf("%v\n%s", p, debug.Stack()))
	}
}

func (m *process) finished() {
	m.lastWork.Store(time.Now().UnixNano())
	m.active.Add(-1)
	m.sessions.Done()
}

// refuse tells a client, whose login was right, why it cannot be served.
func refuse(conn net.Conn, login *handoff.Login, text string) {
	reply := "-ERR [SYS/TEMP] " + text + "\r\n"
	if login.Service == "imap" {
		reply = "* BYE " + text + "\r\n"
	}
	conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(conn, reply) //nolint:errcheck // the connection is closed either way
}

// tellIdle tells the master when there has been nothing to do for a while.
func (m *process) tellIdle() {
	m.lastWork.Store(time.Now().UnixNano())
	for {
		idle := m.set.Load().idle
		time.Sleep(min(max(idle/4, 250*time.Millisecond), 15*time.Second))
		if m.active.Load() > 0 || time.Since(time.Unix(0, m.lastWork.Load())) < idle {
			continue
		}
		if len(m.p.Listeners()) > 0 {
			continue // the LMTP process stays
		}
		m.p.Control.Send(KindIdle, Idle{Received: m.received.Load()}) //nolint:errcheck // control ends the process if the master is gone
	}
}

// serveLMTP accepts LMTP clients until the listener is closed.
func (m *process) serveLMTP(l *master.Listener) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			m.log.With("lmtp").Errorf("accept(%s) failed: %v", l.Name, err)
			time.Sleep(100 * time.Millisecond) // out of descriptors: existing sessions go on
			continue
		}
		m.sessions.Add(1)
		m.active.Add(1)
		go func() {
			defer m.finished()
			defer conn.Close()
			m.set.Load().lmtp.Serve(m.ctx, conn, lmtp.Listener{TLS: l.TLS, HAProxy: l.HAProxy})
		}()
	}
}
