package service

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mta"
	"github.com/dovetail-mail/dovetail/internal/mta/pickup"
)

// A plan is what main.cf and master.cf ask for.
type plan struct {
	dir       string
	texts     *mta.Configuration
	main      *postfix.Main
	master    *postfix.Master
	core      *postfix.Core
	listeners []master.ListenerSpec
	identity  master.Identity
	local     []master.ListenerSpec // of the privileged process; none if nothing needs that
	grants    *mta.Grants
	bound     bound
}

// bound is what decides which addresses listeners are bound to. It is that of the
// start until the next start.
type bound struct{ interfaces, protocols string }

// newPlan reads the configuration in dir. Errors are Postfix's texts. A running
// master gives the plan that is in force.
func newPlan(dir string, running *plan) (*plan, error) {
	p := &plan{dir: dir}
	var err error
	if p.texts, err = mta.ReadConfiguration(dir); err != nil {
		return nil, err
	}
	if p.main, err = p.texts.Load(); err != nil {
		return nil, err
	}
	if p.core, err = postfix.Get[postfix.Core](p.main); err != nil {
		return nil, err
	}
	if p.master, err = p.texts.LoadMaster(); err != nil {
		return nil, err
	}
	refused := func() error { return p.master.Refused(p.main, mta.Honors) }
	checks := []func() error{p.main.Check, p.main.CheckUsers, p.main.Refused, refused}
	if master.SingleUser() {
		checks = []func() error{p.main.Check, p.main.Refused, refused}
	}
	for _, check := range checks {
		if err := check(); err != nil {
			return nil, err
		}
	}
	if p.identity, err = master.UserIdentity(p.core.MailOwner, "", nil, ""); err != nil {
		return nil, fmt.Errorf("file %s/main.cf: parameter mail_owner: unknown user name value: %s", dir, p.core.MailOwner)
	}
	p.grants = mta.NewGrants(p.main, p.master, p.identity)
	if err := p.bind(running); err != nil {
		return nil, err
	}
	return p, nil
}

// bind works out the listeners.
func (p *plan) bind(running *plan) error {
	interfaces, _, err := p.main.Expand("inet_interfaces")
	if err != nil {
		return err
	}
	p.bound = bound{interfaces, p.core.InetProtocols}
	if running != nil {
		p.bound = running.bound
	}
	for i := range p.master.Services {
		e := &p.master.Services[i]
		if mta.IsPickup(e) && !p.listensTo(mta.PickupName) {
			p.listeners = append(p.listeners, p.pickupListener(e))
		}
		if mta.IsSpawn(e) {
			if err := p.bindSpawn(i, e); err != nil {
				return fmt.Errorf("%s: line %d: %w", e.File, e.Line, err)
			}
			continue
		}
		if e.Type != "inet" {
			continue
		}
		if mta.Honors(e) == postfix.HonorsNone {
			continue // warnings tells
		}
		specs, err := p.inetListeners(i, e)
		if err != nil {
			return fmt.Errorf("%s: line %d: %w", e.File, e.Line, err)
		}
		p.listeners = append(p.listeners, specs...)
	}
	p.listeners = append(p.listeners, p.controlListener())
	p.bindLocal()
	return nil
}

// warnings tell what of the configuration has no effect, after what Postfix too would say.
func (p *plan) warnings() []string {
	all := slices.Concat(p.main.Warnings(), p.master.Warnings(), p.master.WithoutEffect(p.main, mta.Honors))
	for i := range p.master.Services {
		if e := &p.master.Services[i]; e.Type == "inet" && mta.Honors(e) == postfix.HonorsNone {
			all = append(all, fmt.Sprintf("%s: line %d: service %s has no effect: %s is not available", e.File, e.Line, e.Name, e.Command))
		}
	}
	return all
}

