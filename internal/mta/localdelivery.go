package mta

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"slices"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/asuser"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/local"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/pipe"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/spawn"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/virtual"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/table"
)

// asuserPrograms are the delivery agents that need the rights of others.
var asuserPrograms = []string{"local", "virtual", "pipe"}

// needsRights reports whether an entry of master.cf is one of those.
func needsRights(e *postfix.ServiceEntry) bool {
	return e.Type == "unix" && slices.Contains(asuserPrograms, e.Command)
}

// IsSpawn reports whether an entry is one of spawn(8).
func IsSpawn(e *postfix.ServiceEntry) bool {
	return e.Command == "spawn" && (e.Type == "unix" || e.Type == "inet")
}

// SpawnPath is the socket of an entry of spawn(8).
func SpawnPath(core *postfix.Core, e *postfix.ServiceEntry) string {
	class := "public"
	if e.Private {
		class = "private"
	}
	return filepath.Join(core.QueueDirectory, class, filepath.Base(e.Name))
}

// NeedsLocal reports whether there must be the privileged process of package asuser.
func NeedsLocal(services *postfix.Master) bool {
	return slices.ContainsFunc(services.Services, func(e postfix.ServiceEntry) bool { return needsRights(&e) || IsSpawn(&e) })
}

// RunLocal is the life of the privileged process.
func RunLocal(p *master.Process) error {
	return asuser.Run(p, func() (*asuser.Setup, error) { return localSetup(p) })
}

// localSetup is what that process goes by.
func localSetup(p *master.Process) (*asuser.Setup, error) {
	c := new(Configuration)
	if err := json.Unmarshal(p.Config, c); err != nil {
		return nil, fmt.Errorf("configuration from the master: %w", err)
	}
	main, err := c.Load()
	if err != nil {
		return nil, err
	}
	services, err := c.LoadMaster()
	if err != nil {
		return nil, err
	}
	s := &asuser.Setup{Services: make(map[string]*asuser.Service), Serve: make(map[int]func(net.Listener))}
	if s.Core, err = postfix.Get[postfix.Core](main); err != nil {
		return nil, err
	}
	if s.Owner, err = master.UserIdentity(s.Core.MailOwner, "", nil, ""); err != nil {
		return nil, err
	}
	for i := range services.Services {
		e := &services.Services[i]
		if IsSpawn(e) {
			if s.Serve[i], err = spawnService(p, main, e, s.Owner); err != nil {
				return nil, &serviceError{entry: e, err: err}
			}
			continue
		}
		if !needsRights(e) {
			continue
		}
		service, err := asuser.NewService(e.Main(main), e, p.Log)
		if err != nil {
			continue // the mta says why with each delivery, or does not start
		}
		s.Services[e.Name] = service
	}
	return s, nil
}

// spawnService serves the listeners of an entry of spawn(8).
func spawnService(p *master.Process, main *postfix.Main, e *postfix.ServiceEntry, owner master.Identity) (func(net.Listener), error) {
	own := e.Main(main)
	core, err := postfix.Get[postfix.Core](own)
	if err != nil {
		return nil, err
	}
	service, err := asuser.NewService(own, e, p.Log)
	if err != nil {
		return nil, err
	}
	limit, err := service.TimeLimit()
	if err != nil {
		return nil, err
	}
	processes := e.MaxProc
	if processes == postfix.DefaultProcesses {
		processes = core.DefaultProcessLimit
	}
	return spawn.New(spawn.Config{
		Entry: e, Processes: processes, Owner: owner, Env: service.Environment(), TimeLimit: limit, Log: p.Log.With(tag(core, "spawn")),
	}).Serve, nil
}

// rightsAgent makes the agent of an entry that needs the rights of others.
func (g *generation) rightsAgent(main *postfix.Main, e *postfix.ServiceEntry, o table.Options) (deliver.Agent, error) {
	tables, err := resolve.NewOpener(main, o)
	if err != nil {
		return nil, err
	}
	switch e.Command {
	case "virtual":
		return virtual.New(virtual.Config{Main: main, Service: e.Name, Resolver: g.resolver, Tables: tables, Asuser: g.asuser, Log: o.Log})
	case "pipe":
		return pipe.New(pipe.Config{Main: main, Entry: e, Resolver: g.resolver, Asuser: g.asuser, Log: o.Log})
	}
	return local.New(local.Config{
		Main: main, Service: e.Name, Resolver: g.resolver, Tables: tables, Open: o.Open, Cleanup: g.cleanup,
		Notifier: lateNotifier{g}, Asuser: g.asuser, Agent: g.agentOf, Log: o.Log,
	})
}

// agentOf is the agent of a transport, nil if there is none.
func (g *generation) agentOf(transport string) deliver.Agent { return g.transports[transport].Agent }

// lateNotifier is the bouncer of a generation that is still being made.
type lateNotifier struct{ g *generation }

func (n lateNotifier) Failure(ctx context.Context, m *queue.Message, recipients []int) error {
	return n.g.bouncer.Failure(ctx, m, recipients)
}

func (n lateNotifier) Success(ctx context.Context, m *queue.Message, recipients []int) error {
	return n.g.bouncer.Success(ctx, m, recipients)
}

func (n lateNotifier) FailureTo(ctx context.Context, m *queue.Message, recipients []int, owner string) error {
	return n.g.bouncer.FailureTo(ctx, m, recipients, owner)
}
