package smtpd

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/dns"
	"github.com/dovetail-mail/dovetail/internal/haproxy"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// ProxySettings are the parameters of services behind a proxy that tells who the client is.
type ProxySettings struct {
	Protocol string        `set:"smtpd_upstream_proxy_protocol" doc:"protocol of a proxy before the SMTP dialogue: haproxy, or empty for none"`
	Timeout  time.Duration `set:"smtpd_upstream_proxy_timeout" default:"5s" unit:"s" min:"1" doc:"limit for it"`
}

var _ = postfix.Register("smtpd", ProxySettings{})

func (set *ProxySettings) check() error {
	if set.Protocol != "" && set.Protocol != "haproxy" {
		return fmt.Errorf("unknown smtpd_upstream_proxy_protocol \"%s\": specify haproxy, or nothing", set.Protocol)
	}
	return nil
}

// readProxy learns from the proxy who the client is. It is false for a proxy that does not
// tell: nobody is served then.
func (s *session) readProxy() bool {
	if s.srv.proxy.Protocol == "" {
		return true
	}
	h, err := haproxy.Read(s.conn, s.srv.proxy.Timeout)
	if err == nil && (h.Unknown || !s.srv.speaks(h.Client.Addr())) {
		// Without an address, no restriction of clients would hold.
		err = &haproxy.ReadError{Err: haproxy.BadProtocol, Text: []byte(h.Raw)}
	}
	if err == nil {
		s.upstream = h
		return true
	}
	var bad *haproxy.ReadError
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		s.srv.log.Warningf("haproxy read: timeout error")
	case errors.Is(err, io.EOF):
		s.srv.log.Warningf("haproxy read: EOF")
	case errors.As(err, &bad):
		s.srv.log.Warningf("haproxy read: %v: %s", bad.Err, smtp.AppendEscaped(nil, bad.Text))
	default:
		s.srv.log.Warningf("haproxy read: %v", err)
	}
	s.reply(s.hostReply(421, smtp.Enhanced{4, 3, 0}, "Server local error"))
	return false
}

// speaks tells whether inet_protocols has the family of an address.
func (srv *Server) speaks(addr netip.Addr) bool {
	switch srv.family {
	case dns.IPv4:
		return !addr.Is6()
	case dns.IPv6:
		return !addr.Is4()
	}
	return true
}

// endpoints are the addresses of client and server, as the proxy says or the connection has
// them. ok is false where that is not over TCP.
func (s *session) endpoints() (client, server netip.AddrPort, ok bool) {
	if s.upstream.Client.IsValid() {
		return s.upstream.Client, s.upstream.Server, true
	}
	client, ok = addrPort(s.conn.RemoteAddr())
	server, _ = addrPort(s.conn.LocalAddr())
	return client, server, ok
}
