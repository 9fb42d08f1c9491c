package doveadm

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/anvil"
)

// sessionCommands are about who is logged in, or would like to be.
var sessionCommands = []*command{
	{
		name: "kick", usage: "[-a <anvil socket path>] <user mask>[|]<ip/bits>", format: "formatted",
		params: []param{option('a', "socket-path"), flag('f', "force"), arguments("mask")}, plain: runKick,
	},
	{
		name: "penalty", usage: "[-a <anvil socket path>] [<ip/bits>]", format: "table",
		params: []param{option('a', "socket-path"), argument("netmask")}, plain: runPenalty,
	},
	{
		name: "who", usage: "[-a <anvil socket path>] [-1] [<user mask>] [<ip/bits>]", format: "table",
		params: []param{option('a', "socket-path"), flag('1', "separate-connections"), arguments("mask")}, plain: runWho,
	},
}

// dialAnvil connects to the socket that knows sessions.
func (in *invocation) dialAnvil() (*anvil.Client, error) {
	path, ok := in.text("socket-path")
	if !ok {
		var err error
		if path, err = in.baseDir("anvil"); err != nil {
			return nil, err
		}
	}
	c, err := anvil.Dial(path)
	if err != nil {
		return nil, fatalf(exTempFail, "net_connect_unix(%s) failed: %s", path, reason(err))
	}
	return c, nil
}

// A sessionFilter says which sessions are meant.
type sessionFilter struct {
	user string       // mask; "" for all
	net  netip.Prefix // not valid for all
}

// newSessionFilter reads masks: at most one of user names and one network.
func newSessionFilter(masks []string) (f sessionFilter, err error) {
	for _, mask := range masks {
		net, ok := parseRange(mask)
		switch {
		case ok && f.net.IsValid():
			return f, withStatus(exUsage, "Multiple network masks not supported")
		case ok:
			f.net = net
		case f.user != "":
			return f, withStatus(exUsage, "Multiple username masks not supported")
		default:
			f.user = mask
		}
	}
	return f, nil
}

// parseRange reads IP or IP/BITS. A number is no address.
func parseRange(text string) (netip.Prefix, bool) {
	if ip, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(ip, ip.BitLen()), true
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err == nil
}

func (f *sessionFilter) matchesUser(user string) bool {
	return f.user == "" || matchMask(strings.ToLower(user), strings.ToLower(f.user))
}

func (f *sessionFilter) matchesIP(ip netip.Addr) bool {
	return !f.net.IsValid() || f.net.Contains(ip)
}

func (f *sessionFilter) matches(l *anvil.Line) bool {
	return f.matchesUser(l.User) && f.matchesIP(l.Remote)
}

// sessions returns the lines of all sessions there are.
func (in *invocation) sessions(c *anvil.Client) ([]anvil.Line, error) {
	var lines []anvil.Line
	if err := c.Sessions(func(l anvil.Line) { lines = append(lines, l) }); err != nil {
		return nil, fatalf(exTempFail, "anvil: %v", err)
	}
	return lines, nil
}

// runWho shows who is logged in.
func runWho(in *invocation) error {
	filter, err := newSessionFilter(in.array("mask"))
	if err != nil {
		return err
	}
	c, err := in.dialAnvil()
	if err != nil {
		return err
	}
	defer c.Close()
	lines, err := in.sessions(c)
	if err != nil {
		return err
	}
	if in.set("separate-connections") {
		in.column("username", expand)
		in.titled("service", "proto", 0)
		in.column("pid", 0)
		in.column("ip", 0)
		for _, l := range lines {
			for range l.Count {
				if filter.matches(&l) {
					in.row(l.User, l.Service, strconv.Itoa(l.PID), ipText(l.Remote))
				}
			}
		}
		return nil
	}
	in.column("username", 0)
	in.titled("connections", "#", right)
	in.titled("service", "proto", 0)
	in.titled("pids", "(pids)", 0)
	in.titled("ips", "(ips)", 0)
	for _, u := range gatherUsers(lines) {
		if filter.matchesUser(u.name) && (!filter.net.IsValid() || slices.ContainsFunc(u.ips, filter.matchesIP)) {
			in.row(u.name, strconv.Itoa(u.count), u.service, inParentheses(u.pids), inParentheses(u.ips))
		}
	}
	return nil
}

func (in *invocation) row(values ...string) {
	for _, v := range values {
		in.print.print(v)
	}
}

// A whoUser is what a user has of a service.
type whoUser struct {
	name, service string
	count         int
	pids          []int
	ips           []netip.Addr
}

// gatherUsers puts lines of the same user and service together.
func gatherUsers(lines []anvil.Line) []*whoUser {
	var users []*whoUser
	byName := make(map[[2]string]*whoUser)
	for _, l := range lines {
		key := [2]string{l.User, l.Service}
		u := byName[key]
		if u == nil {
			u = &whoUser{name: l.User, service: l.Service}
			byName[key] = u
			users = append(users, u)
		}
		u.count += l.Count
		if !slices.Contains(u.pids, l.PID) {
			u.pids = append(u.pids, l.PID)
		}
		if l.Remote.IsValid() && !slices.Contains(u.ips, l.Remote) {
			u.ips = append(u.ips, l.Remote)
		}
	}
	return users
}

func inParentheses[T any](list []T) string {
	text := fmt.Sprint(list)
	return "(" + text[1:len(text)-1] + ")"
}

func ipText(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.String()
}
