package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mta"
)

// startTimeout bounds how long the mta may be silent until it serves: it reads the queue,
// and takes over what Postfix left.
const startTimeout = 5 * time.Minute

// stopTimeout is how long the mta has to finish deliveries that are under way.
const stopTimeout = 10 * time.Second

// A Master is the running mail transport.
type Master struct {
	dir     string
	log     *maillog.Logger
	sink    *maillog.Sink
	logs    *logs
	plan    *plan
	sockets *master.Listeners
	local   *master.Child // the privileged process; nil if nothing needs it
	mta     *master.Child
	grants  atomic.Pointer[mta.Grants]
}

// Run starts the mail transport with the configuration in dir and returns when
// it has ended: nil after a stop. ready is called once it serves.
func Run(ctx context.Context, dir string, ready func()) error {
	// A signal that comes while the service starts is for later.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1)
	defer signal.Stop(signals)
	p, err := newPlan(dir, nil)
	if err != nil {
		return err
	}
	m := &Master{dir: dir, plan: p}
	if m.logs, err = openLogs(p.core); err != nil {
		return err
	}
	if m.sink, err = m.logs.sink(); err != nil {
		return err
	}
	defer m.sink.Close()
	m.log = maillog.New(m.sink, tag(p.core, "master"))
	if err := p.makeDirectories(); err != nil {
		return err
	}
	pid, err := lockPID(p.core)
	if err != nil {
		return err
	}
	defer pid.Close()
	crash := master.CrashFile(pidPath(p.core) + ".crash")
	if err := crash.Open(m.log); err != nil {
		return err
	}
	defer crash.Close()
	err = m.start(signals)
	if errors.Is(err, errStopped) {
		m.stop()
		return err
	}
	if err != nil {
		m.log.Fatalf("%v", err)
		m.stop()
		return err
	}
	m.log.Infof("daemon started -- version %s, configuration %s", p.core.MailVersion, dir)
	ready()
	daemon.SdNotify(false, daemon.SdNotifyReady) //nolint:errcheck // without systemd there is nobody to tell
	m.serveSignals(ctx, signals)
	m.stop()
	return nil
}

// tag is the program name in log lines: "postfix/master[812]".
func tag(core *postfix.Core, program string) string {
	return core.SyslogName + "/" + program + "[" + strconv.Itoa(os.Getpid()) + "]"
}

// errStopped says that the service was told to stop while it started.
var errStopped = errors.New("stopped while starting")

func (m *Master) start(signals chan os.Signal) error {
	m.sockets = master.NewListeners(activation.Files(true))
	if err := m.sockets.Replace(m.plan.sockets()); err != nil {
		return listenError(err)
	}
	for _, w := range m.plan.warnings() {
		m.log.Warningf("%s", w)
	}
	m.grants.Store(m.plan.grants)
	handle := func(c *master.Child, msg *master.Message) {
		m.grants.Load().Serve(c, msg)
		msg.CloseFiles()
	}
	if err := m.startLocal(); err != nil {
		return err
	}
	spec, err := m.plan.spec(m.logs, m.sockets)
	if err != nil {
		return err
	}
	if m.mta, err = master.Start(spec, m.log, handle, nil, master.Always); err != nil {
		return err
	}
	return m.await(signals)
}

// await waits until the mta serves. As that may take long, it can be stopped meanwhile;
// a reload comes when it serves.
func (m *Master) await(signals chan os.Signal) error {
	ready := make(chan error, 1)
	go func() { ready <- m.mta.WaitReady(startTimeout) }()
	later := make(map[os.Signal]bool)
	for {
		select {
		case err := <-ready:
			for sig := range later {
				select {
				case signals <- sig:
				default: // full of others
				}
			}
			return err
		case sig := <-signals:
			if sig == syscall.SIGHUP || sig == syscall.SIGUSR1 {
				later[sig] = true
				continue
			}
			m.log.Infof("terminating on signal %d", sig)
			return errStopped
		}
	}
}

