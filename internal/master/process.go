package master

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// RoleArg is the first argument of a re-executed daemon process; the role follows.
const RoleArg = "role"

// controlFD is the descriptor on which a child inherits its control socket.
const controlFD = 3

// Identity is who a process becomes. The zero value of Change means: stay.
type Identity struct {
	Change bool   `json:"change"`
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
	Groups []int  `json:"groups,omitempty"`
	Chroot string `json:"chroot,omitempty"`
}

// Equal reports whether it is the same identity.
func (id Identity) Equal(other Identity) bool {
	return id.Change == other.Change && id.UID == other.UID && id.GID == other.GID &&
		id.Chroot == other.Chroot && slices.Equal(id.Groups, other.Groups)
}

// LogTarget is where a process logs. Files arrive as descriptors.
type LogTarget struct {
	Style     maillog.Style `json:"style"`
	Syslog    bool          `json:"syslog"`
	Facility  int           `json:"facility,omitempty"`
	Ident     string        `json:"ident,omitempty"`
	Tag       string        `json:"tag"` // of the process's own lines
	Host      string        `json:"host,omitempty"`
	Timestamp string        `json:"timestamp,omitempty"` // as for maillog.Sink.SetTimestamp
	Debug     LogPlace      `json:"debug,omitempty"`
	Info      LogPlace      `json:"info,omitempty"`
}

// initial is the body of "init" and "reload". The attached descriptors are, in
// this order: configuration (if any), log files (as many as the target wants), listeners.
type initial struct {
	Identity  Identity       `json:"identity"`
	Log       LogTarget      `json:"log"`
	Listeners []ListenerSpec `json:"listeners"`
	HasConfig bool           `json:"has_config"`
	Arg       string         `json:"arg,omitempty"`
}

// A Process is the child's side: what the master gave it.
type Process struct {
	Control  *Conn
	Log      *maillog.Logger
	Sink     *maillog.Sink
	Identity Identity
	Arg      string // role's argument: the service of a login process, the configuration directory of the mta
	Config   []byte // encoded configuration of a Dovecot service

	mu        sync.Mutex
	listeners []*Listener
}

// A Listener is a listening socket together with what the configuration says of it.
type Listener struct {
	net.Listener
	ListenerSpec
}

// Enter makes this process, re-executed with [RoleArg], a child of its master:
// it waits for the init message and opens the log. It does not drop
// privileges yet: a role may first have to open what only root can.
func Enter() (*Process, error) {
	unix.CloseOnExec(controlFD)
	conn, err := NewConn(os.NewFile(controlFD, "control"))
	if err != nil {
		return nil, fmt.Errorf("daemon processes are started by their master only: %w", err)
	}
	m, err := conn.Receive()
	if err != nil {
		return nil, fmt.Errorf("waiting for the master: %w", err)
	}
	if m.Kind != "init" {
		return nil, fmt.Errorf("waiting for the master: unexpected message %q", m.Kind)
	}
	p := &Process{Control: conn}
	if err := p.adopt(&m); err != nil {
		return nil, err
	}
	// What ps and top show; it would be that of /proc/self/exe.
	os.WriteFile("/proc/self/comm", []byte(p.Log.Tag()), 0) //nolint:errcheck // a name is not worth failing for
	Tidy()
	return p, nil
}

// adopt takes over what an init or reload message brings. The listeners that
// were there before stay open.
func (p *Process) adopt(m *Message) error {
	var in initial
	if err := m.Decode(&in); err != nil {
		return err
	}
	if m.lost {
		return ErrDescriptors
	}
	files := m.Files
	if in.HasConfig {
		content, err := ReadMemfd(files[0])
		if err != nil {
			return err
		}
		p.Config, files = content, files[1:]
	}
	var logs LogFiles
	var err error
	if logs, files, err = in.Log.takeFiles(files); err != nil {
		return err
	}
	if err := p.openLog(in.Log, logs); err != nil {
		return err
	}
	listeners, err := newListeners(in.Listeners, files)
	if err != nil {
		return err
	}
	p.Identity, p.Arg = in.Identity, in.Arg
	p.setListeners(listeners)
	return nil
}

