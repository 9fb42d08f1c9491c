package postfix

import (
	"bufio"
	"fmt"
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
		domain, _ = m.ExpandText(domain)
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

// mynetworks lists the networks of the interfaces that the system uses, as
// mynetworks_style says.
func (c *computed) mynetworks(m *Main) string {
	style, _, _ := m.Expand("mynetworks_style")
	own, _ := m.ownInterfaces()
	var items []string
	for _, p := range own {
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
