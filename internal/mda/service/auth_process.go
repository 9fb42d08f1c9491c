package service

import (
	"context"
	"os/signal"
	"sync"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/auth"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/master"
)

// RunAuth is the auth process. It serves until its master is gone or tells it
// to stop.
func RunAuth(p *master.Process) error {
	if err := p.Drop(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	a := &authProcess{p: p, ctx: ctx}
	if err := a.configure(p.Listeners()); err != nil {
		return err
	}
	if err := p.Ready(); err != nil {
		return err
	}
	go func() {
		defer stop()
		a.control()
	}()
	<-ctx.Done()
	a.serving.Wait()
	return nil
}

type authProcess struct {
	p       *master.Process
	ctx     context.Context
	serving sync.WaitGroup
}

// configure begins to serve the listeners with the present configuration.
func (a *authProcess) configure(listeners []*master.Listener) error {
	cfg := new(dovecot.Config)
	if err := cfg.UnmarshalBinary(a.p.Config); err != nil {
		return err
	}
	srv, err := auth.NewServer(cfg, a.p.Log)
	if err != nil {
		return err
	}
	for _, l := range listeners {
		a.serving.Go(func() {
			kind := auth.KindOf(l.Name)
			if l.Network != "unix" {
				kind = auth.KindClient
			}
			if err := srv.Serve(a.ctx, l, kind); err != nil {
				a.p.Log.Errorf("%s: %v", l.Name, err)
			}
		})
	}
	return nil
}

// control reloads until the master is gone.
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
		listeners, err := a.p.Reload(&msg)
		if err == nil {
			err = a.configure(listeners)
		}
		if err != nil {
			a.p.Log.Errorf("reload: %v", err)
		}
	}
}
