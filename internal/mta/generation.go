package mta

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mta/bounce"
	"github.com/dovetail-mail/dovetail/internal/mta/cleanup"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/discard"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/refuse"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/smtp"
	"github.com/dovetail-mail/dovetail/internal/mta/qmgr"
	"github.com/dovetail-mail/dovetail/internal/mta/queuetool"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/mta/smtpd"
	"github.com/dovetail-mail/dovetail/internal/table"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// A generation is everything that follows from one reading of the
// configuration. A reload makes a new one; the old one takes no new work and
// finishes what it has.
type generation struct {
	m          *process
	main       *postfix.Main
	master     *postfix.Master
	core       *postfix.Core
	resolver   *resolve.Resolver
	cleanup    *cleanup.Cleanup
	sched      *qmgr.Scheduler
	transports map[string]qmgr.Transport
	agents     []*smtp.Agent
	servers    []*smtpd.Server // by index in master.cf, nil where the entry is none
	ctx        context.Context // ends when the next generation takes over
	stop       context.CancelFunc
}

func newGeneration(m *process) (*generation, error) {
	g := &generation{m: m}
	g.ctx, g.stop = context.WithCancel(context.Background())
	for _, step := range []struct {
		program string
		run     func() error
	}{
		{"master", g.load}, {"trivial-rewrite", g.makeResolver}, {"cleanup", g.makeCleanup},
		{"smtpd", g.makeServers}, {"smtp", g.makeTransports}, {"qmgr", g.makeScheduler},
	} {
		if err := step.run(); err != nil {
			g.stop()
			return nil, &programError{step.program, err}
		}
	}
	return g, nil
}

// A serviceError is why a service of master.cf cannot run.
type serviceError struct {
	entry *postfix.ServiceEntry
	err   error
}

func (e *serviceError) Error() string {
	return fmt.Sprintf("%s: line %d: service %s: %v", e.entry.File, e.entry.Line, e.entry.Name, e.err)
}

func (e *serviceError) Unwrap() error { return e.err }

// A programError is why one of Postfix's programs, which are parts of the mta,
// cannot run.
type programError struct {
	program string
	err     error
}

func (e *programError) Error() string { return e.err.Error() }
func (e *programError) Unwrap() error { return e.err }

func (g *generation) load() error {
	c, err := g.m.configuration()
	if err != nil {
		return err
	}
	if g.main, err = c.Load(); err != nil {
		return err
	}
	if g.core, err = postfix.Get[postfix.Core](g.main); err != nil {
		return err
	}
	g.master, err = c.LoadMaster()
	return err
}

// log is the log of one program.
func (g *generation) log(program string) *maillog.Logger {
	return g.m.log(tag(g.core, program))
}

func (g *generation) makeResolver() error {
	log := g.log("trivial-rewrite")
	tables, err := resolve.NewOpener(g.main, table.Options{Log: log, Open: g.m.files.Open})
	if err != nil {
		return err
	}
	g.resolver, err = resolve.New(g.main, tables, log)
	return err
}

func (g *generation) makeCleanup() error {
	var err error
	g.cleanup, err = cleanup.New(cleanup.Config{
		Main: g.main, Queue: cleanup.FromStore(g.m.store), Resolver: g.resolver, Log: g.log("cleanup"),
	})
	return err
}

// makeServers makes the SMTP server of each smtpd entry.
func (g *generation) makeServers() error {
	g.servers = make([]*smtpd.Server, len(g.master.Services))
	for i := range g.master.Services {
		e := &g.master.Services[i]
		if e.Type != "inet" || e.Command != "smtpd" {
			continue
		}
		srv, err := g.newServer(e)
		if err != nil {
			return &serviceError{entry: e, err: err}
		}
		g.servers[i] = srv
	}
	return nil
}

func (g *generation) newServer(e *postfix.ServiceEntry) (*smtpd.Server, error) {
	main := g.main.With(e.Overrides)
	core, err := postfix.Get[postfix.Core](main)
	if err != nil {
		return nil, err
	}
	var tlsConfig *tls.Config
	params, ok, err := smtpd.TLSParams(main, g.m.files.ReadFile)
	if err != nil {
		return nil, chainFileError(main, err)
	}
	if ok {
		if tlsConfig, err = tlsconf.Server(params); err != nil {
			return nil, fmt.Errorf("smtpd_tls_cert_file, smtpd_tls_key_file: %w", err)
		}
	}
	log := g.m.log(tag(core, "smtpd"))
	tables, err := resolve.NewOpener(main, table.Options{Log: log, Open: g.m.files.Open})
	if err != nil {
		return nil, err
	}
	return smtpd.New(smtpd.Config{
		Main: main, Service: e.Name, Cleanup: g.cleanup, Resolver: g.resolver,
		Tables: tables, Names: g.m.dns, TLS: tlsConfig,
		Anvil: g.m.anvil, Free: g.m.store.Free, Log: log, ReadFile: g.m.files.ReadFile,
	})
}

