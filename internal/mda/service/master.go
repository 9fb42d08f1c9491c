package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/dovetail-mail/dovetail/internal/auth"
	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/master"
)

// startTimeout bounds how long a process may take until it serves.
const startTimeout = 30 * time.Second

// stopTimeout is how long processes have to end before they are killed.
const stopTimeout = 5 * time.Second

// A Master is the running mailbox service.
type Master struct {
	path       string // of the main configuration file
	ctx        context.Context
	log        *maillog.Logger
	sink       *maillog.Sink
	logs       atomic.Pointer[logs]
	plan       atomic.Pointer[plan]
	sockets    *master.Listeners
	auth       *client.MasterClient
	deliveries deliveries
	logins     logins
	sessions   sessions
	anvil      map[string]net.Listener // by path; only the goroutine of Run uses it
	ipc        map[string]net.Listener // likewise
	doveadm    []net.Listener          // likewise
	clients    []net.Listener          // likewise; of client services

	doveadmClients atomic.Int64

	mu       sync.Mutex
	children map[string]*master.Child // by process name of roles
	mail     map[mailKey]*master.Child
}

// Load reads the configuration as the master needs it: with the files that
// its values name.
func Load(path string) (*dovecot.Config, error) {
	return dovecot.Load(path, dovecot.ReadFiles())
}

// Run starts the service and returns when it has ended: nil after a stop. ready is
// called once it serves.
func Run(ctx context.Context, path string, ready func()) error {
	// A signal that comes while the service starts is for later.
	signals, ignore := notifySignals()
	defer ignore()
	cfg, err := Load(path)
	if err != nil {
		return err
	}
	plan, err := newPlan(cfg)
	if err != nil {
		return err
	}
	if err := plan.check(); err != nil {
		return err
	}
	m := &Master{path: path, ctx: ctx, children: make(map[string]*master.Child), mail: make(map[mailKey]*master.Child), anvil: make(map[string]net.Listener), ipc: make(map[string]net.Listener)}
	m.plan.Store(plan)
	logs, err := openLogs(plan.core)
	if err != nil {
		return err
	}
	m.logs.Store(logs)
	if m.sink, err = logs.sink(); err != nil {
		return err
	}
	defer m.sink.Close()
	m.log = maillog.New(m.sink, "master")
	pid, err := createPIDFile(plan.core.BaseDir)
	if err != nil {
		return err
	}
	defer pid.remove()
	crash := master.CrashFile(filepath.Join(plan.core.BaseDir, "master-fatal.lastlog"))
	if err := crash.Open(m.log); err != nil {
		return err
	}
	defer crash.Close()
	if err := m.start(plan); err != nil {
		m.stop()
		return err
	}
	master.Tidy()
	ready()
	daemon.SdNotify(false, daemon.SdNotifyReady) //nolint:errcheck // without systemd there is nobody to tell
	m.serveSignals(signals)
	m.stop()
	return nil
}

func (m *Master) start(p *plan) error {
	if err := makeDirectories(p); err != nil {
		return err
	}
	for _, w := range append(p.cfg.Warnings(), p.warnings...) {
		m.log.Warningf("%s", w)
	}
	m.sockets = master.NewListeners(activation.Files(true))
	if err := m.sockets.Replace(p.allListeners()); err != nil {
		return err
	}
	m.log.Infof("Dovecot v%s starting up %s", dovecot.Version, startupProtocols(p.core.Protocols))
	if err := m.startChild("auth"); err != nil {
		return err
	}
	if err := m.children["auth"].WaitReady(startTimeout); err != nil {
		return err
	}
	if err := m.connectAuth(); err != nil {
		return err
	}
	for _, s := range p.services {
		if s.Name != "auth" {
			if err := m.startChild(s.Name); err != nil {
				return err
			}
		}
	}
	for _, c := range m.children {
		if err := c.WaitReady(startTimeout); err != nil {
			return err
		}
	}
	return errors.Join(m.serveAnvil(p.listeners["anvil"]), m.serveIPC(p.listeners["ipc"]), m.serveDoveadm(p.listeners["doveadm"]), m.serveClients(p))
}

func startupProtocols(protocols string) string {
	words := strings.Fields(protocols)
	if len(words) == 0 || words[0] == "none" {
		return "without any protocols"
	}
	return "for " + strings.Join(words, ", ")
}

// connectAuth connects to auth as the one who may confirm logins.
func (m *Master) connectAuth() error {
	var err error
	path := filepath.Join(m.plan.Load().core.BaseDir, "auth-master")
	m.auth, err = client.DialMaster(m.ctx, "unix", path, m.log)
	return err
}

