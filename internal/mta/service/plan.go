package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mta"
)

// A plan is what main.cf and master.cf ask for.
type plan struct {
	dir       string
	main      *postfix.Main
	master    *postfix.Master
	core      *postfix.Core
	listeners []master.ListenerSpec
	identity  master.Identity
}

// newPlan reads the configuration in dir. Errors are Postfix's texts.
func newPlan(dir string) (*plan, error) {
	p := &plan{dir: dir}
	var err error
	if p.main, err = postfix.Load(dir); err != nil {
		return nil, err
	}
	if p.core, err = postfix.Get[postfix.Core](p.main); err != nil {
		return nil, err
	}
	if p.master, err = postfix.LoadMaster(dir); err != nil {
		return nil, err
	}
	checks := []func() error{p.main.Check, p.main.CheckUsers, p.main.Refused}
	if master.SingleUser() {
		checks = []func() error{p.main.Check, p.main.Refused}
	}
	for _, check := range checks {
		if err := check(); err != nil {
			return nil, err
		}
	}
	if p.identity, err = master.UserIdentity(p.core.MailOwner, "", nil, ""); err != nil {
		return nil, fmt.Errorf("file %s/main.cf: parameter mail_owner: unknown user name value: %s", dir, p.core.MailOwner)
	}
	for i := range p.master.Services {
		e := &p.master.Services[i]
		if e.Type != "inet" || e.Command != "smtpd" {
			continue
		}
		specs, err := p.inetListeners(i, e)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", e.File, e.Line, err)
		}
		p.listeners = append(p.listeners, specs...)
	}
	p.listeners = append(p.listeners, p.controlListener())
	return p, nil
}

// controlListener is the socket of the queue tools.
func (p *plan) controlListener() master.ListenerSpec {
	spec := master.ListenerSpec{
		Name: mta.ControlName, Service: mta.ControlName, Network: "unix", Mode: 0o660, UID: -1, GID: -1,
		Address: mta.ControlPath(p.core),
	}
	if p.identity.Change {
		spec.UID = p.identity.UID
		if gid, err := master.LookupGroup(p.core.SetgidGroup); err == nil {
			spec.GID = gid // postqueue(1) and postdrop(1) are set-gid
		}
	}
	return spec
}

// inetListeners gives the listeners of an inet entry, whose name is a port or
// host:port. Without host it listens on inet_interfaces.
func (p *plan) inetListeners(index int, e *postfix.ServiceEntry) ([]master.ListenerSpec, error) {
	host, port := splitName(e.Name)
	number, err := p.portNumber(port)
	if err != nil {
		return nil, err
	}
	hosts := []string{host}
	if host == "" {
		if hosts, err = p.interfaces(e); err != nil {
			return nil, err
		}
	}
	var specs []master.ListenerSpec
	for _, h := range hosts {
		addrs, err := p.addresses(h)
		if err != nil {
			return nil, err
		}
		for _, a := range addrs {
			specs = append(specs, master.ListenerSpec{
				Name: e.Name, Service: "smtpd", Network: a.network, Address: net.JoinHostPort(a.host, number),
				UID: -1, GID: -1, Index: index,
			})
		}
	}
	return specs, nil
}

// splitName takes "host:port", "[v6]:port" or "port" apart.
func splitName(name string) (host, port string) {
	i := strings.LastIndexByte(name, ':')
	if i < 0 {
		return "", name
	}
	return strings.Trim(name[:i], "[]"), name[i+1:]
}

// portNumber looks a service name up, in known_tcp_ports and the system's list.
func (p *plan) portNumber(port string) (string, error) {
	for entry := range strings.FieldsFuncSeq(p.core.KnownTCPPorts, func(r rune) bool { return r == ',' || r == ' ' }) {
		names := strings.Split(entry, "=")
		if slices.Contains(names[:len(names)-1], port) {
			return names[len(names)-1], nil
		}
	}
	n, err := net.LookupPort("tcp", port)
	if err != nil {
		return "", fmt.Errorf("unknown service name or port: %s", port)
	}
	return strconv.Itoa(n), nil
}

func (p *plan) interfaces(e *postfix.ServiceEntry) ([]string, error) {
	value, _, err := p.main.With(e.Overrides).Expand("inet_interfaces")
	if err != nil {
		return nil, err
	}
	return postfix.SplitList(value), nil
}

type address struct{ network, host string }

// addresses returns what an item of inet_interfaces stands for, as far as
// inet_protocols allows.
func (p *plan) addresses(host string) ([]address, error) {
	v4, v6 := p.protocols()
	var all []address
	switch host {
	case "all", "*":
		all = []address{{"tcp4", "0.0.0.0"}, {"tcp6", "::"}}
	case "loopback-only":
		all = []address{{"tcp4", "127.0.0.1"}, {"tcp6", "::1"}}
	default:
		ips, err := lookupIPs(strings.Trim(host, "[]"))
		if err != nil {
			return nil, err
		}
		for _, ip := range ips {
			network := "tcp6"
			if ip.To4() != nil {
				network = "tcp4"
			}
			all = append(all, address{network, ip.String()})
		}
	}
	all = slices.DeleteFunc(all, func(a address) bool { return a.network == "tcp4" && !v4 || a.network == "tcp6" && !v6 })
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: no address of inet_protocols %q", host, p.core.InetProtocols)
	}
	return all, nil
}