// chainFiles are the parameters that name certificates and keys of the server.
var chainFiles = []string{
	"smtpd_tls_cert_file", "smtpd_tls_key_file", "smtpd_tls_eccert_file", "smtpd_tls_eckey_file", "smtpd_tls_chain_files", "smtpd_tls_CAfile",
}

// chainFileError says which parameter names a file that cannot be read.
func chainFileError(main *postfix.Main, err error) error {
	var pe *fs.PathError
	if !errors.As(err, &pe) {
		return err
	}
	for _, name := range chainFiles {
		if slices.Contains(postfix.SplitList(expanded(main, name)), pe.Path) {
			return fmt.Errorf("%s: error opening chain file: %s: %s", name, pe.Path, table.Reason(pe))
		}
	}
	return err
}

// makeTransports makes the delivery agents.
func (g *generation) makeTransports() error {
	g.transports = make(map[string]qmgr.Transport)
	for i := range g.master.Services {
		e := &g.master.Services[i]
		if e.Type != "unix" {
			continue
		}
		t, ok, err := g.transport(e)
		if err != nil {
			return &serviceError{entry: e, err: err}
		}
		if ok {
			g.transports[e.Name] = t
		}
	}
	return nil
}

// makeScheduler makes the queue manager.
func (g *generation) makeScheduler() error {
	bouncer, err := bounce.New(bounce.Config{Main: g.main, Store: g.m.store, Cleanup: g.cleanup, Log: g.log("bounce")})
	if err != nil {
		return err
	}
	g.sched, err = qmgr.New(qmgr.Config{
		Main: g.main, Store: g.m.store, Resolver: g.resolver, Transports: g.transports, Notifier: bouncer, Log: g.log("qmgr"),
	})
	return err
}

// transport makes the delivery service of an entry; ok is false for entries
// that are none, or none that is available.
func (g *generation) transport(e *postfix.ServiceEntry) (t qmgr.Transport, ok bool, err error) {
	main := g.main.With(e.Overrides)
	core, err := postfix.Get[postfix.Core](main)
	if err != nil {
		return t, false, err
	}
	t.Log = g.m.log(tag(core, e.Command))
	t.Processes = e.MaxProc
	if t.Processes == postfix.DefaultProcesses {
		t.Processes = core.DefaultProcessLimit
	}
	switch e.Command {
	case "smtp", "lmtp":
		tables, err := resolve.NewOpener(main, table.Options{Log: t.Log, Open: g.m.files.Open})
		if err != nil {
			return t, false, err
		}
		c := smtp.Config{Main: main, Resolver: g.m.dns, Own: ownAddresses(), ReadFile: g.m.files.ReadFile, Tables: tables, Log: t.Log}
		if e.Command == "lmtp" {
			c.Protocol = smtp.LMTP
		}
		agent, err := smtp.New(c)
		if err != nil {
			return t, false, err
		}
		g.agents = append(g.agents, agent)
		t.Agent = agent
	case "error":
		t.Agent = refuse.Bounce
		if e.Name == "retry" {
			t.Agent = refuse.Retry
		}
	case "discard":
		t.Agent = discard.Agent{}
	default:
		return t, false, nil
	}
	return t, true, nil
}

// ownAddresses are the addresses of this machine, where mail must not be sent
// in a circle.
func ownAddresses() []netip.Addr {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var own []netip.Addr
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own = append(own, p.Addr().Unmap())
		}
	}
	return own
}

// run serves until the generation is stopped and all its work is done. Its SMTP
// sessions go on after a reload, which closes its listeners, until their clients
// leave; only the end of the process ends them.
func (g *generation) run(listeners []*master.Listener) {
	var work sync.WaitGroup
	work.Go(func() {
		if err := g.sched.Run(g.ctx); err != nil {
			g.log("qmgr").Errorf("%v", err)
		}
	})
	for _, l := range listeners {
		switch {
		case l.Name == ControlName:
			work.Go(func() { g.serveTools(l) })
		case l.Index < len(g.servers) && g.servers[l.Index] != nil:
			work.Go(func() {
				if err := g.servers[l.Index].Serve(g.m.ctx, l, &g.master.Services[l.Index]); err != nil {
					g.log("smtpd").Errorf("%v", err)
				}
			})
		default:
			g.log("master").Warningf("listener %s: no such service in master.cf", l.Name)
			l.Close()
		}
	}
	work.Wait()
	for _, a := range g.agents {
		a.Close()
	}
}

func (g *generation) serveTools(l *master.Listener) {
	if err := queuetool.Serve(g.ctx, l, g.m.store, g.sched, g.log("postsuper")); err != nil {
		g.log("showq").Errorf("%v", err)
	}
}
