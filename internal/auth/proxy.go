package auth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
)

// proxyFields say where a login is relayed to; they go when it is not.
var proxyFields = [...]string{"proxy", "proxy_maybe", "proxy_always", "host", "port", "destuser"}

func dropProxy(r *db.Request) {
	for _, name := range proxyFields {
		r.Fields.Remove(name)
	}
}

// isProxied reports whether the passdbs want the login, or mail, to go to another server.
func isProxied(r *db.Request) bool { return r.Fields.Has("proxy") || r.Fields.Has("proxy_maybe") }

// proxyName is the name whose address has to be looked up before the answer, or empty.
func proxyName(r *db.Request) string {
	if !isProxied(r) || r.Fields.Has("hostip") {
		return ""
	}
	host, _ := r.Fields.Get("host")
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	return host
}

// dnsTimeout is how long the address of a server is looked up, unless proxy_timeout says
// how long the user can wait.
const dnsTimeout = 10 * time.Second

// finishProxy prepares the fields about another server for who asked: it adds the
// address of a host given by name, and decides about proxy_maybe. It waits for the name
// service if there is a [proxyName]. It returns false if that does not know the name, or
// fails.
func (s *Server) finishProxy(ctx context.Context, r *db.Request) bool {
	if !isProxied(r) {
		return true
	}
	host, hasHost := r.Fields.Get("host")
	addrs, err := s.proxyAddrs(ctx, r, host)
	if err != nil {
		s.log.Errorf("%v", err)
		dropProxy(r)
		return false
	}
	if !hasHost && r.Local.IsValid() { // as Dovecot, for its director
		r.Fields.Set(db.Field{Name: "lip", Value: r.Local.Addr().String()})
		r.Fields.Set(db.Field{Name: "lport", Value: strconv.Itoa(int(r.Local.Port()))})
	}
	if !r.Fields.Has("proxy_maybe") {
		return true
	}
	if s.isSelf(r, addrs) {
		always := r.Fields.Has("proxy_always")
		dropProxy(r)
		if always {
			r.Fields.Set(db.Field{Name: "proxy"})
		}
		return true
	}
	r.Fields.Remove("proxy_maybe")
	r.Fields.Set(db.Field{Name: "proxy"})
	return true
}

// proxyAddrs returns the addresses of the host, and adds the field hostip if it had to be
// looked up.
func (s *Server) proxyAddrs(ctx context.Context, r *db.Request, host string) ([]netip.Addr, error) {
	if host == "" {
		return nil, nil
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	if text, ok := r.Fields.Get("hostip"); ok {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("Invalid hostip in passdb: %s", text)
		}
		return []netip.Addr{addr}, nil
	}
	timeout := dnsTimeout
	if text, ok := r.Fields.Get("proxy_timeout"); ok {
		if secs, err := strconv.ParseUint(text, 10, 20); err == nil && secs > 0 {
			timeout = time.Duration(secs) * time.Second
		}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(addrs) == 0 {
		return nil, fmt.Errorf("DNS lookup for %s failed: %s", host, lookupError(err))
	}
	r.Fields.Set(db.Field{Name: "hostip", Value: addrs[0].Unmap().String()})
	return addrs, nil
}

// lookupError is what libc says of a name without address.
func lookupError(err error) string {
	var dns *net.DNSError
	switch {
	case err == nil, errors.As(err, &dns) && dns.IsNotFound:
		return "Name or service not known"
	case errors.As(err, &dns) && dns.IsTimeout:
		return "Timed out"
	}
	return err.Error()
}

// isSelf reports whether a server is this one: one of its addresses is that to which the
// client is connected, or in auth_proxy_self, and the port is the same.
func (s *Server) isSelf(r *db.Request, addrs []netip.Addr) bool {
	if port, ok := r.Fields.Get("port"); ok && port != strconv.Itoa(int(r.Local.Port())) {
		return false
	}
	own := r.RealLocal.Addr()
	if !own.IsValid() {
		own = r.Local.Addr()
	}
	for _, a := range addrs {
		if a.Unmap() == own.Unmap() {
			return true
		}
		for _, self := range s.proxySelf {
			if a.Unmap() == self {
				return true
			}
		}
	}
	return false
}

// parseProxySelf reads auth_proxy_self: addresses, or names of them.
func parseProxySelf(list string) ([]netip.Addr, error) {
	var all []netip.Addr
	for word := range strings.FieldsSeq(list) {
		addrs, err := net.LookupHost(word) // an address is its own
		if err != nil {
			return nil, fmt.Errorf("auth_proxy_self: %w", err)
		}
		for _, text := range addrs {
			if a, err := netip.ParseAddr(text); err == nil {
				all = append(all, a.Unmap())
			}
		}
	}
	return all, nil
}

// finishProxy is called before a login is told to have succeeded. It returns false if the
// answer comes later.
func (r *request) finishProxy() bool {
	if r.conn.kind != KindLogin || r.proxyDone || !isProxied(&r.Request) {
		return true
	}
	r.proxyDone = true
	s := r.conn.server()
	if proxyName(&r.Request) == "" {
		if s.finishProxy(r.conn.ctx, &r.Request) {
			return true
		}
		r.fail(resultInternal)
		return false
	}
	go r.guard(func() {
		if !s.finishProxy(r.conn.ctx, &r.Request) {
			r.fail(resultInternal)
			return
		}
		r.sendOK()
	})
	return false
}
