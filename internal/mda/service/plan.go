package service

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/auth"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mda/lmtp"
	"github.com/dovetail-mail/dovetail/internal/mda/mail"
)

// role says which process serves a service of dovecot.conf.
type role struct {
	process string // name of the child, and of its services in log lines
	role    string // of the re-executed binary
}

// roles are the services that run. Listeners of others are not opened.
var roles = map[string]role{
	"auth":        {"auth", "auth"},
	"auth-worker": {"auth-worker", "auth-worker"}, // where PAM or the name service switch is asked
	"imap-login":  {"imap-login", "login"},
	"pop3-login":  {"pop3-login", "login"},
	"lmtp":        {"lmtp", "mail"},
}

// A plan is what a configuration asks for: processes and listeners.
type plan struct {
	cfg      *dovecot.Config
	core     *dovecot.Master
	settings *mail.Settings
	services []dovecot.Service // those of roles, in the order of their names
	// listeners by service name
	listeners map[string][]master.ListenerSpec
	doveadm   dovecot.Service
	clients   map[string]*clientService // by name
	warnings  []string
}

// newPlan works out what cfg asks for. Its errors are the configuration's.
func newPlan(cfg *dovecot.Config) (*plan, error) {
	p := &plan{cfg: cfg, listeners: make(map[string][]master.ListenerSpec), clients: make(map[string]*clientService)}
	var err error
	if p.core, err = dovecot.Get[dovecot.Master](cfg, dovecot.Filter{}); err != nil {
		return nil, err
	}
	if p.settings, err = dovecot.Get[mail.Settings](cfg, dovecot.Filter{}); err != nil {
		return nil, err
	}
	ssl, err := dovecot.Get[dovecot.SSL](cfg, dovecot.Filter{})
	if err != nil {
		return nil, err
	}
	services, err := dovecot.Services(cfg)
	if err != nil {
		return nil, err
	}
	worker, err := needsWorker(cfg)
	if err != nil {
		return nil, err
	}
	enabled := strings.Fields(p.core.Protocols)
	for _, s := range services {
		if s.Protocol != "" && !slices.Contains(enabled, s.Protocol) {
			continue
		}
		if s.Name == "auth-worker" && !worker {
			continue
		}
		if s.Name == "anvil" {
			if err := p.addAnvil(&s); err != nil {
				return nil, err
			}
			continue
		}
		if s.Name == "ipc" {
			if err := p.addIPC(&s); err != nil {
				return nil, err
			}
			continue
		}
		if s.Name == "doveadm" {
			if err := p.addDoveadm(s, ssl); err != nil {
				return nil, err
			}
			continue
		}
		if words := cfg.Executable(s.Name); words != nil {
			if err := p.addClientService(s, words, ssl); err != nil {
				return nil, err
			}
			continue
		}
		if _, ok := roles[s.Name]; !ok {
			p.warnIgnored(&s)
			continue
		}
		if err := p.addService(s, ssl); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(p.services, func(a, b dovecot.Service) int { return strings.Compare(a.Name, b.Name) })
	return p, nil
}

// needsWorker reports whether the auth-worker process is of use. Without dovetail-nss
// it is not; what only that can do is refused, the rest is read from files.
func needsWorker(cfg *dovecot.Config) (bool, error) {
	wanted, needed, err := auth.NeedsSystem(cfg)
	switch {
	case err != nil || !wanted:
		return false, err
	case findHelper() != "" && !master.SingleUser():
		return true, nil
	case needed:
		return false, errors.New("passdb pam and shadow need the program dovetail-nss, which is not installed beside dovetail (make build-nss), and root")
	}
	return false, nil
}

// worker returns the path of auth-worker's socket, or "".
func (p *plan) worker() string {
	for _, l := range p.listeners["auth-worker"] {
		if l.Network == "unix" {
			return l.Address
		}
	}
	return ""
}

// warnIgnored tells about listeners that somebody set up for a service that
// does not run here.
func (p *plan) warnIgnored(s *dovecot.Service) {
	for _, l := range s.InetListeners {
		if l.Port != 0 && p.cfg.Origin(dovecot.Filter{}, "service/"+s.Name+"/inet_listener/"+l.Name+"/port") != "" {
			p.warnings = append(p.warnings, fmt.Sprintf("setting service %s { inet_listener %s } has no effect: the service is not available", s.Name, l.Name))
		}
	}
}

func (p *plan) addService(s dovecot.Service, ssl *dovecot.SSL) error {
	p.services = append(p.services, s)
	for _, l := range s.UnixListeners {
		if l.Mode == 0 {
			continue
		}
		spec, err := p.unixListener(&s, &l)
		if err != nil {
			return err
		}
		p.listeners[s.Name] = append(p.listeners[s.Name], spec)
	}
	for _, l := range s.InetListeners {
		if l.Port == 0 || l.SSL && ssl.SSL == "no" {
			continue
		}
		if l.HAProxy && !readsHeaders(s.Name) {
			return fmt.Errorf("service(%s): inet_listener %s: haproxy=yes is known to the services imap-login, pop3-login and lmtp only", s.Name, l.Name)
		}
		p.listeners[s.Name] = append(p.listeners[s.Name], p.inetListeners(&s, &l)...)
	}
	return nil
}

// readsHeaders reports whether the process of a service knows the PROXY protocol. With others every client would have
// the address, and the rights, of the balancer.
func readsHeaders(service string) bool {
	return roles[service].role == "login" || service == "lmtp"
}

func (p *plan) unixListener(s *dovecot.Service, l *dovecot.UnixListener) (master.ListenerSpec, error) {
	spec := master.ListenerSpec{Name: l.Path, Service: s.Name, Network: "unix", Address: p.path(l.Path), Mode: fileMode(l.Mode), UID: -1, GID: -1}
	if master.SingleUser() {
		return spec, nil
	}
	user := orDefault(l.User, "root")
	where := func(setting string) string {
		return fmt.Sprintf("(See service %s { unix_listener %s { %s } } setting)", s.Name, spec.Address, setting)
	}
	var err error
	if spec.UID, _, err = master.LookupUser(user); err != nil {
		return spec, fmt.Errorf("service(%s) User doesn't exist: %s %s", s.Name, user, where("user"))
	}
	if l.Group == "" {
		return spec, nil
	}
	if spec.GID, err = master.LookupGroup(l.Group); err != nil {
		return spec, fmt.Errorf("service(%s) Group doesn't exist: %s %s", s.Name, l.Group, where("group"))
	}
	return spec, nil
}

// inetListeners gives one listener per address.
func (p *plan) inetListeners(s *dovecot.Service, l *dovecot.InetListener) []master.ListenerSpec {
	addresses := l.Address
	if addresses == "" {
		addresses = p.core.Listen
	}
	var specs []master.ListenerSpec
	for host := range strings.FieldsFuncSeq(addresses, func(r rune) bool { return r == ' ' || r == ',' }) {
		spec := master.ListenerSpec{Name: l.Name, Service: s.Name, UID: -1, GID: -1, TLS: l.SSL, HAProxy: l.HAProxy}
		spec.Network, host = network(host)
		spec.Address = net.JoinHostPort(host, strconv.Itoa(int(l.Port)))
		specs = append(specs, spec)
	}
	return specs
}

// network tells the address families of a word of listen: "*" is every IPv4
// address, "::" every IPv6 one.
func network(host string) (network, address string) {
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	switch {
	case host == "*":
		return "tcp4", "0.0.0.0"
	case strings.Contains(host, ":"):
		return "tcp6", host
	}
	return "tcp", host
}

// path makes a listener's path absolute.
func (p *plan) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(p.core.BaseDir, name)
}

