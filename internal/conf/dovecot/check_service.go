package dovecot

import (
	"fmt"
	"slices"
	"strings"
)

// singleProcess are the services that keep state in their one process.
var singleProcess = []string{"auth", "anvil", "log", "director", "indexer", "ipc", "old-stats", "replicator"}

var serviceProcessTypes = []string{"", "log", "anvil", "config", "login", "startup", "worker"}

// minVSZLimit is below what any process can start with.
const minVSZLimit = 1 << 20

func checkMaster(k *checker) error {
	if k.str("listen") == "" {
		return fmt.Errorf("listen can't be set empty")
	}
	for _, id := range []string{"uid", "gid"} {
		first, last := k.uint("first_valid_"+id), k.uint("last_valid_"+id)
		if last != 0 && first > last {
			return fmt.Errorf("first_valid_%s can't be larger than last_valid_%s", id, id)
		}
	}
	for _, key := range []string{"default_login_user", "default_internal_user"} {
		// The defaults are the master's business: a tool on a machine
		// without Dovecot's users can do without them.
		if v, ok := k.v.value(key); ok && !userExists(v.text) {
			return fmt.Errorf("%s doesn't exist: %s", key, v.text)
		}
	}
	s := &serviceCheck{checker: k, baseDir: strings.TrimSuffix(k.str("base_dir"), "/"), protocols: strings.Fields(k.str("protocols"))}
	if slices.Equal(s.protocols, []string{"none"}) {
		s.protocols = nil
	}
	return s.all(k.list("service"))
}

// A serviceCheck carries what is counted over all services.
type serviceCheck struct {
	*checker
	baseDir   string
	protocols []string
	listeners []string
	auth      clientCount
	anvil     clientCount
}

// A clientCount is how many clients a service may get, and from whom.
type clientCount struct {
	limit   uint32
	clients uint64
	from    []string
}

func (n *clientCount) add(name string, processes uint32) {
	n.clients += uint64(processes)
	n.from = append(n.from, fmt.Sprintf("service %s { process_limit=%d }", name, processes))
}

func (k *serviceCheck) all(services []view) error {
	known := map[string]bool{}
	for i, s := range services {
		if s.name() == "" {
			return fmt.Errorf("Service #%d is missing name", i)
		}
		if t := s.str("type"); !slices.Contains(serviceProcessTypes, t) {
			return fmt.Errorf("Unknown service type: %s", t)
		}
		known[s.str("protocol")] = true
		switch s.name() {
		case "auth":
			k.auth.limit = k.number(s, "client_limit", "default_client_limit")
		case "anvil":
			k.anvil.limit = k.number(s, "client_limit", "default_client_limit")
		}
	}
	for _, p := range k.protocols {
		if !known[p] {
			return fmt.Errorf("protocols: Unknown protocol: %s", p)
		}
	}
	for _, s := range services {
		if p := s.str("protocol"); p != "" && !slices.Contains(k.protocols, p) {
			continue // does not run
		}
		if err := k.limits(s); err != nil {
			return err
		}
		if err := k.addListeners(s); err != nil {
			return err
		}
	}
	k.warnLimits()
	slices.Sort(k.listeners)
	for i, l := range k.listeners {
		if i > 0 && l == k.listeners[i-1] {
			return fmt.Errorf("duplicate listener: %s", l)
		}
	}
	return nil
}

// number is a count of the service; 0 stands for a global setting.
func (k *serviceCheck) number(s view, key, global string) uint32 {
	n, _ := parseUint(s.str(key))
	if n == 0 && global != "" {
		n = k.uint(global)
	}
	return n
}

func (k *serviceCheck) limits(s view) error {
	name := s.name()
	processes := k.number(s, "process_limit", "default_process_limit")
	if s.str("drop_priv_before_exec") == "yes" && s.str("chroot") != "" {
		return fmt.Errorf("service(%s): drop_priv_before_exec=yes can't be used with chroot", name)
	}
	if k.number(s, "process_min_avail", "") > processes {
		return fmt.Errorf("service(%s): process_min_avail is higher than process_limit", name)
	}
	if n, _ := parseSize(s.str("vsz_limit")); n > 0 && n < minVSZLimit {
		return fmt.Errorf("service(%s): vsz_limit is too low", name)
	}
	if slices.Contains(singleProcess, name) && processes > 1 {
		return fmt.Errorf("service(%s): process_limit must be 1", name)
	}
	k.count(s, name, processes)
	return nil
}

// count adds the clients that a service may be to auth and anvil. A process
// that serves one client holds its connection to auth only for a moment.
func (k *serviceCheck) count(s view, name string, processes uint32) {
	login := s.str("type") == "login"
	if s.str("protocol") != "" && name != "imap-hibernate" && (s.str("service_count") != "1" || login) {
		k.auth.add(name, processes)
	}
	if login || name == "auth" {
		k.anvil.add(name, processes)
	}
}

// anvilExtra is what the anvil service needs besides its counted clients: the
// master's two connections.
const anvilExtra = 2

func (k *serviceCheck) warnLimits() {
	if n := k.auth; n.clients > uint64(n.limit) {
		k.warn("service auth { client_limit=%d } is lower than required under max. load (%d). Counted for protocol services with service_count != 1: %s",
			n.limit, n.clients, strings.Join(n.from, " + "))
	}
	if n := k.anvil; n.clients+anvilExtra > uint64(n.limit) {
		k.warn("service anvil { client_limit=%d } is lower than required under max. load (%d). Counted with: %s",
			n.limit, n.clients+anvilExtra, strings.Join(n.from, " + "))
	}
}

// addListeners notes where the service listens.
func (k *serviceCheck) addListeners(s view) error {
	list := s[0].set
	for _, kind := range []string{"unix_listener", "fifo_listener"} {
		for _, l := range s.subs(list.keys[kind]) {
			path := l.str("path")
			if path == "" {
				return fmt.Errorf("service(%s): %s: path must not be empty", s.name(), kind)
			}
			if path[0] != '/' {
				path = k.baseDir + "/" + path
			} else if strings.HasPrefix(path, k.baseDir+"/") {
				k.warn("You should remove base_dir prefix from unix_listener: %s", path)
			}
			if l.str("mode") != "00" {
				k.listeners = append(k.listeners, path)
			}
		}
	}
	for _, l := range s.subs(list.keys["inet_listener"]) {
		if port := l.str("port"); port != "0" {
			k.listeners = append(k.listeners, port+":"+l.str("address"))
		}
	}
	return nil
}
