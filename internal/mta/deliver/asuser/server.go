package asuser

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/master"
)

// Role is the role of the privileged process.
const Role = "local"

// ListenerName is that of the socket on which the mta asks.
const ListenerName = "asuser"

// SocketPath is where the socket is.
func SocketPath(queueDirectory string) string {
	return filepath.Join(queueDirectory, "private", ListenerName)
}

// Messages between the mta and the server.
const (
	kindRequest = "request"
	kindReply   = "reply"
	kindCancel  = "cancel"
)

// A Setup is what the server goes by.
type Setup struct {
	Core     *postfix.Core
	Owner    master.Identity // of the mta, which asks
	Services map[string]*Service
	// Serve serves the listeners of spawn(8), by the index of their entry.
	Serve map[int]func(net.Listener)
}

// NewService returns an entry of master.cf for local(8), virtual(8), pipe(8) or spawn(8).
// An error means that it cannot be served.
func NewService(main *postfix.Main, e *postfix.ServiceEntry, log *maillog.Logger) (*Service, error) {
	s := &Service{Main: main, Entry: e}
	var err error
	if s.set, err = postfix.Get[Settings](main); err != nil {
		return nil, err
	}
	if s.core, err = postfix.Get[postfix.Core](main); err != nil {
		return nil, err
	}
	switch e.Command {
	case "pipe":
		s.pipe, err = ParsePipe(e)
	case "spawn":
	case "virtual":
		s.virtual, err = s.set.locks("virtual_mailbox_lock", s.set.VirtualLock)
	default:
		if s.local, err = s.set.mailboxLocks(); err == nil {
			s.grants, err = newIncludes(main, s.set, log)
		}
	}
	return s, err
}

// A server is the privileged process.
type server struct {
	p     *master.Process
	setup atomic.Pointer[Setup]
	users *users
	pool  *pool
	host  string
	work  sync.WaitGroup
}

// Run is the life of the privileged process. load reads the configuration that the
// master gave last.
func Run(p *master.Process, load func() (*Setup, error)) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	unix.Umask(0o077)
	setup, err := load()
	if err != nil {
		return err
	}
	// Commands begin where Postfix's daemons are.
	if err := os.Chdir(setup.Core.QueueDirectory); err != nil {
		return err
	}
	s := &server{p: p, users: newUsers(setup.Owner)}
	if s.host, err = maildirHost(); err != nil {
		return err
	}
	s.setup.Store(setup)
	s.pool = &pool{spec: s.helperSpec, log: p.Log, single: master.SingleUser(), idle: make(map[rights][]*helper)}
	s.accept(p.Listeners())
	if err := p.Ready(); err != nil {
		return err
	}
	go func() {
		defer stop()
		s.control(load)
	}()
	<-ctx.Done()
	p.CloseListeners()
	s.pool.close()
	return nil
}

// control takes the master's messages until it is gone.
func (s *server) control(load func() (*Setup, error)) {
	for {
		msg, err := s.p.Control.Receive()
		if err != nil {
			return
		}
		if msg.Kind != "reload" {
			msg.CloseFiles()
			continue
		}
		s.p.Reload(&msg, func(listeners []*master.Listener) error { //nolint:errcheck // the master is told
			setup, err := load()
			if err != nil {
				return err
			}
			s.setup.Store(setup)
			s.accept(listeners)
			return nil
		})
	}
}

// helperSpec is what a helper is.
func (s *server) helperSpec(r rights) master.Spec {
	spec := master.Spec{Role: RoleHelper, Title: "postfix/local", Log: master.LogTarget{Style: maillog.Postfix, Tag: s.setup.Load().Core.SyslogName + "/local"},
		LogFiles: master.LogFiles{Main: os.Stderr}}
	if !s.pool.single {
		spec.Identity = master.Identity{Change: true, UID: int(r.uid), GID: int(r.gid), Groups: []int{int(r.gid)}}
	}
	return spec
}

func (s *server) accept(listeners []*master.Listener) {
	for _, l := range listeners {
		if serve := s.setup.Load().Serve[l.Index]; serve != nil && l.Name != ListenerName {
			s.work.Go(func() { serve(l) })
			continue
		}
		s.work.Go(func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					if err := s.greet(conn); err != nil && !errors.Is(err, net.ErrClosed) {
						s.p.Log.Warningf("private/%s socket: %v", ListenerName, err)
					}
				}()
			}
		})
	}
}

// greet takes the socket that a client passes, if it is the mta, and serves it.
func (s *server) greet(conn net.Conn) error {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return errors.New("not a UNIX-domain socket")
	}
	if err := s.isOwner(uc); err != nil {
		return err
	}
	f, err := receiveFile(uc)
	if err != nil {
		return err
	}
	c, err := master.NewConn(f)
	if err != nil {
		return err
	}
	defer c.Close()
	(&session{server: s, conn: c, gone: make(chan struct{}), running: make(map[uint64]chan struct{})}).run()
	return nil
}

// isOwner refuses whoever is neither the mta nor root: the directory of the socket
// should have kept them out already.
func (s *server) isOwner(uc *net.UnixConn) error {
	raw, err := uc.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { peer, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return err
	}
	if credErr != nil {
		return credErr
	}
	owner := s.setup.Load().Owner
	if int(peer.Uid) == os.Geteuid() || owner.Change && int(peer.Uid) == owner.UID {
		return nil
	}
	return fmt.Errorf("request from uid %d, who is not the mail system, is refused", peer.Uid)
}

// maildirHost is this machine's name in the names of Maildir files.
func maildirHost() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("hostname: %w", err)
	}
	return hostReplacer.Replace(host), nil
}
