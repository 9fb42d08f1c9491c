package spawn

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/table"
)

// Name is the service that listeners of spawn(8) entries belong to.
const Name = "spawn"

// Config is what a Service works with.
type Config struct {
	Entry     *postfix.ServiceEntry
	Processes int             // how many commands run at a time; 0: any number
	Owner     master.Identity // of the mail system, whose rights no command gets
	Env       []string        // of the commands
	TimeLimit time.Duration   // of one command
	Log       *maillog.Logger // tag "postfix/spawn[pid]"
}

// A Service is a spawn(8) entry of master.cf.
type Service struct {
	Config
	entry *entry
	bad   error         // why no command can be started
	slots chan struct{} // one is taken for each command; nil: any number
}

// New returns a service. A mistake in the arguments of the entry is told with each
// connection, as Postfix has it.
func New(c Config) *Service {
	s := &Service{Config: c}
	s.entry, s.bad = parseEntry(c.Entry)
	if c.Processes > 0 {
		s.slots = make(chan struct{}, c.Processes)
	}
	return s
}

// acceptDelay is the pause after an accept that failed, usually for lack of descriptors.
const acceptDelay = time.Second

// Serve starts a command for each connection until l is closed. Commands that run then
// go on.
func (s *Service) Serve(l net.Listener) {
	for {
		if s.slots != nil {
			s.slots <- struct{}{}
		}
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			s.Log.Warningf("accept connection: %v", err)
			time.Sleep(acceptDelay)
			s.release()
			continue
		}
		go func() {
			defer s.release()
			s.serve(conn)
		}()
	}
}

func (s *Service) release() {
	if s.slots != nil {
		<-s.slots
	}
}

// serve runs the command for a connection, and waits for its end.
func (s *Service) serve(conn net.Conn) {
	cmd, err := s.start(conn)
	conn.Close()
	if errors.Is(err, errNotExecuted) {
		s.Log.Warningf("command %s exit status 1", s.program())
		return
	}
	if err != nil {
		s.Log.Fatalf("%v", err)
		return
	}
	over := time.AfterFunc(s.TimeLimit, func() {
		s.Log.Warningf("%s: process id %d: command time limit exceeded", s.program(), cmd.Process.Pid)
		unix.Kill(-cmd.Process.Pid, unix.SIGKILL) //nolint:errcheck // it may just have ended
	})
	err = cmd.Wait()
	over.Stop()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		s.Log.Warningf("command %s killed by signal %d", s.program(), status.Signal())
		return
	}
	s.Log.Warningf("command %s exit status %d", s.program(), exit.ExitCode())
}

// errNotExecuted says that the program cannot be executed, which was logged in the name of
// the process that was to become it.
var errNotExecuted = errors.New("not executed")

func (s *Service) program() string { return s.entry.command[0] }

// start starts the command with the connection as all that it reads and writes.
func (s *Service) start(conn net.Conn) (*exec.Cmd, error) {
	if s.bad != nil {
		return nil, s.bad
	}
	id, err := s.entry.identity(s.Owner)
	if err != nil {
		return nil, err
	}
	f, err := blocking(conn)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd := &exec.Cmd{
		Path: find(s.program()), Args: s.entry.command, Env: s.Env, Stdin: f, Stdout: f, Stderr: f,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if id.Change {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(id.UID), Gid: uint32(id.GID), Groups: []uint32{uint32(id.GID)}}
	}
	if err := cmd.Start(); err != nil {
		var errno syscall.Errno
		if errors.As(err, &errno) {
			err = errno
		}
		s.Log.Fatalf("spawn_comand: execvp %s: %s", s.program(), table.Reason(err)) // as Postfix spells it
		return nil, errNotExecuted
	}
	return cmd, nil
}

// blocking is a connection's descriptor as commands expect it.
func blocking(conn net.Conn) (*os.File, error) {
	c, ok := conn.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, errors.New("the connection has no file descriptor")
	}
	f, err := c.File()
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(int(f.Fd()), false); err != nil {
		f.Close()
		return nil, os.NewSyscallError("fcntl", err)
	}
	return f, nil
}

// searchPath is PATH for commands, where also their programs are looked for.
var searchPath = []string{"/usr/bin", "/bin"}

// find is the file that the name of a program stands for.
func find(name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	for _, dir := range searchPath {
		if path := filepath.Join(dir, name); unix.Access(path, unix.X_OK) == nil {
			return path
		}
	}
	return name
}
