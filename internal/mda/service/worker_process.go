package service

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/master"
)

// helperPaths are where dovetail-nss may be, beside the directory of the program.
var helperPaths = []string{"/usr/libexec/dovetail/dovetail-nss", "/usr/lib/dovetail/dovetail-nss"}

// findHelper returns the path of dovetail-nss, "" if it is not installed.
func findHelper() string {
	paths := helperPaths
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

// RunAuthWorker is the auth-worker process, which has the rights that PAM and shadow
// need, and auth has not. For each connection of auth to its socket it starts
// dovetail-nss and gives it the connection.
func RunAuthWorker(p *master.Process) error {
	if err := p.Drop(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	w := &workerProcess{p: p, ctx: ctx}
	w.serve(p.Listeners())
	if err := p.Ready(); err != nil {
		return err
	}
	go func() {
		defer stop()
		w.control()
	}()
	<-ctx.Done()
	p.CloseListeners()
	w.working.Wait()
	return nil
}

// A workerProcess is the running auth-worker process.
type workerProcess struct {
	p       *master.Process
	ctx     context.Context
	working sync.WaitGroup
}

func (w *workerProcess) serve(listeners []*master.Listener) {
	for _, l := range listeners {
		w.working.Go(func() { w.accept(l) })
	}
}

// accept serves a listener until it is closed.
func (w *workerProcess) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		w.working.Go(func() {
			defer conn.Close()
			if err := w.help(conn); err != nil && w.ctx.Err() == nil {
				w.p.Log.Errorf("%v", err)
			}
		})
	}
}

// help runs dovetail-nss for one connection. It ends when auth closes that.
func (w *workerProcess) help(conn net.Conn) error {
	path := findHelper()
	if path == "" {
		return fmt.Errorf("dovetail-nss is not installed beside dovetail: PAM and shadow cannot be asked")
	}
	unix, ok := conn.(interface{ File() (*os.File, error) })
	if !ok {
		return fmt.Errorf("%s: not a unix socket", conn.LocalAddr())
	}
	f, err := unix.File()
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := exec.CommandContext(w.ctx, path)
	cmd.Stdin, cmd.Stderr = f, os.Stderr
	cmd.Dir = "/"
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("dovetail-nss: %w", err)
	}
	return nil
}

// control serves the master's messages until the process is to end.
func (w *workerProcess) control() {
	for {
		msg, err := w.p.Control.Receive()
		if err != nil {
			return
		}
		if msg.Kind != "reload" {
			msg.CloseFiles()
			continue
		}
		reload := func(listeners []*master.Listener) error {
			w.serve(listeners)
			return nil
		}
		if err := w.p.Reload(&msg, reload); err != nil {
			w.p.Log.Errorf("reload: %v", err)
		}
	}
}
