package service

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/master"
)

// reloadTimeout bounds how long a process may take to go by new settings.
const reloadTimeout = 30 * time.Second

// reload puts a changed configuration into force. If it is wrong the present
// one stays.
func (m *Master) reload() {
	m.log.Warningf("SIGHUP received - reloading configuration")
	daemon.SdNotify(false, daemon.SdNotifyReloading)   //nolint:errcheck // as in Run
	defer daemon.SdNotify(false, daemon.SdNotifyReady) //nolint:errcheck // as in Run
	err := m.tryReload()
	var configError *dovecot.Error
	switch {
	case errors.As(err, &configError):
		m.log.Errorf("Error reading configuration: %v", err)
	case err != nil:
		m.log.Errorf("Config reload failed: %v", err)
	}
}

func (m *Master) tryReload() error {
	cfg, err := Load(m.path)
	if err != nil {
		return err
	}
	p, err := newPlan(cfg)
	if err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return err
	}
	before, logsBefore := m.plan.Load(), m.logs.Load()
	if p.core.BaseDir != before.core.BaseDir {
		return fmt.Errorf("base_dir cannot change from %s to %s while the service runs: stop and start it", before.core.BaseDir, p.core.BaseDir)
	}
	newLogs, err := openLogs(p.core)
	if err != nil {
		return err
	}
	if err := makeDirectories(p); err != nil {
		return err
	}
	change, err := m.sockets.Prepare(p.allListeners())
	if err != nil {
		return err
	}
	m.plan.Store(p)
	m.logs.Store(newLogs)
	// What login processes offer to clients comes from auth.
	if err := m.reloadAuth(); err != nil {
		m.plan.Store(before)
		m.logs.Store(logsBefore)
		change.Abort()
		return err
	}
	m.reopen(newLogs)
	for _, w := range append(cfg.Warnings(), p.warnings...) {
		m.log.Warningf("%s", w)
	}
	return errors.Join(m.applyPlan(p), change.Commit(), m.serveAnvil(p.listeners["anvil"]), m.serveIPC(p.listeners["ipc"]), m.serveDoveadm(p.listeners["doveadm"]), m.serveClients(p))
}

// reopen has the master's own lines go where l says.
func (m *Master) reopen(l *logs) {
	if err := l.apply(m.sink); err != nil {
		m.log.Errorf("%v", err)
	}
}

func (m *Master) reloadAuth() error {
	m.mu.Lock()
	c := m.children["auth"]
	m.mu.Unlock()
	spec, err := m.spec("auth")
	if err != nil {
		return err
	}
	return c.Reload(spec, reloadTimeout)
}

// applyPlan starts, reloads and stops processes other than auth to fit the plan.
func (m *Master) applyPlan(p *plan) error {
	var errs errorList
	var work sync.WaitGroup
	for service := range roles {
		_, wanted := p.service(service)
		m.mu.Lock()
		c := m.children[service]
		m.mu.Unlock()
		switch {
		case service == "auth":
		case wanted && c == nil:
			errs.add(m.startChild(service))
		case wanted:
			work.Go(func() { errs.add(m.reloadChild(service, c)) })
		case c != nil:
			m.remove(service, c)
		}
	}
	m.reloadMail(&work, &errs)
	work.Wait()
	return errs.join()
}

// reloadChild gives the process of a service its new settings.
func (m *Master) reloadChild(service string, c *master.Child) error {
	spec, err := m.spec(service)
	if err != nil {
		return err
	}
	if err := c.Reload(spec, reloadTimeout); err != nil {
		return fmt.Errorf("service(%s): %w", service, err)
	}
	return nil
}

// reloadMail gives the mail processes new settings. There may be one for each
// user of the machine, all with the same configuration.
func (m *Master) reloadMail(work *sync.WaitGroup, errs *errorList) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.mail) == 0 {
		return
	}
	shared, err := m.mailSpec(master.Identity{}, "mail", nil)
	if err != nil {
		errs.add(err)
		return
	}
	for _, c := range m.mail {
		if c == m.children["lmtp"] {
			continue
		}
		spec := shared
		spec.Identity = c.Identity()
		work.Go(func() { errs.add(c.Reload(spec, reloadTimeout)) })
	}
}

// An errorList gathers errors of several goroutines.
type errorList struct {
	mu   sync.Mutex
	errs []error
}

func (l *errorList) add(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errs = append(l.errs, err)
}

func (l *errorList) join() error { return errors.Join(l.errs...) }

// reopenLogs follows a log file that was rotated.
func (m *Master) reopenLogs() {
	p := m.plan.Load()
	l, err := openLogs(p.core)
	if err != nil {
		m.log.Errorf("%v", err)
		return
	}
	m.reopen(l)
	m.logs.Store(l)
	if err := errors.Join(m.reloadAuth(), m.applyPlan(p)); err != nil {
		m.log.Errorf("%v", err)
	}
}
