package mta

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mta/bounce"
	"github.com/dovetail-mail/dovetail/internal/mta/cleanup"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/asuser"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/discard"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/refuse"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/smtp"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/statusfilter"
	"github.com/dovetail-mail/dovetail/internal/mta/flush"
	"github.com/dovetail-mail/dovetail/internal/mta/pickup"
	"github.com/dovetail-mail/dovetail/internal/mta/postscreen"
	"github.com/dovetail-mail/dovetail/internal/mta/qmgr"
	"github.com/dovetail-mail/dovetail/internal/mta/queuetool"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/mta/smtpd"
	"github.com/dovetail-mail/dovetail/internal/mta/verify"
	"github.com/dovetail-mail/dovetail/internal/table"
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
	cleanups   map[string]*cleanup.Cleanup // by service name
	sched      *qmgr.Scheduler
	flush      *flush.Service
	mailq      *queuetool.Access
	verify     *verify.Service
	transports map[string]qmgr.Transport
	agents     []*smtp.Agent
	servers    []*smtpd.Server             // by index in master.cf, nil where the entry is none
	screens    []*postscreen.Server        // by index likewise
	passages   map[int]*postscreen.Passage // by index, for smtpd entries of type "pass"
	asuser     *asuser.Client              // the privileged process
	bouncer    *bounce.Bouncer
	pickup     *pickup.Pickup // nil without an entry in master.cf

	pickupEntry *postfix.ServiceEntry

	ctx  context.Context // ends when the next generation takes over
	stop context.CancelFunc
}

func newGeneration(m *process) (*generation, error) {
	g := &generation{m: m}
	g.ctx, g.stop = context.WithCancel(context.Background())
	for _, step := range []struct {
		program string
		run     func() error
	}{
		{"master", g.load}, {"trivial-rewrite", g.makeResolver}, {"cleanup", g.makeCleanup},
		{"smtpd", g.makeServers}, {"postscreen", g.makeScreens}, {"smtp", g.makeTransports}, {"qmgr", g.makeScheduler}, {"pickup", g.makePickup},
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
	main := g.main
	for i := range g.master.Services {
		if e := &g.master.Services[i]; e.Type == "unix" && e.Name == "rewrite" {
			main = main.With(e.Overrides)
		}
	}
	log := g.log("trivial-rewrite")
	tables, err := resolve.NewOpener(main, table.Options{Log: log, Open: g.m.files.Open})
	if err != nil {
		return err
	}
	g.resolver, err = resolve.New(main, tables, log)
	if err == nil && slices.ContainsFunc(g.master.Services, func(e postfix.ServiceEntry) bool { return e.Name == "local" && needsRights(&e) }) {
		g.resolver.WithLocal()
	}
	return err
}

// makeCleanup makes the cleanup service of each entry: "cleanup", and those that an smtpd
// entry names with cleanup_service_name.
func (g *generation) makeCleanup() error {
	g.cleanups = make(map[string]*cleanup.Cleanup)
	for i := range g.master.Services {
		e := &g.master.Services[i]
		if e.Type != "unix" || e.Command != "cleanup" {
			continue
		}
		c, err := g.newCleanup(g.main.With(e.Overrides))
		if err != nil {
			return &serviceError{entry: e, err: err}
		}
		g.cleanups[e.Name] = c
	}
	if g.cleanup = g.cleanups["cleanup"]; g.cleanup != nil {
		return nil
	}
	var err error
	g.cleanup, err = g.newCleanup(g.main)
	g.cleanups["cleanup"] = g.cleanup
	return err
}

func (g *generation) newCleanup(main *postfix.Main) (*cleanup.Cleanup, error) {
	core, err := postfix.Get[postfix.Core](main)
	if err != nil {
		return nil, err
	}
	log := g.m.log(tag(core, "cleanup"))
	tables, err := resolve.NewOpener(main, table.Options{Log: log, Open: g.m.files.Open})
	if err != nil {
		return nil, err
	}
	return cleanup.New(cleanup.Config{Main: main, Queue: cleanup.FromStore(g.m.store), Resolver: g.resolver, Tables: tables, Log: log, Spool: spoolIn(core.QueueDirectory)})
}

// spoolIn makes files without name in the directory of the queue, for messages that are
// changed before they are queued.
func spoolIn(queueDirectory string) func() (*os.File, error) {
	dir := filepath.Join(queueDirectory, SegmentsName)
	return func() (*os.File, error) {
		fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: dir, Err: err}
		}
		return os.NewFile(uintptr(fd), dir), nil
	}
}

// cleanupOf is the cleanup service that an entry gives its mail to.
func (g *generation) cleanupOf(main *postfix.Main) (*cleanup.Cleanup, error) {
	set, err := postfix.Get[cleanup.ClientSettings](main)
	if err != nil {
		return nil, err
	}
	c := g.cleanups[set.Service]
	if c == nil {
		return nil, fmt.Errorf("cleanup_service_name: there is no unix service %s with the command cleanup in master.cf", set.Service)
	}
	return c, nil
}

