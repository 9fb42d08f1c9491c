package dns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// checkInterval is how often a file is looked at for changes.
const checkInterval = 5 * time.Second

// maxFile is the most that is read of a file.
const maxFile = 4 << 20

// A file is the parsed content of a file, read again when that changes.
type file[T any] struct {
	path  string
	parse func(text string) (*T, error)

	mu      sync.Mutex
	value   *T
	checked time.Time
	mtime   time.Time
	size    int64
}

// get returns the content. Once it was read, an error later does not take it
// away.
func (f *file[T]) get() (*T, error) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.value != nil && now.Sub(f.checked) < checkInterval {
		return f.value, nil
	}
	f.checked = now
	info, err := os.Stat(f.path)
	if err == nil && f.value != nil && info.ModTime().Equal(f.mtime) && info.Size() == f.size {
		return f.value, nil
	}
	value, err := f.read(info, err)
	if err == nil {
		f.value = value
	}
	if f.value == nil {
		return nil, err
	}
	return f.value, nil
}

func (f *file[T]) read(info os.FileInfo, err error) (*T, error) {
	if err != nil {
		return nil, fmt.Errorf("dns: %w", err)
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("dns: %s is larger than %d bytes", f.path, maxFile)
	}
	text, err := os.ReadFile(f.path)
	if err != nil {
		return nil, fmt.Errorf("dns: %w", err)
	}
	f.mtime, f.size = info.ModTime(), info.Size()
	value, err := f.parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("dns: %s: %w", f.path, err)
	}
	return value, nil
}

// A config is a resolv.conf(5). Search domains are not used: names in mail are
// complete.
type config struct {
	servers  []string // host:port
	timeout  time.Duration
	attempts int
}

// Limits of resolv.conf(5).
const (
	maxServers  = 3
	maxTimeout  = 30
	maxAttempts = 5
)

func parseConfig(text string) (*config, error) {
	c := &config{timeout: 5 * time.Second, attempts: 2}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			server, err := serverAddr(words[1])
			if err != nil {
				return nil, err
			}
			if len(c.servers) < maxServers {
				c.servers = append(c.servers, server)
			}
		case "options":
			c.setOptions(words[1:])
		}
	}
	if len(c.servers) == 0 { // as resolv.conf(5) says
		c.servers = []string{"127.0.0.1:53"}
	}
	return c, nil
}

func (c *config) setOptions(words []string) {
	for _, word := range words {
		name, text, _ := strings.Cut(word, ":")
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			continue
		}
		switch name {
		case "timeout":
			c.timeout = time.Duration(min(n, maxTimeout)) * time.Second
		case "attempts":
			c.attempts = min(n, maxAttempts)
		}
	}
}

// serverAddr reads the address of a nameserver line, which may have a port in
// our own form [ADDRESS]:PORT.
func serverAddr(text string) (string, error) {
	host, port := text, "53"
	var err error
	if strings.HasPrefix(text, "[") {
		host, port, err = net.SplitHostPort(text)
	}
	addr, bad := netip.ParseAddr(host)
	if err == nil {
		err = bad
	}
	switch n, bad := strconv.ParseUint(port, 10, 16); {
	case err != nil:
	case bad != nil || n == 0:
		err = errors.New("its port is no number from 1 to 65535")
	case strings.ContainsAny(addr.Zone(), "[]%"):
		err = errors.New("its zone is no name of an interface")
	}
	if err != nil {
		return "", fmt.Errorf("bad nameserver %q: %w", text, err)
	}
	return net.JoinHostPort(host, port), nil
}

// hosts is an /etc/hosts.
type hosts struct {
	byName map[string][]netip.Addr // lower case
	names  map[netip.Addr]string   // first name of the first line
}

func parseHosts(text string) (*hosts, error) {
	h := &hosts{byName: make(map[string][]netip.Addr), names: make(map[netip.Addr]string)}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(words[0])
		if err != nil {
			continue // as the C library does
		}
		addr = addr.Unmap()
		if h.names[addr] == "" {
			h.names[addr] = words[1]
		}
		for _, name := range words[1:] {
			name = strings.ToLower(trimDot(name))
			h.byName[name] = append(h.byName[name], addr)
		}
	}
	return h, nil
}

func (h *hosts) addrs(name string, family Family) []netip.Addr {
	var out []netip.Addr
	for _, a := range h.byName[strings.ToLower(trimDot(name))] {
		if family == Any || (family == IPv4) == a.Is4() {
			out = append(out, a)
		}
	}
	return out
}
