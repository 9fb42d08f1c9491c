package postfix

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// computed makes the defaults that are found out at run time, once.
type computed struct {
	hostname   func() string
	interfaces func() []netip.Prefix
}

func newComputed() *computed {
	return &computed{
		hostname: sync.OnceValue(func() string {
			name, err := os.Hostname()
			if err != nil || name == "" {
				return "localhost"
			}
			return name
		}),
		interfaces: sync.OnceValue(localInterfaces),
	}
}

// value is the default of a parameter for m; an error in something it depends
// on leaves it empty, and is reported for that.
func (c *computed) value(m *Main, name string) string {
	switch name {
	case "myhostname":
		return c.myhostname(m)
	case "mydomain":
		return c.mydomain(m)
	case "mynetworks":
		return c.mynetworks(m)
	case "process_id":
		return strconv.Itoa(os.Getpid())
	case "process_name":
		return filepath.Base(os.Args[0])
	}
	return ""
}

// myhostname is the system's host name, made complete with $mydomain.
func (c *computed) myhostname(m *Main) string {
	host := c.hostname()
	if strings.Contains(host, ".") {
		return host
	}
	if domain, ok := m.value("mydomain"); ok {
		return host + "." + domain
	}
	return host + ".localdomain"
}

// mydomain is $myhostname without its first label.
func (c *computed) mydomain(m *Main) string {
	host, ok := m.value("myhostname")
	if ok {
		host, _ = m.ExpandText(host)
	} else {
		host = c.hostname()
	}
	if _, domain, ok := strings.Cut(host, "."); ok {
		return domain
	}
	return "localdomain"
}

// mynetworks lists the networks of this system's interfaces as
// mynetworks_style and inet_interfaces say.
func (c *computed) mynetworks(m *Main) string {
	style, _, _ := m.Expand("mynetworks_style")
	var items []string
	for _, p := range c.listening(m) {
		switch style {
		case "host":
			p = netip.PrefixFrom(p.Addr(), p.Addr().BitLen())
		case "class":
			p = classOf(p)
		}
		p = p.Masked()
		item := p.String()
		if p.Addr().Is6() {
			item = fmt.Sprintf("[%s]/%d", p.Addr(), p.Bits())
		}
		if !slices.Contains(items, item) {
			items = append(items, item)
		}
	}
	return strings.Join(items, " ")
}

// classOf is the class A, B or C network of an IPv4 address.
func classOf(p netip.Prefix) netip.Prefix {
	if !p.Addr().Is4() {
		return p
	}
	switch first := p.Addr().As4()[0]; {
	case first < 128:
		return netip.PrefixFrom(p.Addr(), 8)
	case first < 192:
		return netip.PrefixFrom(p.Addr(), 16)
	}
	return netip.PrefixFrom(p.Addr(), 24)
}

// listening returns the interfaces that inet_interfaces and inet_protocols
// select.
func (c *computed) listening(m *Main) []netip.Prefix {
	wanted, _, _ := m.Expand("inet_interfaces")
	protocols, _, _ := m.Expand("inet_protocols")
	items := SplitList(strings.ToLower(wanted))
	protos := SplitList(protocols)
	return slices.DeleteFunc(slices.Clone(c.interfaces()), func(p netip.Prefix) bool {
		family := "ipv4"
		if p.Addr().Is6() {
			family = "ipv6"
		}
		if !slices.Contains(protos, "all") && !slices.Contains(protos, family) {
			return true
		}
		return !slices.ContainsFunc(items, func(item string) bool { return selects(item, p.Addr()) })
	})
}

func selects(item string, addr netip.Addr) bool {
	switch item {
	case "all":
		return true
	case "loopback-only", "localhost":
		return addr.IsLoopback()
	}
	want, err := netip.ParseAddr(strings.Trim(item, "[]"))
	return err == nil && want == addr
}

// localInterfaces lists the addresses of the system with their networks, IPv4 first.
func localInterfaces() []netip.Prefix {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Prefix
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			addr, _ := netip.AddrFromSlice(n.IP)
			bits, _ := n.Mask.Size()
			out = append(out, netip.PrefixFrom(addr.Unmap(), bits))
		}
	}
	slices.SortStableFunc(out, func(a, b netip.Prefix) int { return a.Addr().BitLen() - b.Addr().BitLen() })
	return out
}

// originFile reads the value of myorigin from a file if it is an absolute path,
// as Debian's Postfix does.
func originFile(v string) (string, error) {
	if !strings.HasPrefix(v, "/") {
		return v, nil
	}
	f, err := os.Open(v)
	if err != nil {
		return "", fmt.Errorf("%s: cannot open file: %s", v, errnoText(err))
	}
	defer f.Close()
	line, _ := bufio.NewReaderSize(f, 1024).ReadSlice('\n')
	name := strings.Trim(string(line), spaces)
	if name == "" {
		return "", fmt.Errorf("%s: file is empty", v)
	}
	return name, nil
}
