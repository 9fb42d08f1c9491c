package doveadm

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/doveadm/wire"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// connectTimeout bounds how long it may take to reach a server.
const connectTimeout = 30 * time.Second

// A target is where a server is, and how to talk to it.
type target struct {
	name     string // of messages: what -S says, or host:port
	address  string // to connect to, if that is another
	startTLS bool
	tls      bool // in either way
	anyCert  bool
}

// servers are those that run a command in the place of this process: the one that
// -S names, and with doveadm_port those that a passdb names for users.
type servers struct {
	in    *invocation
	set   *Settings
	users *userdb
	given string // by -S
	conns map[target]*wire.Client
}

// newServers returns those of a command, nil if this process runs it.
func newServers(in *invocation, users *userdb) (*servers, error) {
	set, err := dovecot.Get[Settings](in.cfg, dovecot.Filter{Service: "doveadm"})
	if err != nil {
		return nil, configError(err)
	}
	s := &servers{in: in, set: set, users: users, conns: make(map[target]*wire.Client)}
	if in.client == nil {
		s.given, _ = in.text("socket-path")
	}
	if s.given == "" && set.Port == 0 {
		return nil, nil
	}
	return s, nil
}

func (s *servers) close() {
	if s == nil {
		return
	}
	for _, c := range s.conns {
		c.Close()
	}
}

// run has a server run the command for a user. done is false if there is none and this
// process is to do it.
func (s *servers) run(name string) (done, found bool, err error) {
	if s == nil {
		return false, true, nil
	}
	t, user, err := s.route(name)
	if err != nil || t.name == "" {
		return false, true, err
	}
	c, err := s.connect(t)
	if err != nil {
		return true, true, err
	}
	status, err := s.command(c, user)
	switch {
	case err != nil:
		delete(s.conns, t)
		s.in.log.errorf("%s: Command %s failed for %s: %s", t.name, s.in.cmd.name, user, lostText(err))
		return true, true, errLost
	case status == exNoUser:
		s.in.log.errorf("%s: No such user: %s", t.name, user)
		s.in.log.fail(status)
	case status != 0:
		s.in.log.fail(status)
	}
	return true, true, nil
}

// errLost follows when a connection was lost, as in Dovecot.
var errLost = errors.New("doveadm server failure")

// lostText is why a connection was lost, in Dovecot's words.
func lostText(err error) string {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "EOF"
	}
	return reason(err)
}

// route finds out where a user is: the server of -S or, with doveadm_port, the one that the
// passdb proxies the user to. A target without name is this process.
func (s *servers) route(name string) (t target, user string, err error) {
	t, user = target{name: s.given}, name
	if s.set.Port == 0 {
		return t, user, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	var fields client.Fields
	conn, err := s.users.connect(ctx)
	if err == nil {
		fields, err = conn.Pass(ctx, name, s.users.lookup)
	}
	if errors.Is(err, client.ErrUnknownUser) {
		return t, user, nil // the userdb may know it
	}
	if err != nil {
		return t, user, fmt.Errorf("%s: passdb lookup failed: %w (to see if user is proxied, because doveadm_port is set)", s.users.socket, err)
	}
	return s.proxied(fields, t, user)
}

// proxied reads what a passdb says of a user.
func (s *servers) proxied(fields client.Fields, t target, user string) (target, string, error) {
	for _, key := range []string{"user", "destuser"} {
		if v, ok := fields.Get(key); ok {
			user = v
		}
	}
	if !fields.Has("proxy") {
		return t, user, nil
	}
	host, ok := fields.Get("host")
	if !ok {
		return t, user, fmt.Errorf("%s: Proxy is missing destination host", s.users.socket)
	}
	port := strconv.Itoa(int(s.set.Port))
	if p, ok := fields.Get("port"); ok {
		port = p
	}
	t = target{name: net.JoinHostPort(host, port), tls: s.set.SSL != "no", startTLS: s.set.SSL == "starttls"}
	if ip, ok := fields.Get("hostip"); ok {
		t.address = net.JoinHostPort(ip, port)
	}
	for _, key := range []string{"ssl", "starttls"} {
		if v, ok := fields.Get(key); ok {
			t.tls, t.startTLS = true, t.startTLS || key == "starttls"
			t.anyCert = t.anyCert || v == "any-cert"
		}
	}
	return t, user, nil
}

// connect returns the connection to a server.
func (s *servers) connect(t target) (*wire.Client, error) {
	if c := s.conns[t]; c != nil {
		return c, nil
	}
	conn, err := s.dial(&t)
	if err != nil {
		return nil, err
	}
	cred := wire.Credentials{Username: s.set.Username, Password: s.set.Password}
	if t.tls {
		config, err := s.tls(&t)
		if err != nil {
			conn.Close()
			return nil, fmt.Errorf("Couldn't initialize SSL client: %w", err)
		}
		if t.startTLS {
			cred.StartTLS = config
		} else {
			conn = tls.Client(conn, config)
		}
	}
	log := func(level maillog.Level, text string) {
		if level != maillog.Debug || s.in.log.debug {
			s.in.log.line(level, "remote("+t.name+"): "+text)
		}
	}
	c, err := wire.Connect(conn, cred, log)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", t.name, err)
	}
	s.conns[t] = c
	return c, nil
}

