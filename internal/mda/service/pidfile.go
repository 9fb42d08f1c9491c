package service

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// A pidFile names the running master: base_dir/master.pid.
type pidFile string

// ErrRunning is returned by Run when the service is running already.
type ErrRunning struct {
	PID  int
	Path string
}

func (e *ErrRunning) Error() string {
	return fmt.Sprintf("Dovecot is already running with PID %d (read from %s)", e.PID, e.Path)
}

func createPIDFile(baseDir string) (pidFile, error) {
	path := filepath.Join(baseDir, "master.pid")
	if pid, err := ReadPID(baseDir); err == nil && pid != os.Getpid() {
		return "", &ErrRunning{PID: pid, Path: path}
	}
	if err := os.MkdirAll(baseDir, 0o755); err != nil {
		return "", err
	}
	return pidFile(path), os.WriteFile(path, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o644)
}

func (f pidFile) remove() { os.Remove(string(f)) }

// ReadPID returns the process id of the running master.
func ReadPID(baseDir string) (int, error) {
	text, err := os.ReadFile(filepath.Join(baseDir, "master.pid"))
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, err
	}
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return 0, err
	}
	return pid, nil
}