// makeServers makes the SMTP server of each smtpd entry.
func (g *generation) makeServers() error {
	g.servers = make([]*smtpd.Server, len(g.master.Services))
	for i := range g.master.Services {
		e := &g.master.Services[i]
		if e.Command != "smtpd" || e.Type != "inet" && e.Type != "pass" {
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
	log := g.m.log(tag(core, "smtpd"))
	tables, err := resolve.NewOpener(main, table.Options{Log: log, Open: g.m.files.Open})
	if err != nil {
		return nil, err
	}
	cleaner, err := g.cleanupOf(main)
	if err != nil {
		return nil, err
	}
	return smtpd.New(smtpd.Config{
		Main: main, Service: e.Name, Cleanup: cleaner, Resolver: g.resolver,
		Tables: tables, Names: g.m.dns,
		Anvil: g.m.anvil, Free: g.m.store.Free, Log: log, ReadFile: g.m.files.ReadFile, Spool: spoolIn(g.core.QueueDirectory),
		Flush: func(ctx context.Context, site string) error { return g.flush.Flush(ctx, site) },
		Verify: func(ctx context.Context, addr string, count int, delay time.Duration) verify.Answer {
			return g.verify.Poll(ctx, addr, count, delay)
		},
	})
}

// makeTransports makes the delivery agents.
func (g *generation) makeTransports() error {
	g.transports = make(map[string]qmgr.Transport)
	g.asuser = asuser.NewClient(asuser.SocketPath(g.core.QueueDirectory))
	for i := range g.master.Services {
		e := &g.master.Services[i]
		if e.Type != "unix" {
			continue
		}
		t, ok, err := g.transport(e)
		if err != nil && needsRights(e) {
			// Postfix starts these when they have something to deliver: whoever has nothing for them never
			// hears of the mistake, and all other mail flows.
			g.log(e.Command).Warningf("%s: line %d: service %s: %v: its mail is deferred", e.File, e.Line, e.Name, err)
			continue
		}
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
	var err error
	g.bouncer, err = bounce.New(bounce.Config{Main: g.main, Store: g.m.store, Cleanup: g.cleanup, Log: g.log("bounce"), ReadFile: g.m.files.ReadFile})
	if err != nil {
		return err
	}
	previous := g.m.verify()
	if g.verify, err = verify.New(verify.Config{Main: g.main, Cleanup: g.cleanup, Log: g.log("verify"), Previous: previous}); err != nil {
		return err
	}
	g.sched, err = qmgr.New(qmgr.Config{
		Main: g.main, Store: g.m.store, Resolver: g.resolver, Transports: g.transports, Notifier: g.bouncer, Probes: g.verify, Log: g.log("qmgr"),
		CleanupLog: g.log("cleanup"),
	})
	if err != nil {
		return err
	}
	tables, err := resolve.NewOpener(g.main, table.Options{Log: g.log("flush"), Open: g.m.files.Open})
	if err != nil {
		return err
	}
	if g.flush, err = flush.New(g.main, tables, g.sched.FlushSites); err != nil {
		return err
	}
	g.mailq, err = queuetool.NewAccess(g.main, tables)
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
		c := smtp.Config{Main: main, Resolver: g.m.dns, Own: ownAddresses(), ReadFile: g.m.files.ReadFile, Tables: tables, Rewrite: g.resolver, Cleanup: g.cleanup, Log: t.Log}
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
	case "local", "virtual", "pipe":
		if t.Agent, err = g.rightsAgent(e.Main(g.main), e, table.Options{Log: t.Log, Open: g.m.files.Open}); err != nil {
			return t, false, err
		}
	default:
		return t, false, nil
	}
	tables, err := resolve.NewOpener(main, table.Options{Log: t.Log, Open: g.m.files.Open})
	if err != nil {
		return t, false, err
	}
	t.Agent, err = statusfilter.New(t.Agent, e.Command, main, tables, t.Log)
	return t, err == nil, err
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
	work.Go(func() { g.verify.Run(g.ctx) })
	var screens sync.WaitGroup
	for _, l := range listeners {
		switch {
		case g.screen(l):
			screens.Go(func() {
				if err := g.screens[l.Index].Serve(g.m.ctx, l); err != nil {
					g.log("postscreen").Errorf("%v", err)
				}
			})
		case l.Name == ControlName:
			work.Go(func() { g.serveTools(l) })
		case g.pickup != nil && l.Service == PickupName:
			work.Go(func() { g.servePickup(l) })
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
	g.serveScreened(&work, &screens)
	work.Wait()
	for _, a := range g.agents {
		a.Close()
	}
	g.asuser.Close()
}

func (g *generation) serveTools(l *master.Listener) {
	if err := queuetool.Serve(g.ctx, l, g.core.QueueDirectory, g.m.store, flusher{g.sched, g.flush}, g.mailq, g.log("postsuper")); err != nil {
		g.log("showq").Errorf("%v", err)
	}
}

// A flusher is the queue manager as the tools see it: sites are flushed by the
// flush service, for the domains that it is for.
type flusher struct {
	*qmgr.Scheduler
	sites *flush.Service
}

func (f flusher) FlushSite(ctx context.Context, domain string) error {
	return f.sites.Flush(ctx, domain)
}

// verify returns the address verification of the present generation, if there is one.
func (m *process) verify() *verify.Service {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.present == nil {
		return nil
	}
	return m.present.verify
}
