package dovecot

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// singleProcess are the services that keep state in their one process.
var singleProcess = []string{"auth", "anvil", "log", "director", "indexer", "ipc", "old-stats", "replicator"}

var serviceProcessTypes = []string{"", "log", "anvil", "config", "login", "startup", "worker"}

// minVSZLimit is below what any process can start with.
const minVSZLimit = 1 << 20

// A serviceCheck carries what is counted over all services.
type serviceCheck struct {
	c         *Config
	m         *Master
	listeners map[string]bool
	auth      clientCount
	anvil     clientCount
}

// A clientCount is how many clients a service may get, and from whom.
type clientCount struct {
	limit   uint32
	clients uint64
	from    []string
}

func (n *clientCount) add(s *Service) {
	n.clients += uint64(s.ProcessLimit)
	n.from = append(n.from, fmt.Sprintf("service %s { process_limit=%d }", s.Name, s.ProcessLimit))
}

func (c *Config) checkServices() error {
	m, err := Get[Master](c, Filter{})
	if err != nil {
		return err
	}
	services, err := Services(c)
	if err != nil {
		return err
	}
	k := &serviceCheck{c: c, m: m, listeners: map[string]bool{}}
	for i := range services {
		s := &services[i]
		if s.Name == "" {
			return fmt.Errorf("Service #%d is missing name", i+1)
		}
		if !slices.Contains(serviceProcessTypes, s.Type) {
			return fmt.Errorf("Unknown service type: %s", s.Type)
		}
		if s.Protocol != "" && !slices.Contains(strings.Fields(m.Protocols), s.Protocol) {
			continue // does not run
		}
		if err := k.limits(s); err != nil {
			return err
		}
		if err := k.sockets(s); err != nil {
			return err
		}
		k.count(s)
	}
	k.warn()
	return nil
}

func (k *serviceCheck) limits(s *Service) error {
	if s.DropPrivBefore && s.Chroot != "" {
		return fmt.Errorf("service(%s): drop_priv_before_exec=yes can't be used with chroot", s.Name)
	}
	if slices.Contains(singleProcess, s.Name) && s.ProcessLimit != 1 {
		return fmt.Errorf("service(%s): process_limit must be 1", s.Name)
	}
	if s.ProcessMinAvail > s.ProcessLimit {
		return fmt.Errorf("service(%s): process_min_avail is higher than process_limit", s.Name)
	}
	if s.VSZLimit > 0 && s.VSZLimit < minVSZLimit {
		return fmt.Errorf("service(%s): vsz_limit is too low", s.Name)
	}
	return nil
}

func (k *serviceCheck) sockets(s *Service) error {
	for _, l := range s.UnixListeners {
		if err := k.socket(s, "unix_listener", l.Path, l.Mode); err != nil {
			return err
		}
	}
	for _, l := range s.FifoListeners {
		if err := k.socket(s, "fifo_listener", l.Path, l.Mode); err != nil {
			return err
		}
	}
	for _, l := range s.InetListeners {
		if l.Port == 0 {
			continue
		}
		if err := k.unique(strconv.Itoa(int(l.Port)) + ":" + l.Address); err != nil {
			return err
		}
	}
	return nil
}

func (k *serviceCheck) socket(s *Service, kind, path string, mode Mode) error {
	if path == "" {
		return fmt.Errorf("service(%s): %s: path must not be empty", s.Name, kind)
	}
	if mode == 0 {
		return nil
	}
	if strings.HasPrefix(path, k.m.BaseDir+"/") {
		k.c.warnings = append(k.c.warnings, fmt.Sprintf("You should remove base_dir prefix from %s: %s", kind, path))
	}
	if path[0] != '/' {
		path = k.m.BaseDir + "/" + path
	}
	return k.unique(path)
}

func (k *serviceCheck) unique(listener string) error {
	if k.listeners[listener] {
		return fmt.Errorf("duplicate listener: %s", listener)
	}
	k.listeners[listener] = true
	return nil
}

// count adds the clients that a service may be to auth and anvil. A process
// that serves one client holds its connection to auth only for a moment.
func (k *serviceCheck) count(s *Service) {
	switch s.Name {
	case "auth":
		k.auth.limit = s.ClientLimit
		k.anvil.add(s)
		return
	case "anvil":
		k.anvil.limit = s.ClientLimit
		return
	case "imap-hibernate":
		return
	}
	if s.Protocol != "" && (s.ServiceCount != 1 || s.Type == "login") {
		k.auth.add(s)
	}
	if s.Type == "login" {
		k.anvil.add(s)
	}
}

// anvilExtra is what the anvil service needs besides its counted clients: the
// master and two more.
const anvilExtra = 2

func (k *serviceCheck) warn() {
	if n := k.auth; n.clients > uint64(n.limit) {
		k.c.warnings = append(k.c.warnings, fmt.Sprintf(
			"service auth { client_limit=%d } is lower than required under max. load (%d). Counted for protocol services with service_count != 1: %s",
			n.limit, n.clients, strings.Join(n.from, " + ")))
	}
	if n := k.anvil; n.clients+anvilExtra > uint64(n.limit) {
		k.c.warnings = append(k.c.warnings, fmt.Sprintf(
			"service anvil { client_limit=%d } is lower than required under max. load (%d). Counted with: %s",
			n.limit, n.clients+anvilExtra, strings.Join(n.from, " + ")))
	}
}
