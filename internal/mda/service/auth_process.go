package service

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth"
	"github.com/dovetail-mail/dovetail/internal/master"
)

// authGrace is how long an auth process goes on for exchanges that have begun
// when another takes its place.
const authGrace = 2 * time.Second

// An authProcess is the running auth process.
type authProcess struct {
	p       *master.Process
	ctx     context.Context
	first   *auth.Server // of all that come in each other's place
	server  *auth.Server // the last
	serving sync.WaitGroup
}

// RunAuth is the auth process. It serves until its master is gone or tells it
// to stop. After a reload its connections stay, and what begins on them then
// meets the new databases. Only if it must be somebody else does it end, for
// its successor to begin.
func RunAuth(p *master.Process) error {
	if err := p.Drop(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	a := &authProcess{p: p, ctx: ctx}
	var err error
	if a.server, err = newAuth(p); err != nil {
		return err
	}
	a.first = a.server
	a.serve(p.Listeners())
	if err := p.Ready(); err != nil {
		return err
	}
	go func() {
		defer stop()
		a.control()
	}()
	a.cacheSignals()
	a.serving.Wait()
	return nil
}

// cacheSignals clears the auth cache on SIGHUP and logs about it on SIGUSR2, until the
// process is to end.
func (a *authProcess) cacheSignals() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR2)
	defer signal.Stop(signals)
	for {
		select {
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				a.first.ClearCache()
			} else {
				a.first.LogCache()
			}
		case <-a.ctx.Done():
			return
		}
	}
}

// serve accepts clients until the listeners are closed.
func (a *authProcess) serve(listeners []*master.Listener) {
	for _, l := range listeners {
		kind := auth.KindOf(l.Name)
		if l.Network != "unix" {
			kind = auth.KindClient
		}
		server := a.server
		a.serving.Go(func() {
			if err := server.Serve(a.ctx, l, kind); err != nil {
				a.p.Log.Errorf("%s: %v", l.Name, err)
			}
		})
	}
}

func newAuth(p *master.Process) (*auth.Server, error) {
	setup := new(auth.Setup)
	if err := setup.UnmarshalBinary(p.Config); err != nil {
		return nil, err
	}
	return auth.NewServer(setup, p.Log)
}

// control serves the master's messages until the process is to end.
func (a *authProcess) control() {
	for {
		msg, err := a.p.Control.Receive()
		if err != nil {
			return
		}
		if msg.Kind != "reload" {
			msg.CloseFiles()
			continue
		}
		before := a.p.Identity
		if err := a.p.Reload(&msg, a.reload); err != nil {
			a.p.Log.Errorf("reload: %v", err)
		}
		if !a.p.Identity.Equal(before) {
			a.p.CloseListeners() // the successor accepts from now on
			select {
			case <-a.ctx.Done():
			case <-time.After(authGrace):
			}
			return
		}
	}
}

func (a *authProcess) reload(listeners []*master.Listener) error {
	next, err := newAuth(a.p)
	if err != nil {
		return err
	}
	a.server.Replace(next)
	a.server = next
	a.serve(listeners)
	return nil
}