// lookupIPs accepts the form with a mask that Red Hat's manual shows
// (127.0.0.1/32): it can only mean the address.
func lookupIPs(host string) ([]net.IP, error) {
	bare, _, _ := strings.Cut(host, "/")
	if ip := net.ParseIP(bare); ip != nil {
		return []net.IP{ip}, nil
	}
	ips, err := net.LookupIP(host)
	if err != nil {
		return nil, fmt.Errorf("inet_interfaces: %s: host not found", host)
	}
	return ips, nil
}

func (p *plan) protocols() (v4, v6 bool) {
	for _, w := range postfix.SplitList(p.core.InetProtocols) {
		v4 = v4 || w == "all" || w == "ipv4"
		v6 = v6 || (w == "all" || w == "ipv6") && haveIPv6()
	}
	return v4, v6
}

// haveIPv6 reports whether the system has IPv6 at all.
func haveIPv6() bool {
	_, err := os.Stat("/proc/net/if_inet6")
	return err == nil
}

// spec is what the mta process gets.
func (p *plan) spec(logs *logs, sockets *master.Listeners) (master.Spec, error) {
	files, err := mta.ReadPrivateFiles(p.main, p.master)
	if err != nil {
		return master.Spec{}, err
	}
	blob, err := json.Marshal(files)
	if err != nil {
		return master.Spec{}, err
	}
	return master.Spec{
		Role: "mta", Title: "postfix/mta", Arg: p.dir, Identity: p.identity,
		Log: logs.forProcess(p.core.SyslogName + "/mta"), LogFile: logs.file,
		Config: blob, Listeners: p.listeners, Sockets: sockets,
	}, nil
}

// makeDirectories makes those below queue_directory that the service uses.
func (p *plan) makeDirectories() error {
	owner := -1
	if p.identity.Change {
		owner = p.identity.UID
	}
	if err := os.MkdirAll(p.core.QueueDirectory, 0o755); err != nil {
		return err
	}
	for _, d := range []struct {
		name  string
		mode  fs.FileMode
		owner int
	}{{"pid", 0o755, -1}, {"public", 0o710, owner}, {"private", 0o700, owner}, {mta.SegmentsName, 0o700, owner}} {
		path := filepath.Join(p.core.QueueDirectory, d.name)
		if err := os.Mkdir(path, d.mode); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if d.owner >= 0 {
			if err := os.Chown(path, d.owner, -1); err != nil {
				return err
			}
		}
	}
	if owner >= 0 {
		if gid, err := master.LookupGroup(p.core.SetgidGroup); err == nil {
			return os.Chown(filepath.Join(p.core.QueueDirectory, "public"), owner, gid)
		}
	}
	return nil
}

// logs is where the service logs.
type logs struct {
	target master.LogTarget
	file   *os.File // nil for syslog
}

// openLogs opens maillog_file, or syslog where it is empty.
func openLogs(core *postfix.Core) (*logs, error) {
	l := &logs{target: master.LogTarget{Style: maillog.Postfix, Facility: maillog.Facility(core.SyslogFacility), Host: core.Myhostname}}
	switch core.MaillogFile {
	case "":
		l.target.Syslog = true
		return l, nil
	case "/dev/stdout":
		l.file = os.Stdout
		return l, nil
	}
	ok := slices.ContainsFunc(postfix.SplitList(core.MaillogFilePrefixes), func(prefix string) bool {
		return strings.HasPrefix(core.MaillogFile, prefix)
	})
	if !ok {
		return nil, fmt.Errorf("maillog_file %q does not match a prefix of maillog_file_prefixes (%s)", core.MaillogFile, core.MaillogFilePrefixes)
	}
	f, err := os.OpenFile(core.MaillogFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	l.file = f
	return l, nil
}

func (l *logs) forProcess(name string) master.LogTarget {
	t := l.target
	t.Tag = name
	return t
}

// sink opens the log for this process's own lines.
func (l *logs) sink() (*maillog.Sink, error) {
	if l.target.Syslog {
		conn, err := maillog.DialSyslog()
		if err == nil {
			return maillog.NewSyslog(conn, maillog.Postfix, l.target.Facility, ""), nil
		}
		l = &logs{file: os.Stderr} // no syslog daemon: better there than nowhere
	}
	f, err := master.Dup(l.file)
	if err != nil {
		return nil, err
	}
	return maillog.NewFile(f, maillog.Postfix, l.target.Host), nil
}
