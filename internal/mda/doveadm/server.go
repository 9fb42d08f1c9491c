package doveadm

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/master"
	doveadmwire "github.com/dovetail-mail/dovetail/internal/mda/doveadm/wire"
	"github.com/dovetail-mail/dovetail/internal/mda/service"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// A remoteClient is whom a server runs a command for.
type remoteClient struct {
	user string
	ip   netip.Addr // invalid within this host
}

// tag is what messages about a user say of the client.
func (c *remoteClient) tag() string {
	if c == nil || !c.ip.IsValid() {
		return ""
	}
	return c.ip.String() + ","
}

// A server is a process of service doveadm. It serves one client, as it becomes one user
// after the other.
type server struct {
	cfg      *dovecot.Config
	set      *Settings
	log      *maillog.Logger
	ip       netip.Addr
	allowed  []string // commands; nil for all
	commands []*command
	conn     *doveadmwire.Server
}

// Serve is a process of service doveadm. The master passes it the client that it serves.
func Serve(p *master.Process) error {
	if err := p.Drop(); err != nil {
		return err
	}
	if err := p.Ready(); err != nil {
		return err
	}
	msg, err := p.Control.Receive()
	if err != nil {
		return nil //nolint:nilerr // the master has ended before there was a client
	}
	var c service.DoveadmClient
	if err := msg.Decode(&c); err != nil || msg.Kind != service.KindDoveadm || len(msg.Files) != 1 {
		msg.CloseFiles()
		return fmt.Errorf("unexpected message %q of the master", msg.Kind)
	}
	conn, err := net.FileConn(msg.Files[0])
	msg.CloseFiles()
	if err != nil {
		return err
	}
	defer conn.Close()
	s := &server{cfg: new(dovecot.Config), log: p.Log, commands: allCommands()}
	if err := s.cfg.UnmarshalBinary(p.Config); err != nil {
		return err
	}
	if err := s.serve(conn, &c); err != nil {
		s.log.Errorf("%v", err)
	}
	return nil
}

func (s *server) serve(conn net.Conn, c *service.DoveadmClient) error {
	f := dovecot.Filter{Service: "doveadm", Local: ipOf(conn.LocalAddr()), Remote: ipOf(conn.RemoteAddr())}
	s.ip = f.Remote
	var err error
	if s.set, err = dovecot.Get[Settings](s.cfg, f); err != nil {
		return err
	}
	if s.set.AllowedCommands != "" {
		s.allowed = strings.Split(s.set.AllowedCommands, ",")
	}
	config, err := tlsconf.Dovecot(s.cfg, f)
	if err != nil {
		return err
	}
	if c.TLS {
		if config == nil {
			return errors.New("SSL is not set up")
		}
		conn = tls.Server(conn, config)
		defer conn.Close()
	}
	s.conn, err = doveadmwire.Accept(conn, doveadmwire.Policy{Trusted: c.Trusted, Password: s.set.Password, TLS: config})
	if err != nil {
		return err
	}
	for {
		cmd, err := s.conn.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = s.command(&cmd)
		}
		if err != nil {
			return err
		}
	}
}

func ipOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// errEnd ends a connection after what was logged.
var errEnd = errors.New("closing the connection")

// command runs a command. An error ends the connection.
func (s *server) command(cmd *doveadmwire.Command) error {
	if s.allowed != nil && !slices.Contains(s.allowed, cmd.Name) {
		return fmt.Errorf("doveadm client isn't allowed to use command: %s", cmd.Name)
	}
	run := s.session(cmd)
	words := append([]string{cmd.Name}, cmd.Args...)
	row, n := run.findCommand(words)
	if row == nil || row.mail == nil {
		run.log.errorf("Client sent unknown command: %s", cmd.Name)
		return s.conn.Unknown()
	}
	in := &invocation{session: run, cmd: row}
	err := in.parse(words[n-1:])
	if err == nil {
		if row.format != "" {
			run.print = newPrinter(newServerFormat(run.stdout))
		}
		err = in.mail()
	}
	if errors.Is(err, errUsage) || err == exitStatus(exUsage) {
		run.log.line(maillog.Fatal, fmt.Sprintf("Client sent invalid command. Usage: %s %s", row.name, row.usageText()))
		return errEnd // as Dovecot
	}
	status := run.log.finish(err)
	if fatalOf(err) != nil {
		return errEnd
	}
	run.stdout.flush()
	return s.conn.Finish(status)
}

// session is what a command runs in.
func (s *server) session(cmd *doveadmwire.Command) *session {
	client := &remoteClient{user: cmd.User, ip: s.ip}
	run := &session{
		cfg: s.cfg, commands: s.commands, client: client, stdin: inputOf{s.conn}, stdout: newOutput(s.conn), stderr: io.Discard,
		log: &messages{debug: cmd.Debug, prefix: "doveadm: "},
	}
	run.global.debug, run.global.verbose = cmd.Debug, cmd.Verbose
	if s.ip.IsValid() {
		run.log.prefix = "doveadm(" + s.ip.String() + "): "
	}
	run.log.to = func(level maillog.Level, prefix, text string) {
		s.conn.Log(level, prefix+text)
		s.log.With(strings.TrimSuffix(prefix, ": ")).Print(level, text)
	}
	return run
}

// An inputOf reads the text that the client sends with a command, once the command wants it.
type inputOf struct{ conn *doveadmwire.Server }

func (i inputOf) Read(p []byte) (int, error) { return i.conn.Input().Read(p) }

// A serverFormat is what servers answer with: the client has the columns.
type serverFormat struct{ w *output }

func newServerFormat(w *output) formatter { return serverFormat{w} }

func (f serverFormat) column(*column) {}

func (f serverFormat) value(v string) {
	f.escaped(v)
	f.w.put("\t")
}

func (f serverFormat) stream(part []byte) error {
	if len(part) == 0 {
		f.w.put("\t")
	}
	f.escaped(string(part))
	return nil
}

func (f serverFormat) escaped(v string) { f.w.Write(wire.AppendEscaped(nil, v)) } //nolint:errcheck // sticky

func (f serverFormat) flush() {}
