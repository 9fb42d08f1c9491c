package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mda/handoff"
	"github.com/dovetail-mail/dovetail/internal/mda/login"
	"github.com/dovetail-mail/dovetail/internal/mda/mail"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// RunLogin is a login process. It serves until its master is gone or tells it
// to stop.
func RunLogin(p *master.Process) error {
	if err := p.Drop(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	l := &loginProcess{p: p, ctx: ctx, protocol: strings.TrimSuffix(p.Arg, "-login")}
	l.passer.conn = p.Control
	if err := l.configure(); err != nil {
		return err
	}
	for _, listener := range p.Listeners() {
		go l.accept(listener)
	}
	if err := p.Ready(); err != nil {
		return err
	}
	go func() {
		defer stop()
		l.control()
	}()
	<-ctx.Done()
	p.CloseListeners()
	l.clients.Wait()
	return nil
}

type loginProcess struct {
	p        *master.Process
	ctx      context.Context
	protocol string // "imap"
	server   atomic.Pointer[login.Server]
	auth     *client.Client
	passer   passer
	relays   login.Relays

	config     []byte // when it last connected to auth
	generation uint32 // how often it has
	clients    sync.WaitGroup
}

// configure makes the server of the present configuration.
func (l *loginProcess) configure() error {
	cfg := new(dovecot.Config)
	if err := cfg.UnmarshalBinary(l.p.Config); err != nil {
		return err
	}
	filter := dovecot.Filter{Service: l.protocol}
	core, err := dovecot.Get[dovecot.Master](cfg, filter)
	if err != nil {
		return err
	}
	if !bytes.Equal(l.p.Config, l.config) { // not just a log file that was rotated
		if err := l.connectAuth(l.authSocket(core)); err != nil {
			return err
		}
		l.config = l.p.Config
	}
	tlsConfig, err := tlsconf.DovecotLogin(cfg, filter)
	if err != nil {
		return err
	}
	limit, err := clientLimit(cfg, l.p.Arg)
	if err != nil {
		return err
	}
	srv, err := login.NewServer(login.Config{
		Dovecot: cfg, Service: l.protocol, Auth: l.auth, Pass: &l.passer, TLS: tlsConfig, Log: l.p.Log, MaxClients: limit, Relays: &l.relays,
		Root: filepath.Dir(l.authSocket(core)),
	})
	if err != nil {
		return err
	}
	l.server.Store(srv)
	return nil
}

// oldAuthGrace is how long a connection to auth goes on when another has taken its
// place: longer than clients may take to log in (3 minutes).
const oldAuthGrace = 5 * time.Minute

// generationShift is how far the number of reloads is moved in what auth takes
// for the process id of a connection: Linux has none over 4 million.
const generationShift = 22

// connectAuth connects to auth, which tells on each connection what it offers.
// Clients that are logging in go on with the connection that they began with.
func (l *loginProcess) connectAuth(path string) error {
	pid := uint32(os.Getpid()) + l.generation<<generationShift
	c, err := client.Dial(l.ctx, "unix", path, client.Options{PID: pid, Log: l.p.Log})
	if err != nil {
		return err
	}
	l.generation++
	if old := l.auth; old != nil {
		time.AfterFunc(oldAuthGrace, func() { old.Close() })
	}
	l.auth = c
	return nil
}

// authSocket is the path of login/login as this process sees it: in the
// root directory, once it has changed to that.
func (l *loginProcess) authSocket(core *dovecot.Master) string {
	if l.p.Identity.Change && l.p.Identity.Chroot != "" {
		return "/login"
	}
	return filepath.Join(core.BaseDir, "login", "login")
}

// clientLimit is how many clients may be logging in at a time.
func clientLimit(cfg *dovecot.Config, service string) (int, error) {
	services, err := dovecot.Services(cfg)
	if err != nil {
		return 0, err
	}
	for _, s := range services {
		switch {
		case s.Name != service:
		case s.ServiceCount == 1: // a process per client
			return int(s.ProcessLimit), nil
		default:
			return int(s.ProcessLimit) * int(s.ClientLimit), nil
		}
	}
	return 0, fmt.Errorf("service(%s): not in the configuration", service)
}

// accept takes clients until the listener is closed.
func (l *loginProcess) accept(listener *master.Listener) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			l.p.Log.Errorf("accept(%s) failed: %v", listener.Name, err)
			time.Sleep(100 * time.Millisecond) // out of descriptors: clients here go on
			continue
		}
		l.clients.Go(func() {
			l.server.Load().Serve(l.ctx, conn, login.Listener{Name: listener.Name, TLS: listener.TLS, HAProxy: listener.HAProxy})
		})
	}
}

// control serves the master's messages until it is gone.
func (l *loginProcess) control() {
	for {
		msg, err := l.p.Control.Receive()
		if err != nil {
			return
		}
		switch msg.Kind {
		case mail.KindReply:
			l.passer.answered(&msg)
		case kindRelayed:
			go l.answerRelayed(&msg)
		case "reload":
			if err := l.reload(&msg); err != nil {
				l.p.Log.Errorf("reload: %v", err)
			}
		default:
			msg.CloseFiles()
		}
	}
}

func (l *loginProcess) reload(msg *master.Message) error {
	return l.p.Reload(msg, func(listeners []*master.Listener) error {
		if err := l.configure(); err != nil {
			return err
		}
		for _, listener := range listeners {
			go l.accept(listener)
		}
		return nil
	})
}

// A passer sends authenticated clients to the master.
type passer struct {
	conn    *master.Conn
	mu      sync.Mutex
	waiting map[uint64]chan handoff.Reply
}

var _ login.Passer = (*passer)(nil)

// Pass implements [login.Passer].
func (p *passer) Pass(ctx context.Context, l *handoff.Login, conn syscall.Conn) (login.Passed, error) {
	answer := make(chan handoff.Reply, 1)
	p.mu.Lock()
	if p.waiting == nil {
		p.waiting = make(map[uint64]chan handoff.Reply)
	}
	p.waiting[l.ID] = answer
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.waiting, l.ID)
	}()
	if err := p.conn.SendConn(mail.KindLogin, l, conn); err != nil {
		return login.Passed{}, err
	}
	select {
	case reply := <-answer:
		return login.Passed{PID: reply.PID, Refused: reply.Error, Limit: reply.Limit}, nil
	case <-ctx.Done():
		return login.Passed{}, ctx.Err()
	case <-time.After(requestTimeout):
		return login.Passed{}, errors.New("the master did not answer")
	}
}

func (p *passer) answered(msg *master.Message) {
	var reply handoff.Reply
	if msg.Decode(&reply) != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if answer, ok := p.waiting[reply.ID]; ok {
		answer <- reply
		delete(p.waiting, reply.ID)
	}
}
