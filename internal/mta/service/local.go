package service

import (
	"slices"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mta"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/asuser"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/spawn"
)

// bindLocal works out the socket on which the mta asks the privileged process.
func (p *plan) bindLocal() {
	if !mta.NeedsLocal(p.master) {
		return
	}
	spec := master.ListenerSpec{
		Name: asuser.ListenerName, Service: asuser.Role, Network: "unix", Mode: 0o600, UID: -1, GID: -1,
		Address: asuser.SocketPath(p.core.QueueDirectory),
	}
	if p.identity.Change {
		spec.UID = p.identity.UID
	}
	p.local = append(p.local, spec)
}

// bindSpawn works out the listeners of an entry of spawn(8), which are the privileged
// process's.
func (p *plan) bindSpawn(index int, e *postfix.ServiceEntry) error {
	if e.Type == "inet" {
		specs, err := p.inetListeners(index, e)
		p.local = append(p.local, specs...)
		return err
	}
	spec := master.ListenerSpec{
		Name: e.Name, Service: spawn.Name, Network: "unix", Mode: 0o666, UID: -1, GID: -1, Address: mta.SpawnPath(p.core, e), Index: index,
	}
	if p.identity.Change {
		spec.UID = p.identity.UID
	}
	p.local = append(p.local, spec)
	return nil
}

// sockets are the listeners of all processes.
func (p *plan) sockets() []master.ListenerSpec { return slices.Concat(p.listeners, p.local) }

// localSpec is what the privileged process gets. It stays who the master is.
func (p *plan) localSpec(logs *logs, sockets *master.Listeners) (master.Spec, error) {
	config, err := p.texts.Encode()
	return master.Spec{
		Role: asuser.Role, Title: "postfix/local", Config: config,
		Log: logs.forProcess(p.core.SyslogName + "/local"), LogFiles: master.LogFiles{Main: logs.file},
		Listeners: p.local, Sockets: sockets,
	}, err
}

// startLocal starts the privileged process, if anything needs it.
func (m *Master) startLocal() error {
	if len(m.plan.local) == 0 {
		return nil
	}
	return m.launchLocal(m.plan, m.logs)
}

func (m *Master) launchLocal(p *plan, logs *logs) error {
	spec, err := p.localSpec(logs, m.sockets)
	if err != nil {
		return err
	}
	handle := func(_ *master.Child, msg *master.Message) { msg.CloseFiles() }
	if m.local, err = master.Start(spec, m.log, handle, nil, master.Always); err != nil {
		return err
	}
	return m.local.WaitReady(startTimeout)
}

// reloadLocal gives the privileged process another configuration, and starts it
// where it was not needed before.
func (m *Master) reloadLocal(p *plan, logs *logs) error {
	switch {
	case len(p.local) == 0:
		return nil // it ends when the mta does not ask any more
	case m.local == nil:
		return m.launchLocal(p, logs)
	}
	spec, err := p.localSpec(logs, m.sockets)
	if err != nil {
		return err
	}
	return m.local.Reload(spec, startTimeout)
}

// retireLocal ends the privileged process when nothing needs it any more.
func (m *Master) retireLocal() {
	if len(m.plan.local) == 0 && m.local != nil {
		m.local.Stop()
		m.local = nil
	}
}
