package mta

import (
	"path/filepath"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mta/cleanup"
	"github.com/dovetail-mail/dovetail/internal/mta/pickup"
	"github.com/dovetail-mail/dovetail/internal/mta/postlog"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/table"
)

// PickupPath is the socket on which the service of a pickup entry is woken.
func PickupPath(core *postfix.Core, e *postfix.ServiceEntry) string {
	return filepath.Join(core.QueueDirectory, "public", filepath.Base(e.Name))
}

// IsPickup tells whether an entry of master.cf takes mail out of the maildrop.
func IsPickup(e *postfix.ServiceEntry) bool {
	return e.Command == "pickup" && (e.Type == "unix" || e.Type == "fifo")
}

// makePickup makes the service that takes mail out of the maildrop, if master.cf
// has one.
func (g *generation) makePickup() error {
	for i := range g.master.Services {
		e := &g.master.Services[i]
		if !IsPickup(e) || g.pickup != nil {
			continue
		}
		main := g.main.With(e.Overrides)
		core, err := postfix.Get[postfix.Core](main)
		if err != nil {
			return &serviceError{entry: e, err: err}
		}
		log := g.m.log(tag(core, "pickup"))
		tables, err := resolve.NewOpener(main, table.Options{Log: log, Open: g.m.files.Open, Main: main})
		if err != nil {
			return &serviceError{entry: e, err: err}
		}
		cleaner, err := g.cleanupOf(main)
		if err != nil {
			return &serviceError{entry: e, err: err}
		}
		g.pickup, err = pickup.New(pickup.Config{
			Main: main, Cleanup: cleaner, Queue: cleanup.FromStore(g.m.store), Resolver: g.resolver, Tables: tables,
			Store: g.m.store, Log: log, Lock: &g.m.maildrop,
		})
		if err != nil {
			return &serviceError{entry: e, err: err}
		}
		g.pickupEntry = e
	}
	return nil
}

// servePickup takes mail out of the maildrop, woken by l.
func (g *generation) servePickup(l *master.Listener) {
	g.pickup.Run(g.ctx, l, time.Duration(g.pickupEntry.Wakeup)*time.Second)
}

// servePostlog takes the log lines of commands, where the log is a file.
func (m *process) servePostlog(core *postfix.Core) {
	if core.MaillogFile == "" {
		return
	}
	go func() {
		if err := postlog.Serve(m.ctx, core, func(tag string) *maillog.Logger { return m.log(tag) }); err != nil {
			m.log(tag(core, "postlogd")).Warningf("%v", err)
		}
	}()
}
