package master

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A ListenerSpec is a socket that the configuration asks for.
type ListenerSpec struct {
	Name    string // listener's name: "imaps", "lmtp", "login/login", "smtp"
	Service string // service it belongs to: "imap-login", "auth", "smtpd"
	Network string // "tcp4", "tcp6", "tcp" or "unix"
	Address string // "127.0.0.1:143", or the socket's path
	Mode    fs.FileMode
	UID     int // -1: as created
	GID     int
	TLS     bool // TLS from the first byte
	HAProxy bool // a PROXY header comes first
	// Index says which of several configured services with equal names it
	// is: the line of master.cf, for instance.
	Index int
}

// key identifies what a socket is bound to, over reloads.
func (s *ListenerSpec) key() string { return s.Network + " " + s.Address }

// Listeners are the sockets that a master keeps open for its children. They
// stay open over reloads and deaths of children, so that no client is refused.
type Listeners struct {
	open      map[string]*os.File
	inherited []*os.File // from systemd, not yet claimed
}

// NewListeners returns an empty set. Sockets in inherited (systemd's socket
// activation) are used instead of binding anew where the address is the same.
func NewListeners(inherited []*os.File) *Listeners {
	return &Listeners{open: make(map[string]*os.File), inherited: inherited}
}

// Replace opens what specs ask for and is not open yet, then closes what they
// no longer ask for. If one cannot be opened nothing changes and the error
// says which.
func (l *Listeners) Replace(specs []ListenerSpec) error {
	c, err := l.Prepare(specs)
	if err != nil {
		return err
	}
	return c.Commit()
}

// A Change of the listeners has begun: those that will be needed are open,
// beside those that are there. It ends with Commit or Abort.
type Change struct {
	l      *Listeners
	specs  []ListenerSpec
	opened map[string]bool
}

// Prepare opens what specs ask for and is not open yet. If one cannot be opened
// nothing changes and the error, a [*ListenError] where it is about a socket,
// says which.
func (l *Listeners) Prepare(specs []ListenerSpec) (*Change, error) {
	c := &Change{l: l, specs: specs, opened: make(map[string]bool)}
	seen := make(map[string]bool, len(specs))
	for i := range specs {
		seen[specs[i].key()] = true
	}
	leaving := func(key string) bool { return !seen[key] }
	twice := make(map[string]bool, len(specs))
	for i := range specs {
		spec := &specs[i]
		err := c.open(spec, leaving)
		if err == nil && twice[spec.key()] {
			err = &ListenError{Spec: *spec, Err: syscall.EADDRINUSE}
		}
		if err != nil {
			c.Abort()
			return nil, err
		}
		twice[spec.key()] = true
	}
	return c, nil
}

func (c *Change) open(spec *ListenerSpec, leaving func(key string) bool) error {
	if _, ok := c.l.open[spec.key()]; ok {
		return nil
	}
	f, err := c.l.listen(spec, leaving)
	if err != nil {
		return err
	}
	c.l.open[spec.key()] = f
	c.opened[spec.key()] = true
	if spec.Network == "unix" {
		return setOwner(spec)
	}
	return nil
}

// Commit closes the listeners that are no longer asked for. Its error is about
// the owner or the mode of a socket that stays.
func (c *Change) Commit() error {
	var err error
	wanted := make(map[string]bool, len(c.specs))
	for i := range c.specs {
		spec := &c.specs[i]
		wanted[spec.key()] = true
		if spec.Network == "unix" && !c.opened[spec.key()] {
			err = errors.Join(err, setOwner(spec))
		}
	}
	for key := range c.l.open {
		if !wanted[key] {
			c.l.close(key)
		}
	}
	return err
}

// Abort closes the listeners that Prepare opened.
func (c *Change) Abort() {
	for key := range c.opened {
		c.l.close(key)
	}
}

func (l *Listeners) close(key string) {
	removeSocket(key)
	l.open[key].Close()
	delete(l.open, key)
}

// File returns the open socket of a spec given to [Listeners.Replace].
func (l *Listeners) File(spec *ListenerSpec) *os.File { return l.open[spec.key()] }

// Close closes all sockets and removes those of the file system.
func (l *Listeners) Close() {
	for key := range l.open {
		l.close(key)
	}
}

func removeSocket(key string) {
	const unixPrefix = "unix "
	if len(key) > len(unixPrefix) && key[:len(unixPrefix)] == unixPrefix {
		os.Remove(key[len(unixPrefix):])
	}
}