// makeDirectories creates base_dir and the login processes' root directory,
// which only they may enter.
func makeDirectories(p *plan) error {
	if err := os.MkdirAll(p.core.BaseDir, 0o755); err != nil {
		return err
	}
	for _, s := range p.services {
		if roles[s.Name].role != "login" || s.Chroot == "" {
			continue
		}
		dir := p.path(s.Chroot)
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return err
		}
		id, err := p.identity(&s)
		if err != nil {
			return err
		}
		if !id.Change {
			continue
		}
		if err := os.Chown(dir, 0, id.GID); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o750); err != nil {
			return err
		}
	}
	return nil
}

// spec is what the process of a service gets.
func (m *Master) spec(service string) (master.Spec, error) {
	p := m.plan.Load()
	if service == "lmtp" {
		return m.lmtpSpec(p)
	}
	s, _ := p.service(service)
	id, err := p.identity(&s)
	if err != nil {
		return master.Spec{}, err
	}
	blob, err := p.configFor(service)
	if err != nil {
		return master.Spec{}, err
	}
	r, logs := roles[service], m.logs.Load()
	return master.Spec{
		Role: r.role, Title: "dovecot/" + r.process, Arg: service, Identity: id,
		Log: logs.forProcess(r.process), LogFiles: logs.files,
		Config: blob, Listeners: p.listeners[service], Sockets: m.sockets,
	}, nil
}

// configFor is the configuration as the process of a service gets it.
func (p *plan) configFor(service string) ([]byte, error) {
	if service != "auth" {
		return p.cfg.AppendBinary(nil)
	}
	setup, err := auth.NewSetup(p.cfg)
	if err != nil {
		return nil, err
	}
	if err := setup.Prepare(); err != nil {
		return nil, err
	}
	setup.Worker = p.worker()
	return setup.MarshalBinary()
}

func (m *Master) lmtpSpec(p *plan) (master.Spec, error) {
	user, err := p.lmtpUser()
	if err != nil {
		return master.Spec{}, err
	}
	id, err := master.UserIdentity(user, p.settings.MailGID, nil, "")
	if err != nil {
		return master.Spec{}, fmt.Errorf("service(lmtp): %w", err)
	}
	if id.Change {
		if id.Groups, err = p.mailGroups(id.GID); err != nil {
			return master.Spec{}, err
		}
	} else {
		id.UID, id.GID = os.Getuid(), os.Getgid()
	}
	return m.mailSpec(id, "lmtp", p.listeners["lmtp"])
}

func (m *Master) startChild(service string) error {
	spec, err := m.spec(service)
	if err != nil {
		return err
	}
	handle := m.ignore
	var died func(*master.Child)
	switch {
	case service == "lmtp":
		handle, died = m.fromLMTP, m.lmtpDied
	case spec.Role == "login":
		handle = m.fromLogin(strings.TrimSuffix(service, "-login"))
	}
	c, err := master.Start(spec, m.log, handle, died, master.Always)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.children[service] = c
	if service == "lmtp" {
		// Sessions of its uid share its open mailboxes.
		m.mail[mailKey{spec.Identity.UID, spec.Identity.GID, 0}] = c
	}
	return nil
}

func (m *Master) ignore(c *master.Child, msg *master.Message) { msg.CloseFiles() }

// serveSignals reloads and reopens logs until it is told to stop.
func (m *Master) serveSignals(signals <-chan os.Signal) {
	for {
		select {
		case <-m.ctx.Done():
			return
		case sig := <-signals:
			switch sig {
			case syscall.SIGHUP:
				m.reload()
			case syscall.SIGUSR1:
				m.reopenLogs()
			default:
				m.log.Warningf("Killed with signal %d", sig)
				return
			}
		}
	}
}

// remove ends the process of a service that is no longer wanted.
func (m *Master) remove(service string, c *master.Child) {
	c.Stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.children, service)
	for key, mc := range m.mail {
		if mc == c {
			delete(m.mail, key)
		}
	}
}

// stop ends all processes, by force after a while.
func (m *Master) stop() {
	daemon.SdNotify(false, daemon.SdNotifyStopping+"\nSTATUS=Dovecot stopping...") //nolint:errcheck // as in Run
	m.mu.Lock()
	all := make(map[*master.Child]bool)
	for _, c := range m.children {
		all[c] = true
	}
	for _, c := range m.mail {
		all[c] = true
	}
	m.mu.Unlock()
	for _, l := range m.anvil {
		l.Close()
	}
	for _, l := range m.ipc {
		l.Close()
	}
	for _, l := range slices.Concat(m.doveadm, m.clients) {
		l.Close()
	}
	if m.sockets != nil {
		m.sockets.Close()
	}
	for c := range all {
		c.Stop()
	}
	deadline := time.After(stopTimeout)
	for c := range all {
		select {
		case <-c.Done():
		case <-deadline:
			m.log.Warningf("Sent SIGKILL to %d", c.PID())
			c.Kill()
			<-c.Done()
			deadline = time.After(0)
		}
	}
	if m.auth != nil {
		m.auth.Close()
	}
}