// unbound tells, in the words of Postfix's master, of settings that need a start.
func (p *plan) unbound() []string {
	var all []string
	if now := p.core.InetProtocols; now != p.bound.protocols {
		all = append(all, "ignoring inet_protocols parameter value change",
			fmt.Sprintf("old value: %q, new value: %q", p.bound.protocols, now), "to change inet_protocols, stop and start Postfix")
	}
	if now, _, _ := p.main.Expand("inet_interfaces"); now == p.bound.interfaces { //nolint:errcheck // bind has seen it
		return all
	}
	for i := range p.master.Services {
		if e := &p.master.Services[i]; e.Type == "inet" {
			all = append(all, fmt.Sprintf("service %s: ignoring inet_interfaces change", e.Name), "to change inet_interfaces, stop and start Postfix")
		}
	}
	return all
}

// controlListener is the socket of the queue tools, which ask on behalf of any user: the server
// decides what he may.
func (p *plan) controlListener() master.ListenerSpec {
	spec := master.ListenerSpec{
		Name: mta.ControlName, Service: mta.ControlName, Network: "unix", Mode: 0o666, UID: -1, GID: -1,
		Address: mta.ControlPath(p.core),
	}
	if p.identity.Change {
		spec.UID = p.identity.UID
	}
	return spec
}

// pickupListener is the socket on which commands tell that there is mail in the
// maildrop. Who may is decided by the mode of its directory.
func (p *plan) pickupListener(e *postfix.ServiceEntry) master.ListenerSpec {
	spec := master.ListenerSpec{
		Name: e.Name, Service: mta.PickupName, Network: "unix", Mode: 0o666, UID: -1, GID: -1, Address: mta.PickupPath(p.core, e),
	}
	if p.identity.Change {
		spec.UID = p.identity.UID
	}
	return spec
}

// listensTo tells whether a service has a listener.
func (p *plan) listensTo(service string) bool {
	return slices.ContainsFunc(p.listeners, func(l master.ListenerSpec) bool { return l.Service == service })
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
		hosts = postfix.SplitList(p.bound.interfaces)
	}
	var specs []master.ListenerSpec
	for _, h := range hosts {
		addrs, err := p.addresses(h)
		if err != nil {
			return nil, err
		}
		for _, a := range addrs {
			specs = append(specs, master.ListenerSpec{
				Name: e.Name, Service: e.Command, Network: a.network, Address: net.JoinHostPort(a.host, number),
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
		ips, err := lookupIPs(host)
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
		return nil, fmt.Errorf("%s: no address of inet_protocols %q", host, p.bound.protocols)
	}
	return all, nil
}

// lookupIPs accepts the form with a mask that Red Hat's manual shows
// (127.0.0.1/32): it can only mean the address.
func lookupIPs(host string) ([]net.IP, error) {
	bare, _, _ := strings.Cut(host, "/")
	if ip := net.ParseIP(strings.Trim(bare, "[]")); ip != nil {
		return []net.IP{ip}, nil
	}
	ips, err := net.LookupIP(host)
	if err != nil {
		return nil, fmt.Errorf("inet_interfaces: %s: host not found", host)
	}
	return ips, nil
}

func (p *plan) protocols() (v4, v6 bool) {
	for _, w := range postfix.SplitList(p.bound.protocols) {
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

// timerSlack of the mta, which flushes files and sends to loopback all the time, was worth 15 % of the messages that
// it accepts, on a virtual machine; twice as much was worth no more.
const timerSlack = time.Millisecond

// spec is what the mta process gets.
func (p *plan) spec(logs *logs, sockets *master.Listeners) (master.Spec, error) {
	config, err := p.texts.Encode()
	return master.Spec{
		Role: "mta", Title: "postfix/mta", Identity: p.identity, Config: config,
		Log: logs.forProcess(p.core.SyslogName + "/mta"), LogFiles: master.LogFiles{Main: logs.file},
		Listeners: p.listeners, Sockets: sockets, TimerSlack: timerSlack,
	}, err
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
	}{{"pid", 0o755, -1}, {"public", 0o710, owner}, {"tools", 0o755, owner}, {"private", 0o700, owner}, {pickup.QueueName, 0o730, owner}, {mta.SegmentsName, 0o700, owner}} {
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
			public, drop := filepath.Join(p.core.QueueDirectory, "public"), filepath.Join(p.core.QueueDirectory, pickup.QueueName)
			return errors.Join(os.Chown(public, owner, gid), os.Chown(drop, owner, gid), os.Chmod(drop, 0o730))
		}
	}
	return nil
}