func (p *Process) openLog(t LogTarget, f LogFiles) error {
	switch {
	case p.Sink != nil && f.Main != nil:
		p.Sink.Reopen(f.Main)
	case p.Sink != nil:
		// Syslog stays connected; the sink connects again when it must.
	case f.Main != nil:
		p.Sink = maillog.NewFile(f.Main, t.Style, t.Host)
	default:
		conn, err := maillog.DialSyslog()
		if err != nil {
			return fmt.Errorf("syslog: %w", err)
		}
		p.Sink = maillog.NewSyslog(conn, t.Style, t.Facility, t.Ident)
	}
	if err := t.Route(p.Sink, f); err != nil {
		return err
	}
	if p.Log == nil {
		tag := t.Tag
		if t.Style == maillog.Postfix {
			tag += "[" + strconv.Itoa(os.Getpid()) + "]"
		}
		p.Log = maillog.New(p.Sink, tag)
	}
	return nil
}

// newListeners makes listeners of the descriptors that came along. A socket that
// stays is the master's: its new listener is another descriptor of it, and no
// client notices.
func newListeners(specs []ListenerSpec, files []*os.File) ([]*Listener, error) {
	if len(files) != len(specs) {
		return nil, fmt.Errorf("master sent %d sockets for %d listeners", len(files), len(specs))
	}
	listeners := make([]*Listener, len(specs))
	for i := range specs {
		ln, err := net.FileListener(files[i])
		files[i].Close()
		if err != nil {
			closeAll(listeners[:i])
			return nil, fmt.Errorf("listener %s: %w", specs[i].Name, err)
		}
		if u, ok := ln.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false) // the master removes it
		}
		listeners[i] = &Listener{Listener: ln, ListenerSpec: specs[i]}
	}
	return listeners, nil
}

func closeAll(listeners []*Listener) {
	for _, l := range listeners {
		l.Close()
	}
}

func (p *Process) setListeners(listeners []*Listener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listeners = listeners
}

// Listeners returns the current listeners.
func (p *Process) Listeners() []*Listener {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.listeners)
}

// CloseListeners closes all listeners: the process takes no new clients.
func (p *Process) CloseListeners() {
	p.mu.Lock()
	defer p.mu.Unlock()
	closeAll(p.listeners)
	p.listeners = nil
}

// Reload takes over a reload message and has apply put it into force, with the
// listeners to accept from now on. Those that were there before are closed
// then. If apply fails everything stays as it was. The master is told.
func (p *Process) Reload(m *Message, apply func([]*Listener) error) error {
	err := p.reload(m, apply)
	var answer reloaded
	if err != nil {
		answer.Error = err.Error()
	}
	return errors.Join(err, p.Control.Send("reloaded", &answer))
}

func (p *Process) reload(m *Message, apply func([]*Listener) error) error {
	config, identity, arg, before := p.Config, p.Identity, p.Arg, p.Listeners()
	if err := p.adopt(m); err != nil {
		p.Config = config
		return err
	}
	if err := apply(p.Listeners()); err != nil {
		p.CloseListeners()
		p.Config, p.Identity, p.Arg = config, identity, arg
		p.setListeners(before)
		return err
	}
	closeAll(before)
	return nil
}

// Starting tells the master that the process gets on with what must come before it
// serves: [Child.WaitReady] has new patience.
func (p *Process) Starting() error { return p.Control.Send("starting", struct{}{}) }

// Ready tells the master that the process serves.
func (p *Process) Ready() error { return p.Control.Send("ready", struct{}{}) }

// Drop gives up root: it changes the root directory, the groups, the group and
// the user, in all threads, and makes sure that there is no way back.
func (p *Process) Drop() error {
	id := p.Identity
	if !id.Change {
		return nil
	}
	if id.Chroot != "" {
		if err := unix.Chroot(id.Chroot); err != nil {
			return fmt.Errorf("chroot(%s) failed: %w", id.Chroot, err)
		}
		if err := unix.Chdir("/"); err != nil {
			return fmt.Errorf("chdir(/) in chroot %s failed: %w", id.Chroot, err)
		}
	}
	if err := setIdentity(id); err != nil {
		return err
	}
	if id.UID != 0 && (unix.Geteuid() == 0 || setIdentity(Identity{}) == nil) {
		return errors.New("privileges could be regained after they were dropped")
	}
	return nil
}

// Dup returns a second descriptor of f, closed on exec.
func Dup(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}
