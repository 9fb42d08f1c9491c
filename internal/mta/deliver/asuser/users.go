package asuser

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/auth/system"
	"github.com/dovetail-mail/dovetail/internal/master"
)

// defaultShell is that of users without one.
const defaultShell = "/bin/sh"

// users finds users of the system: by the name service switch through the
// program dovetail-nss where it is installed, else in /etc/passwd.
type users struct {
	helper string          // path of dovetail-nss, or empty
	as     master.Identity // who it runs as

	mu     sync.Mutex
	client *system.Client
	ended  chan struct{} // of the running helper
}

// lookupTimeout bounds how long the name service may take.
const lookupTimeout = 30 * time.Second

func newUsers(as master.Identity) *users {
	return &users{helper: findHelper(), as: as}
}

// findHelper returns the path of dovetail-nss, empty if it is not installed.
func findHelper() string {
	paths := []string{"/usr/libexec/dovetail/dovetail-nss", "/usr/lib/dovetail/dovetail-nss"}
	if exe, err := os.Executable(); err == nil {
		paths = append([]string{filepath.Join(filepath.Dir(exe), "dovetail-nss")}, paths...)
	}
	for _, path := range paths {
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// byName finds a user; nil if there is none.
func (u *users) byName(ctx context.Context, name string) (*User, error) {
	if name == "" || strings.ContainsAny(name, "/:\x00\n") {
		return nil, nil // nobody is called so
	}
	if u.helper == "" {
		return passwdEntry(func(e *User) bool { return e.Name == name })
	}
	return u.ask(ctx, func(ctx context.Context, c *system.Client) (*system.User, error) { return c.Lookup(ctx, name) })
}

// byID finds a user by number; nil if there is none.
func (u *users) byID(ctx context.Context, uid uint32) (*User, error) {
	if u.helper == "" {
		return passwdEntry(func(e *User) bool { return e.UID == uid })
	}
	return u.ask(ctx, func(ctx context.Context, c *system.Client) (*system.User, error) { return c.LookupID(ctx, uid) })
}

// ask asks the helper, and another one if that has just ended.
func (u *users) ask(ctx context.Context, fn func(context.Context, *system.Client) (*system.User, error)) (*User, error) {
	ctx, stop := context.WithTimeout(ctx, lookupTimeout)
	defer stop()
	var err error
	for range 2 {
		var c *system.Client
		if c, err = u.connected(); err != nil {
			return nil, err
		}
		var found *system.User
		if found, err = fn(ctx, c); err == nil {
			return userOf(found), nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

func userOf(s *system.User) *User {
	if s == nil {
		return nil
	}
	return (&User{Name: s.Name, UID: s.UID, GID: s.GID, Home: s.Home, Shell: s.Shell}).complete()
}

func (u *User) complete() *User {
	if u.Shell == "" {
		u.Shell = defaultShell
	}
	return u
}

// connected returns a client of a running helper.
func (u *users) connected() (*system.Client, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.client != nil {
		select {
		case <-u.ended:
			u.client.Close()
		default:
			return u.client, nil
		}
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	cmd := exec.Command(u.helper)
	cmd.Stdin, cmd.Stderr, cmd.Dir = theirs, os.Stderr, "/"
	cmd.Env = []string{"PATH=" + commandPath}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if u.as.Change {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(u.as.UID), Gid: uint32(u.as.GID)}
	}
	if err := cmd.Start(); err != nil {
		ours.Close()
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait() //nolint:errcheck // another is started when it is needed
	}()
	u.client, u.ended = system.NewClientConn(ours), ended
	return u.client, nil
}

func socketPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "dovetail-nss")
	f := os.NewFile(uintptr(fds[0]), "dovetail-nss")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}

// maxPasswdLine bounds one line of /etc/passwd.
const maxPasswdLine = 64 << 10

// passwdEntry finds a user in /etc/passwd.
func passwdEntry(wanted func(*User) bool) (*User, error) {
	f, err := os.Open("/etc/passwd")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxPasswdLine)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) != 7 || fields[0] == "" || strings.ContainsAny(fields[0][:1], "+-#") {
			continue
		}
		uid, err := strconv.ParseUint(fields[2], 10, 32)
		gid, err2 := strconv.ParseUint(fields[3], 10, 32)
		if err != nil || err2 != nil {
			continue
		}
		u := &User{Name: fields[0], UID: uint32(uid), GID: uint32(gid), Home: fields[5], Shell: fields[6]}
		if wanted(u) {
			return u.complete(), nil
		}
	}
	return nil, lines.Err()
}
