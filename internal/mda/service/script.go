package service

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/master"
)

// Limits of what a client of a script says first, and how long that may take.
const (
	maxScriptHeader = 64 << 10
	scriptHeader    = 10 * time.Second
)

// A script is a program that is run for each client of a service:
//
//	script [-p] [-e NAME[,NAME]...] PROGRAM [ARGUMENT]...
//
// The client begins with lines that end with an empty one:
//
//	VERSION<TAB>script<TAB>4<TAB>0
//	[alarm=SECONDS]
//	[env_NAME=VALUE]...
//	noreply, or anything else
//	ARGUMENT...
//
// where tabs and newlines in arguments are escaped. What it sends then the program reads, and what that writes the
// client gets; at the end "+" or "-" and a newline, unless it wants no reply. With -p there are no such lines, and no
// reply.
type script struct {
	passthrough bool
	envs        []string // names that clients may set
	program     []string
}

func parseScript(args []string) (*script, error) {
	var s script
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch {
		case args[0] == "-p":
			s.passthrough = true
		case args[0] == "-e" && len(args) > 1:
			args = args[1:]
			s.envs = append(s.envs, strings.FieldsFunc(args[0], func(c rune) bool { return c == ',' })...)
		default:
			return nil, fmt.Errorf("unknown option %s of script", args[0])
		}
		args = args[1:]
	}
	if len(args) == 0 {
		return nil, errors.New("Missing script path")
	}
	s.program = args
	return &s, nil
}

// RunScript is a process of a service with the executable script. It runs the program for one client.
func RunScript(p *master.Process) error {
	c, f, err := AcceptClient(p)
	if c == nil {
		return err
	}
	defer f.Close()
	s, err := parseScript(c.Args)
	if err != nil {
		return err
	}
	if !filepath.IsAbs(s.program[0]) {
		cfg := new(dovecot.Config)
		if err := cfg.UnmarshalBinary(p.Config); err != nil {
			return err
		}
		s.program[0] = filepath.Join(cfg.Text("libexec_dir"), s.program[0])
	}
	if s.passthrough {
		if err := s.run(f, &scriptRequest{}); err != nil {
			p.Log.Errorf("%v", err)
		}
		return nil
	}
	conn, err := net.FileConn(f)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(scriptHeader)); err != nil {
		return err
	}
	text, err := readScriptHeader(conn)
	if err != nil {
		return err
	}
	req, err := parseScriptHeader(text)
	if err != nil {
		return err
	}
	err = s.run(f, req)
	if err != nil {
		p.Log.Errorf("%v", err)
	}
	if req.noReply {
		return nil
	}
	reply := "+\n"
	if err != nil {
		reply = "-\n"
	}
	_, err = conn.Write([]byte(reply))
	return err
}

// A scriptRequest is what a client says first.
type scriptRequest struct {
	alarm   time.Duration
	envs    []string
	noReply bool
	args    []string
}

// readScriptHeader reads up to the empty line, and nothing that comes after it: that is the program's.
func readScriptHeader(r io.Reader) (string, error) {
	text := make([]byte, 0, 256)
	for !strings.HasSuffix(string(text[max(len(text)-2, 0):]), "\n\n") {
		if len(text) == maxScriptHeader {
			return "", fmt.Errorf("client sent more than %d bytes of arguments", maxScriptHeader)
		}
		text = append(text, 0)
		if _, err := io.ReadFull(r, text[len(text)-1:]); err != nil {
			return "", fmt.Errorf("reading a client's arguments: %w", err)
		}
	}
	return string(text), nil
}

func parseScriptHeader(text string) (*scriptRequest, error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n\n"), "\n")
	if !strings.HasPrefix(lines[0], "VERSION\tscript\t4\t") {
		return nil, errors.New("Client not compatible with this binary (connecting to wrong socket?)")
	}
	var req scriptRequest
	lines = lines[1:]
	if len(lines) > 0 && strings.HasPrefix(lines[0], "alarm=") {
		var err error
		if req.alarm, err = time.ParseDuration(lines[0][len("alarm="):] + "s"); err != nil || req.alarm < 0 {
			return nil, errors.New("invalid alarm option")
		}
		lines = lines[1:]
	}
	for ; len(lines) > 0 && strings.HasPrefix(lines[0], "env_"); lines = lines[1:] {
		env := wire.Unescape(lines[0][len("env_"):])
		if !strings.Contains(env, "=") {
			return nil, errors.New("invalid environment variable")
		}
		req.envs = append(req.envs, env)
	}
	if len(lines) == 0 || lines[0] == "" {
		return nil, errors.New("empty options")
	}
	req.noReply = lines[0] == "noreply"
	for _, line := range lines[1:] {
		req.args = append(req.args, wire.Unescape(line))
	}
	return &req, nil
}

// run runs the program with the client as its input and output.
func (s *script) run(client *os.File, req *scriptRequest) error {
	cmd := exec.Command(s.program[0], slices.Concat(s.program[1:], req.args)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = client, client, os.Stderr
	cmd.Env = []string{}
	for _, env := range req.envs {
		if name, _, _ := strings.Cut(env, "="); slices.Contains(s.envs, name) {
			cmd.Env = append(cmd.Env, env)
		}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if req.alarm > 0 {
		defer time.AfterFunc(req.alarm, func() { cmd.Process.Kill() }).Stop() //nolint:errcheck // it has ended
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("Script terminated abnormally, %w", err)
	}
	return nil
}