func (s *servers) dial(t *target) (net.Conn, error) {
	if strings.Contains(t.name, "/") {
		conn, err := net.DialTimeout("unix", t.name, connectTimeout)
		if err != nil {
			return nil, fatalf(exTempFail, "net_connect_unix(%s) failed: %s", t.name, reason(err))
		}
		return conn, nil
	}
	address := t.address
	if address == "" {
		var err error
		if address, err = withPort(t.name, int(s.set.Port)); err != nil {
			return nil, err
		}
	}
	conn, err := net.DialTimeout("tcp", address, connectTimeout)
	if err != nil {
		return nil, fatalf(exTempFail, "connect(%s) failed: %s", address, reason(err))
	}
	return conn, nil
}

// withPort adds the port that a name lacks.
func withPort(name string, port int) (string, error) {
	if host, given, err := net.SplitHostPort(name); err == nil {
		if n, err := strconv.ParseUint(given, 10, 16); err == nil && n > 0 {
			return net.JoinHostPort(host, given), nil
		}
	} else if port > 0 {
		return net.JoinHostPort(strings.Trim(name, "[]"), strconv.Itoa(port)), nil
	}
	return "", fatalf(exTempFail, "Port not known for %s. Either set proxy_port or use %s:port", name, name)
}

func (s *servers) tls(t *target) (*tls.Config, error) {
	set, err := dovecot.Get[TLS](s.in.cfg, dovecot.Filter{Service: "doveadm"})
	if err != nil {
		return nil, err
	}
	p := tlsconf.Params{
		CertPEM: []byte(set.Cert), KeyPEM: []byte(set.Key), MinProtocol: set.MinProtocol, CipherList: set.CipherList, Curves: set.CurveList,
		ServerName: hostOf(t.name), NoVerify: t.anyCert || !set.RequireValidCert,
	}
	if p.CAPEM, err = tlsconf.Authorities(set.CAFile, set.CADir); err != nil {
		return nil, err
	}
	if len(p.CAPEM) == 0 && !p.NoVerify {
		return nil, errors.New("Can't verify remote server certs without trusted CAs (ssl_client_ca_* settings)")
	}
	return tlsconf.Client(p)
}

func hostOf(name string) string {
	if host, _, err := net.SplitHostPort(name); err == nil {
		return host
	}
	return name
}

// command has the command run for a user. An error is one of the connection.
func (s *servers) command(c *wire.Client, user string) (status int, err error) {
	cmd := wire.Command{
		Debug: s.in.global.debug, Verbose: s.in.global.verbose,
		User: user, Name: s.in.cmd.name, Args: s.in.words(),
	}
	var input io.ReadCloser
	if s.in.sends != nil {
		if input, err = s.in.sends(); err != nil {
			return 0, err
		}
		defer input.Close()
		return c.Do(&cmd, input, passOn{s.in.print})
	}
	return c.Do(&cmd, nil, passOn{s.in.print})
}

// words are the options and arguments of a command as a server gets them.
func (in *invocation) words() []string {
	var options, arguments []string
	for i := range in.cmd.params {
		p := &in.cmd.params[i]
		values, ok := in.values[p.name]
		switch {
		case !ok || p.name == "socket-path" || p.name == "trans-flags" || p.name == "file" && in.sends != nil:
		case p.name == "user-file":
			options = append(options, "-A") // as the server sees it: one of several users
		case p.positional:
			arguments = append(arguments, values...)
		case p.kind == kindFlag:
			options = append(options, "-"+string(rune(p.letter)))
		default:
			for _, v := range values {
				options = append(options, "-"+string(rune(p.letter)), v)
			}
		}
	}
	return append(append(options, "--"), arguments...)
}

// A passOn prints values that a server has printed: whole rows, with their sticky columns.
type passOn struct{ p *printer }

// Value implements [wire.Printer].
func (o passOn) Value(v string) {
	if o.p != nil {
		o.p.f.value(v)
	}
}

// Stream implements [wire.Printer].
func (o passOn) Stream(r io.Reader) error {
	if o.p == nil {
		_, err := io.Copy(io.Discard, r)
		return err
	}
	return o.p.pour(r)
}