// allListeners returns the listeners of all services, in a fixed order.
func (p *plan) allListeners() []master.ListenerSpec {
	var all []master.ListenerSpec
	for _, s := range p.services {
		all = append(all, p.listeners[s.Name]...)
	}
	return slices.Concat(all, p.listeners["anvil"], p.listeners["ipc"], p.listeners["doveadm"], p.clientListeners())
}

func (p *plan) service(name string) (dovecot.Service, bool) {
	i := slices.IndexFunc(p.services, func(s dovecot.Service) bool { return s.Name == name })
	if i < 0 {
		return dovecot.Service{}, false
	}
	return p.services[i], true
}

// identity is who the process of a service becomes.
func (p *plan) identity(s *dovecot.Service) (master.Identity, error) {
	chroot := s.Chroot
	if chroot != "" {
		chroot = p.path(chroot)
	}
	extra := strings.FieldsFunc(s.ExtraGroups, func(r rune) bool { return r == ' ' || r == ',' })
	id, err := master.UserIdentity(orDefault(s.User, "root"), s.Group, extra, chroot)
	if err != nil {
		return id, fmt.Errorf("service(%s): %w", s.Name, err)
	}
	return id, nil
}

// lmtpUser is the user of the process with the LMTP listeners: the one owner
// of all mail if the configuration names one.
func (p *plan) lmtpUser() (string, error) {
	if s, ok := p.service("lmtp"); ok && s.User != "" && s.User != "root" {
		return s.User, nil
	}
	set, err := dovecot.Get[lmtp.Settings](p.cfg, dovecot.Filter{Service: "lmtp"})
	if err != nil {
		return "", err
	}
	if set.Proxy {
		return p.userdbOwner(), nil
	}
	if p.settings.MailUID != "" {
		return p.settings.MailUID, nil
	}
	auth, err := dovecot.Get[dovecot.Auth](p.cfg, dovecot.Filter{Service: "lmtp"})
	if err != nil {
		return "", err
	}
	if uid := commonUID(auth.Userdbs); uid != "" {
		return uid, nil
	}
	return p.core.DefaultInternalUser, nil
}

// userdbOwner is the user whose the socket auth-userdb is, which answers questions about
// passdbs to nobody else, not to the owner of the mail either.
func (p *plan) userdbOwner() string {
	if s, ok := p.service("auth"); ok {
		for _, l := range s.UnixListeners {
			if l.Path == "auth-userdb" && l.User != "" && l.User != "root" {
				return l.User
			}
		}
	}
	return p.core.DefaultInternalUser
}

// commonUID returns the uid that every userdb gives everybody, or "".
func commonUID(dbs []dovecot.Userdb) string {
	common := ""
	for _, db := range dbs {
		uid := fieldOf(db.OverrideFields, "uid")
		if uid == "" && db.Driver == "static" {
			uid = fieldOf(db.Args, "uid")
		}
		if uid == "" || common != "" && uid != common {
			return ""
		}
		common = uid
	}
	return common
}

// fieldOf returns the value of name in "a=b c=d", or "" also when it is not constant.
func fieldOf(fields, name string) string {
	for f := range strings.FieldsSeq(fields) {
		if v, ok := strings.CutPrefix(f, name+"="); ok && !strings.Contains(v, "%") {
			return v
		}
	}
	return ""
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
