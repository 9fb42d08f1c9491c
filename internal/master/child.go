package master

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// A Spec says what a child is and gets.
type Spec struct {
	Role      string // "auth", "login", "mail", "mta"
	Title     string // shown by ps: "dovecot/imap-login"
	Arg       string
	Identity  Identity
	Log       LogTarget
	LogFiles  LogFiles
	Config    []byte // nil for none
	Listeners []ListenerSpec
	Sockets   *Listeners
	// TimerSlack is how late its timers may be, for less work when it is busy: see startSlack.
	TimerSlack time.Duration
}

// A Child is a running or restarting daemon process. A child that dies is
// started again, at once the first time and with a growing pause (2 s, 4 s, up
// to 60 s, as Dovecot) while it keeps dying before it was ready.
type Child struct {
	log    *maillog.Logger
	handle func(*Child, *Message) // called for each message but "starting", "ready" and "reloaded"

	mu      sync.Mutex
	spec    Spec
	conn    *Conn
	proc    *os.Process
	ready   chan struct{} // closed when the present process is ready
	gone    chan struct{} // closed when it has ended
	heard   time.Time     // when it last said that it is starting
	answer  chan error    // of the present process to a reload
	trace   chan struct{} // closed when its standard error is
	stopped bool
	retired bool // its control socket was closed on purpose
	sent    uint64
	done    chan struct{} // closed when it will not be started again
	// OnDeath is called after each death, before a restart.
	onDeath func(*Child)
	restart bool
}

// Start starts a child. Its messages go to handle, which runs in one goroutine
// per child and must close what files it does not keep. onDeath, unless nil, is
// called whenever it has ended, before it is started again.
func Start(spec Spec, log *maillog.Logger, handle func(*Child, *Message), onDeath func(*Child), restart Restart) (*Child, error) {
	c := &Child{log: log, handle: handle, spec: spec, done: make(chan struct{}), onDeath: onDeath, restart: restart == Always}
	if err := c.start(); err != nil {
		return nil, err
	}
	go c.watch()
	return c, nil
}

// Restart says what happens when a child ends.
type Restart uint8

// What may happen.
const (
	Always   Restart = iota // start it again
	OnDemand                // whoever needs it starts another
)

func (c *Child) start() error {
	ours, theirs, err := NewPair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	r, w, err := os.Pipe()
	if err != nil {
		ours.Close()
		return err
	}
	defer w.Close()
	cmd := exec.Command("/proc/self/exe")
	spec := c.present()
	cmd.Args = []string{spec.Title, RoleArg, spec.Role}
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = w
	cmd.Dir = "/"
	cmd.Env = childEnvironment()
	// A child must not outlive its master, nor get the terminal's signals.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: 0}
	if err := startSlack(cmd, spec.TimerSlack); err != nil {
		ours.Close()
		r.Close()
		return fmt.Errorf("service(%s): %w", c.name(), err)
	}
	trace := make(chan struct{})
	c.mu.Lock()
	c.conn, c.proc, c.trace = ours, cmd.Process, trace
	c.ready, c.gone, c.answer = make(chan struct{}), make(chan struct{}), make(chan error, 1)
	c.sent++
	err = c.spec.send(ours, "init") // nobody else may say anything before
	c.mu.Unlock()
	go func() {
		defer close(trace)
		c.logStandardError(r, cmd.Process.Pid)
	}()
	if err != nil {
		c.log.Errorf("service(%s): %v", c.name(), err) // it ends, and is started again
	}
	return nil
}

// childEnvironment keeps the few variables that a daemon may need.
func childEnvironment() []string {
	env := []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin"}
	for _, name := range []string{"TZ", "LANG", "GODEBUG", "GOMAXPROCS", "GOGC", "GOMEMLIMIT", "GOTRACEBACK", "GOCOVERDIR", "DOVETAIL_RESOLV_CONF", SingleUserVariable} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// send sends the settings.
func (spec *Spec) send(conn *Conn, kind string) error {
	in := initial{Identity: spec.Identity, Log: spec.Log, Listeners: spec.Listeners, HasConfig: spec.Config != nil, Arg: spec.Arg}
	var files []*os.File
	if spec.Config != nil {
		f, err := Memfd("config", spec.Config)
		if err != nil {
			return err
		}
		defer f.Close()
		files = append(files, f)
	}
	files = append(files, spec.LogFiles.list(spec.Log)...)
	for i := range spec.Listeners {
		f := spec.Sockets.File(&spec.Listeners[i])
		if f == nil {
			return fmt.Errorf("listener %s is not open", spec.Listeners[i].Name)
		}
		files = append(files, f)
	}
	return conn.Send(kind, in, files...)
}

// watch serves the child's messages and starts it again when it died.
func (c *Child) watch() {
	defer close(c.done)
	pause := time.Duration(0)
	for {
		wasReady := c.serve()
		c.mu.Lock()
		proc, stopped, retired := c.proc, c.stopped, c.retired
		gone, trace := c.gone, c.trace
		c.mu.Unlock()
		state, err := proc.Wait()
		select { // what it says comes before how it ended
		case <-trace:
		case <-time.After(traceWait):
		}
		if !stopped && !retired {
			c.logDeath(state, err)
		}
		close(gone)
		if c.onDeath != nil {
			c.onDeath(c)
		}
		if stopped || !c.restart {
			return
		}
		pause = nextPause(pause, wasReady)
		if !c.restartAfter(pause) {
			return
		}
	}
}

// nextPause doubles the pause while a child keeps failing at start.
func nextPause(last time.Duration, wasReady bool) time.Duration {
	if wasReady {
		return 0
	}
	return min(max(2*last, 2*time.Second), time.Minute)
}

func (c *Child) restartAfter(pause time.Duration) bool {
	if pause > 0 {
		c.logThrottling(pause)
	}
	for deadline := time.Now().Add(pause); ; {
		c.mu.Lock()
		stopped := c.stopped
		c.mu.Unlock()
		if stopped {
			return false
		}
		left := time.Until(deadline)
		if left <= 0 {
			break
		}
		time.Sleep(min(left, 100*time.Millisecond))
	}
	if err := c.start(); err != nil {
		c.log.Errorf("%v", err)
		return false
	}
	return true
}

// serve handles messages until the child is gone and reports whether it ever was ready.
func (c *Child) serve() (wasReady bool) {
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	defer conn.Close()
	for {
		m, err := conn.Receive()
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) && !errors.Is(err, syscall.ECONNRESET) {
				c.log.Errorf("service(%s): %v", c.name(), err)
			}
			return wasReady
		}
		switch m.Kind {
		case "starting":
			c.mu.Lock()
			c.heard = time.Now()
			c.mu.Unlock()
		case "ready":
			if !wasReady {
				wasReady = true
				close(c.ready)
			}
		case "reloaded":
			c.answered(&m)
		default:
			c.handle(c, &m)
		}
	}
}

