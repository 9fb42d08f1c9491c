package master

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
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
	HAProxy bool // PROXY protocol header first
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
	wanted := make(map[string]*os.File, len(specs))
	var opened []*os.File
	for i := range specs {
		spec := &specs[i]
		f, ok := l.open[spec.key()]
		if !ok {
			var err error
			if f, err = l.listen(spec); err != nil {
				for _, f := range opened {
					f.Close()
				}
				return err
			}
			opened = append(opened, f)
		}
		if spec.Network == "unix" {
			if err := setOwner(spec); err != nil {
				return err
			}
		}
		wanted[spec.key()] = f
	}
	for key, f := range l.open {
		if _, ok := wanted[key]; !ok {
			removeSocket(key)
			f.Close()
		}
	}
	l.open = wanted
	return nil
}

// File returns the open socket of a spec given to [Listeners.Replace].
func (l *Listeners) File(spec *ListenerSpec) *os.File { return l.open[spec.key()] }

// Close closes all sockets and removes those of the file system.
func (l *Listeners) Close() {
	for key, f := range l.open {
		removeSocket(key)
		f.Close()
	}
	clear(l.open)
}

func removeSocket(key string) {
	const unixPrefix = "unix "
	if len(key) > len(unixPrefix) && key[:len(unixPrefix)] == unixPrefix {
		os.Remove(key[len(unixPrefix):])
	}
}

func (l *Listeners) listen(spec *ListenerSpec) (*os.File, error) {
	if f := l.claim(spec); f != nil {
		return f, nil
	}
	if spec.Network == "unix" {
		return listenUnix(spec)
	}
	ln, err := net.Listen(spec.Network, spec.Address)
	if err != nil {
		return nil, listenError(spec, err)
	}
	defer ln.Close()
	return ln.(*net.TCPListener).File()
}

// listenError says it in the words of the originals.
func listenError(spec *ListenerSpec, err error) error {
	host, port, _ := net.SplitHostPort(spec.Address)
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return fmt.Errorf("listen(%s, %s) failed: %w", host, port, errno)
	}
	return fmt.Errorf("listen(%s, %s) failed: %w", host, port, err)
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