func (l *Listeners) listen(spec *ListenerSpec, leaving func(key string) bool) (*os.File, error) {
	if f := l.claim(spec); f != nil {
		return f, nil
	}
	if spec.Network == "unix" {
		return listenUnix(spec)
	}
	ln, err := net.Listen(spec.Network, spec.Address)
	if errors.Is(err, syscall.EADDRINUSE) {
		ln, err = l.listenBeside(spec, leaving, err)
	}
	if err != nil {
		return nil, newListenError(spec, err)
	}
	defer ln.Close()
	return ln.(*net.TCPListener).File()
}

// listenBeside opens a listener whose port another has that is about to go: one
// of a single address for one of all addresses, or the other way round. The
// system allows both at a time when both agree to it, so nobody is refused. They
// agree for this moment only, because two servers could share a port for good.
func (l *Listeners) listenBeside(spec *ListenerSpec, leaving func(key string) bool, inUse error) (net.Listener, error) {
	_, port, _ := net.SplitHostPort(spec.Address)
	var going []*os.File
	for key, f := range l.open {
		if strings.HasPrefix(key, "tcp") && strings.HasSuffix(key, ":"+port) && leaving(key) {
			going = append(going, f)
		}
	}
	if len(going) == 0 {
		return nil, inUse
	}
	share := func(c syscall.RawConn, on int) {
		c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, on) }) //nolint:errcheck // then the port stays in use
	}
	for _, f := range going {
		raw, err := f.SyscallConn()
		if err != nil {
			return nil, err
		}
		share(raw, 1)
		defer share(raw, 0)
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		share(c, 1)
		return nil
	}}
	ln, err := lc.Listen(context.Background(), spec.Network, spec.Address)
	if err != nil {
		return nil, err
	}
	raw, err := ln.(*net.TCPListener).SyscallConn()
	if err != nil {
		ln.Close()
		return nil, err
	}
	share(raw, 0)
	return ln, nil
}

// A ListenError is why a socket cannot be opened. It reads as Dovecot says it.
type ListenError struct {
	Spec ListenerSpec
	Err  error
}

func newListenError(spec *ListenerSpec, err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		err = errno
	}
	return &ListenError{Spec: *spec, Err: err}
}

func (e *ListenError) Error() string {
	host, port, _ := net.SplitHostPort(e.Spec.Address)
	return fmt.Sprintf("service(%s): listen(%s, %s) failed: %s", e.Spec.Service, host, port, e.Reason())
}

func (e *ListenError) Unwrap() error { return e.Err }

// Reason is the cause in the words of strerror(3).
func (e *ListenError) Reason() string {
	text := e.Err.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}

// claim returns the inherited socket that is bound to the address, if any.
func (l *Listeners) claim(spec *ListenerSpec) *os.File {
	for i, f := range l.inherited {
		ln, err := net.FileListener(f)
		if err != nil {
			continue
		}
		same := ln.Addr().String() == spec.Address
		if u, ok := ln.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
		}
		ln.Close()
		if same {
			l.inherited = append(l.inherited[:i], l.inherited[i+1:]...)
			return f
		}
	}
	return nil
}

func listenUnix(spec *ListenerSpec) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(spec.Address), 0o755); err != nil {
		return nil, err
	}
	if err := removeStale(spec.Address); err != nil {
		return nil, err
	}
	// Nobody may connect before mode and owner are as asked.
	old := unix.Umask(0o777)
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: spec.Address, Net: "unix"})
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("bind(%s) failed: %w", spec.Address, err)
	}
	defer ln.Close()
	ln.SetUnlinkOnClose(false)
	return ln.File()
}

// removeStale removes the socket that a dead process left behind. One that
// answers belongs to somebody.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("bind(%s) failed: the file exists and is not a socket", path)
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return fmt.Errorf("Socket already exists: %s", path)
	}
	return os.Remove(path)
}

func setOwner(spec *ListenerSpec) error {
	if spec.UID >= 0 || spec.GID >= 0 {
		if err := os.Lchown(spec.Address, spec.UID, spec.GID); err != nil && os.Geteuid() == 0 {
			return fmt.Errorf("chown(%s, %d, %d) failed: %w", spec.Address, spec.UID, spec.GID, err)
		}
	}
	if err := os.Chmod(spec.Address, spec.Mode); err != nil {
		return fmt.Errorf("chmod(%s) failed: %w", spec.Address, err)
	}
	return nil
}