// Send sends a message to the child's present process.
func (c *Child) Send(kind string, body any, files ...*os.File) error {
	c.mu.Lock()
	conn := c.conn
	c.sent++
	c.mu.Unlock()
	return conn.Send(kind, body, files...)
}

// Successor waits until another process has taken the place of the one with the pid, and reports whether
// one has: in time, and if the child is one that is started again at all.
func (c *Child) Successor(pid int, timeout time.Duration) bool {
	if !c.restart {
		return false
	}
	const poll = 5 * time.Millisecond
	for deadline := time.Now().Add(timeout); time.Now().Before(deadline); time.Sleep(poll) {
		if c.PID() != pid {
			return true
		}
	}
	return false
}

// WaitReady waits until the child's present process is ready, or is gone, or has said
// nothing for as long as timeout: see [Process.Starting].
func (c *Child) WaitReady(timeout time.Duration) error {
	c.mu.Lock()
	ready, gone := c.ready, c.gone
	c.mu.Unlock()
	began := time.Now()
	late := time.After(timeout)
	for {
		select {
		case <-ready:
			return nil
		default:
		}
		select {
		case <-ready:
		case <-gone:
			return fmt.Errorf("service(%s): ended while starting", c.name())
		case <-late:
			c.mu.Lock()
			quiet := time.Since(c.heard)
			c.mu.Unlock()
			if quiet < timeout {
				late = time.After(timeout - quiet)
				continue
			}
			return fmt.Errorf("service(%s): not ready after %v", c.name(), time.Since(began).Round(time.Second))
		}
	}
}

// present is what the child is to be now.
func (c *Child) present() *Spec {
	c.mu.Lock()
	defer c.mu.Unlock()
	spec := c.spec
	return &spec
}

func (c *Child) name() string { return c.present().name() }

// Identity is who the child is.
func (c *Child) Identity() Identity { return c.present().Identity }

// Reload gives the child new settings and returns when it goes by them. If it
// refuses them, it goes on with those it had and Reload returns why; a process
// that takes its place starts with the same.
func (c *Child) Reload(spec Spec, timeout time.Duration) error {
	before := *c.present()
	c.mu.Lock()
	c.spec = spec
	answer, gone := c.answer, c.gone
	c.mu.Unlock()
	select {
	case <-answer: //nolint:errcheck // to an earlier reload, which did not wait so long
	default:
	}
	c.mu.Lock()
	conn := c.conn
	c.sent++
	c.mu.Unlock()
	err := spec.send(conn, "reload")
	if errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return nil // it has just ended; as below
	}
	if err == nil {
		select {
		case err = <-answer:
		case <-gone:
			return nil // its successor starts with the new settings
		case <-time.After(timeout):
			return fmt.Errorf("service(%s): not reloaded after %v", c.name(), timeout)
		}
	}
	if err != nil {
		c.mu.Lock()
		c.spec = before
		c.mu.Unlock()
	}
	return err
}

// reloaded is the body of the message of that name.
type reloaded struct {
	Error string `json:"error,omitempty"`
}

// answered handles the answer to a reload.
func (c *Child) answered(m *Message) {
	var body reloaded
	err := m.Decode(&body)
	if err == nil && body.Error != "" {
		err = errors.New(body.Error)
	}
	c.mu.Lock()
	answer := c.answer
	c.mu.Unlock()
	select {
	case answer <- err:
	default: // nobody waits any more
	}
}

// PID returns the process id of the present process.
func (c *Child) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.proc.Pid
}

// Retire closes the child's control socket if it has received all seen
// messages, so that it ends once its sessions have. It reports whether it did.
func (c *Child) Retire(seen uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sent != seen {
		return false
	}
	c.retired = true
	c.conn.Close()
	return true
}

// Stop asks the child to end in order (SIGTERM) and does not start it again.
func (c *Child) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	c.proc.Signal(syscall.SIGTERM) //nolint:errcheck // it may be gone already
}

// Kill ends the child at once.
func (c *Child) Kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	c.proc.Kill() //nolint:errcheck // it may be gone already
}

// Done is closed when the child has ended and will not be started again.
func (c *Child) Done() <-chan struct{} { return c.done }
