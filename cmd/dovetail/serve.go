package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/master"
)

// serve is "dovetail serve": both services, with a configuration of their own
// in one directory, on loopback, as the user who started it.
func serve(args []string, _ io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("dovetail serve", flag.ContinueOnError)
	flags.SetOutput(stderr)
	data := flags.String("data", "dovetail-data", "directory of configuration, mail and queue")
	port := flags.Int("port", 1000, "added to the standard port numbers")
	if err := flags.Parse(args); err != nil {
		return 64 // EX_USAGE
	}
	s := &embedded{port: *port, stdout: stdout, stderr: stderr}
	if err := s.prepare(*data); err != nil {
		fmt.Fprintf(stderr, "dovetail serve: %v\n", err)
		return 1
	}
	if err := s.run(); err != nil {
		fmt.Fprintf(stderr, "dovetail serve: %v\n", err)
		return 1
	}
	return 0
}

// embedded is the server that serve runs.
type embedded struct {
	dir            string
	port           int
	stdout, stderr io.Writer
}

// run starts both services and waits for Ctrl-C.
func (s *embedded) run() error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	ended := make(chan error, 2)
	var running []*exec.Cmd
	stop := func() {
		for _, cmd := range running {
			cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended
		}
	}
	for _, service := range [][]string{
		{"dovecot-master", "-c", filepath.Join(s.dir, "dovecot.conf")},
		{"postfix-master", "-c", s.dir},
	} {
		cmd, err := s.start(service)
		if err != nil {
			stop()
			return err
		}
		running = append(running, cmd)
		go func() { ended <- cmd.Wait() }()
	}
	s.welcome()
	var failure error
	left := len(running)
	select {
	case <-signals:
		fmt.Fprintln(s.stdout, "\nStopping.")
	case err := <-ended:
		left--
		failure = fmt.Errorf("a service ended: %v (see %s)", err, filepath.Join(s.dir, "log"))
	}
	stop()
	for ; left > 0; left-- {
		select {
		case <-ended: //nolint:errcheck // it was told to end
		case <-time.After(time.Minute):
			return errors.New("a service does not end")
		}
	}
	return failure
}

// start starts one service and waits until it serves.
func (s *embedded) start(service []string) (*exec.Cmd, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe", service...)
	cmd.ExtraFiles = []*os.File{w}
	cmd.Env = append(os.Environ(), master.SingleUserVariable+"=1")
	cmd.Stderr = s.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is ours to pass on
	err = cmd.Start()
	w.Close()
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(io.LimitReader(r, 4096))
	if err == nil && string(answer) == "ready" {
		return cmd, nil
	}
	cmd.Wait() //nolint:errcheck // it has said why
	return nil, fmt.Errorf("%s did not start: %s", service[0], answer)
}

func (s *embedded) welcome() {
	fmt.Fprintf(s.stdout, `Dovetail is running. Everything is in %[1]s

  account   demo@localhost   password   demo

  SMTP 127.0.0.1:%[2]d   submission 127.0.0.1:%[3]d (STARTTLS)
  IMAP 127.0.0.1:%[4]d   IMAPS      127.0.0.1:%[5]d
  POP3 127.0.0.1:%[6]d   POP3S      127.0.0.1:%[7]d
  LMTP %[1]s/run/dovecot/lmtp

Send a message:

  printf 'From: me@example.org\nTo: demo@localhost\nSubject: Hello\n\nIt works.\n' |
    curl --url smtp://127.0.0.1:%[2]d --mail-from me@example.org --mail-rcpt demo@localhost -T -

Read it:

  curl -u demo@localhost:demo 'imap://127.0.0.1:%[4]d/INBOX;MAILINDEX=1'

Settings: %[1]s/dovecot.conf and %[1]s/main.cf. Accounts: %[1]s/users. Logs: %[1]s/log.
Ctrl-C stops the server; mail and settings stay.
`, s.dir, s.port+25, s.port+587, s.port+143, s.port+993, s.port+110, s.port+995)
	if os.Geteuid() == 0 {
		fmt.Fprintln(s.stdout, "\nYou are root, and so is this server. Good for a look; use an ordinary account otherwise.")
	}
}
