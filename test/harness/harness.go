package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// TB is what the harness needs of a testing.TB.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
	Failed() bool
}

// A Program says whose implementation of a service runs.
type Program int

// The programs.
const (
	Dovetail Program = iota
	Original         // the real Dovecot or Postfix
)

func (p Program) String() string {
	if p == Dovetail {
		return "dovetail"
	}
	return "original"
}

// startTimeout bounds how long a server may take to serve.
const startTimeout = 60 * time.Second

// Dir returns a new directory that every user may enter, removed at the end.
func Dir(t TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		const reason = "starts mail servers as production does: must be run by root"
		if s, ok := t.(interface{ Skipf(string, ...any) }); ok {
			s.Skipf(reason)
		}
		t.Fatalf(reason)
	}
	dir, err := os.MkdirTemp("", "dovetail-test-")
	if err != nil {
		t.Fatalf("%v", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if os.Getenv("DOVETAIL_KEEP") == "" {
			os.RemoveAll(dir)
		}
	})
	return dir
}

// Write writes a file for a server.
func Write(t TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatalf("%v", err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatalf("%v", err)
	}
}

// FreePort returns a loopback TCP port that nobody listens on, and that no test, of this
// process or another, gets before this process has ended. It is below those that
// the system gives to outgoing connections and to others who ask for any port, so
// it is still free when the server starts.
func FreePort(t TB) int {
	t.Helper()
	for range 1000 {
		port := 10000 + rand.IntN(20000)
		if !claimPort(t, port) {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		l.Close()
		return port
	}
	t.Fatalf("no free port")
	return 0
}

// claimPort takes the lock of a port, which the process keeps: not below TMPDIR, where
// that may be a file system that is to be unmounted.
func claimPort(t TB, port int) bool {
	t.Helper()
	dir := fmt.Sprintf("/tmp/dovetail-test-ports-%d", os.Getuid())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatalf("%v", err)
	}
	fd, err := syscall.Open(filepath.Join(dir, fmt.Sprint(port)), syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatalf("%v", err)
	}
	if syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		syscall.Close(fd)
		return false
	}
	return true
}

var build struct {
	once sync.Once
	path string
	err  error
}

// Binary returns the path of the dovetail binary, built once per test process,
// or the one that the environment variable DOVETAIL_BINARY names.
func Binary(t TB) string {
	t.Helper()
	if path := os.Getenv("DOVETAIL_BINARY"); path != "" {
		return path
	}
	build.once.Do(func() {
		if build.err = noteSources(); build.err != nil {
			return
		}
		dir := filepath.Join(os.TempDir(), "dovetail-bin-"+fmt.Sprint(os.Getpid()))
		build.path = filepath.Join(dir, "dovetail")
		cmd := exec.Command("go", "build", "-o", build.path, "github.com/dovetail-mail/dovetail/cmd/dovetail")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			build.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
		// The program that asks PAM lies beside it.
		cmd = exec.Command("go", "build", "-o", filepath.Join(dir, "dovetail-nss"), "github.com/dovetail-mail/dovetail/cmd/dovetail-nss")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
		if out, err := cmd.CombinedOutput(); err != nil && build.err == nil {
			build.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
		os.Chmod(dir, 0o755)
	})
	if build.err != nil {
		t.Fatalf("%v", build.err)
	}
	return build.path
}

// noteSources reads the directories of the program's source. The go command notes which files and directories of the
// module a test looks at, and takes an earlier result for it only where these are unchanged: it does not know by
// itself that the test is about the program.
func noteSources() error {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			return errors.New("no go.mod above the test's directory")
		}
		root = filepath.Dir(root)
	}
	for _, dir := range []string{"cmd", "internal", "packaging"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(_ string, _ fs.DirEntry, err error) error { return err })
		if err != nil {
			return err
		}
	}
	return nil
}

// CleanUp removes the binary that [Binary] built. TestMain calls it last.
func CleanUp() {
	if build.path != "" {
		os.RemoveAll(filepath.Dir(build.path))
	}
}

// A Process is a running server.
type Process struct {
	Cmd    *exec.Cmd
	name   string
	output lockedBuffer
	done   chan struct{}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Start starts a server in the foreground. At the end of the test it is ended
// with SIGTERM.
func Start(t TB, env []string, name string, args ...string) *Process {
	t.Helper()
	p := &Process{Cmd: exec.Command(name, args...), name: filepath.Base(name), done: make(chan struct{})}
	p.Cmd.Env = append(os.Environ(), env...)
	p.Cmd.Stdout, p.Cmd.Stderr = &p.output, &p.output
	p.Cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A grandchild that keeps the pipe open must not make Wait hang.
	p.Cmd.WaitDelay = 5 * time.Second
	if err := p.Cmd.Start(); err != nil {
		t.Fatalf("%v", err)
	}
	go func() {
		p.Cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() && p.Output() != "" {
			t.Logf("output of %s:\n%s", p.name, p.Output())
		}
	})
	return p
}

// Output is what the server has printed.
func (p *Process) Output() string { return p.output.String() }

// Done is closed when the server has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Stop ends the server in order.
func (p *Process) Stop() {
	p.Cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		syscall.Kill(-p.Cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
}

// WaitTCP waits until something listens at addr, or fails.
func WaitTCP(t TB, p *Process, addr string) {
	t.Helper()
	waitFor(t, p, "listener at "+addr, func() bool {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
}

// WaitSocket waits until something listens at the path.
func WaitSocket(t TB, p *Process, path string) {
	t.Helper()
	waitFor(t, p, "socket "+path, func() bool {
		c, err := net.Dial("unix", path)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
}

func waitFor(t TB, p *Process, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); {
		if ok() {
			return
		}
		if p != nil {
			select {
			case <-p.done:
				t.Fatalf("%s ended while starting:\n%s", p.name, p.Output())
			case <-time.After(20 * time.Millisecond):
			}
			continue
		}
		time.Sleep(20 * time.Millisecond)
	}
	output := ""
	if p != nil {
		output = p.Output()
	}
	t.Fatalf("no %s after %v\n%s", what, startTimeout, output)
}

// Eventually waits until ok returns true; the description says what for.
func Eventually(t TB, what string, ok func() bool) {
	t.Helper()
	waitFor(t, nil, what, ok)
}

// Run runs a command to its end and returns what it printed. It fails the test
// if the command does.
func Run(t TB, stdin, name string, args ...string) string {
	t.Helper()
	out, err := Try(stdin, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// Try runs a command to its end.
func Try(stdin, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.WaitDelay = 10 * time.Second // for children that keep its output open
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// logFile adds a server's log to the output of a failed test.
func logFile(t TB, path string) {
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		text, _ := os.ReadFile(path)
		if len(text) > 20000 {
			text = text[len(text)-20000:]
		}
		t.Logf("%s:\n%s", path, text)
	})
}