func (m *Master) serveSignals(ctx context.Context, signals <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case sig := <-signals:
			if sig != syscall.SIGHUP && sig != syscall.SIGUSR1 {
				m.log.Infof("terminating on signal %d", sig)
				return
			}
			if err := m.reload(); err != nil {
				m.log.Errorf("reload failed, the running configuration stays in force: %v", err)
			}
		}
	}
}

// reload puts a changed configuration into force. If it is wrong, nothing changes.
func (m *Master) reload() error {
	daemon.SdNotify(false, daemon.SdNotifyReloading)   //nolint:errcheck // as in Run
	defer daemon.SdNotify(false, daemon.SdNotifyReady) //nolint:errcheck // as in Run
	p, err := newPlan(m.dir, m.plan)
	if err != nil {
		return err
	}
	if p.core.QueueDirectory != m.plan.core.QueueDirectory {
		return fmt.Errorf("queue_directory cannot change while the mail system runs: stop and start it")
	}
	if !p.identity.Equal(m.plan.identity) {
		return fmt.Errorf("mail_owner cannot change while the mail system runs: stop and start it")
	}
	newLogs, err := openLogs(p.core)
	if err != nil {
		return err
	}
	change, err := m.sockets.Prepare(p.sockets())
	if err != nil {
		return listenError(err)
	}
	spec, err := p.spec(newLogs, m.sockets)
	if err != nil {
		change.Abort()
		return err
	}
	if err := m.reloadLocal(p, newLogs); err != nil {
		change.Abort()
		return err
	}
	m.grants.Store(p.grants)
	if err := m.mta.Reload(spec, startTimeout); err != nil {
		m.grants.Store(m.plan.grants)
		err = errors.Join(err, m.reloadLocal(m.plan, m.logs))
		change.Abort()
		return err
	}
	m.plan, m.logs = p, newLogs
	m.retireLocal()
	if newLogs.file != nil {
		if f, err := master.Dup(newLogs.file); err == nil {
			m.sink.Reopen(f)
		}
	}
	m.log.Infof("reload -- version %s, configuration %s", p.core.MailVersion, m.dir)
	for _, w := range append(p.unbound(), p.warnings()...) {
		m.log.Warningf("%s", w)
	}
	return change.Commit()
}

// listenError says in Postfix's words why a socket cannot be opened.
func listenError(err error) error {
	var e *master.ListenError
	if !errors.As(err, &e) {
		return err
	}
	host, port, _ := net.SplitHostPort(e.Spec.Address)
	return fmt.Errorf("bind %s port %s: %s", host, port, e.Reason())
}

func (m *Master) stop() {
	daemon.SdNotify(false, daemon.SdNotifyStopping) //nolint:errcheck // as in Run
	if m.sockets != nil {
		m.sockets.Close()
	}
	for _, c := range []*master.Child{m.mta, m.local} {
		if c == nil {
			continue
		}
		c.Stop()
		select {
		case <-c.Done():
		case <-time.After(stopTimeout):
			// What was under way stays in the queue.
			c.Kill()
			<-c.Done()
		}
	}
}

// pidPath is the file that the running master holds locked.
func pidPath(core *postfix.Core) string {
	return filepath.Join(core.QueueDirectory, "pid", "master.pid")
}

// errRunning says that another master holds the lock.
var errRunning = fmt.Errorf("the Postfix mail system is already running")

func lockPID(core *postfix.Core) (*os.File, error) {
	f, err := os.OpenFile(pidPath(core), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, errRunning
	}
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, err
	}
	_, err = fmt.Fprintf(f, "%10d\n", os.Getpid())
	return f, err
}

// runningPID returns the process id of the running master, or 0.
func runningPID(core *postfix.Core) int {
	f, err := os.OpenFile(pidPath(core), os.O_RDONLY, 0)
	if err != nil {
		return 0
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		return 0 // nobody holds it
	}
	text := make([]byte, 32)
	n, _ := f.Read(text)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	return pid
}
