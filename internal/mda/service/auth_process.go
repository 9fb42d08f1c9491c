package service

import (
	"context"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/master"
)

// authGrace is how long an auth process goes on after a reload, for exchanges
// that have begun.
const authGrace = 2 * time.Second

// RunAuth is the auth process. It serves until its master is gone or tells it
// to stop. On a reload it ends; its successor begins with the new
// configuration. Clients connect again, and meanwhile wait at
// the listeners, which the master keeps open.
func RunAuth(p *master.Process) error {
	if err := p.Drop(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	srv, err := newAuth(p)
	if err != nil {
		return err
	}
	var serving sync.WaitGroup
	for _, l := range p.Listeners() {
		kind := auth.KindOf(l.Name)
		if l.Network != "unix" {
			kind = auth.KindClient
		}
		serving.Go(func() {
			if err := srv.Serve(ctx, l, kind); err != nil {
				p.Log.Errorf("%s: %v", l.Name, err)
			}
		})
	}
	if err := p.Ready(); err != nil {
		return err
	}
	go func() {
		defer stop()
		awaitReload(ctx, p)
	}()
	<-ctx.Done()
	serving.Wait()
	return nil
}

func newAuth(p *master.Process) (*auth.Server, error) {
	cfg := new(dovecot.Config)
	if err := cfg.UnmarshalBinary(p.Config); err != nil {
		return nil, err
	}
	return auth.NewServer(cfg, p.Log)
}

// awaitReload returns when the process is to end: some time after a reload, or
// when the master is gone.
func awaitReload(ctx context.Context, p *master.Process) {
	for {
		msg, err := p.Control.Receive()
		if err != nil {
			return
		}
		if msg.Kind != "reload" {
			msg.CloseFiles()
			continue
		}
		// The successor accepts from now on.
		msg.CloseFiles()
		p.CloseListeners()
		select {
		case <-ctx.Done():
		case <-time.After(authGrace):
		}
		return
	}
}
