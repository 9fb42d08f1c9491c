package login

import (
	"net"

	"github.com/dovetail-mail/dovetail/internal/haproxy"
)

// balanced takes what a load balancer says of the connection. Without addresses it has the balancer's.
func (c *session) balanced(h *haproxy.Header) {
	if c.header = h; h == nil {
		return
	}
	if h.Client.IsValid() {
		c.local, c.remote = h.Server, h.Client
	}
	c.localName = h.Name
}

// judge decides how far the client is trusted, as client_alloc of Dovecot's login-common does: behind a balancer by
// the address that this tells, and by whether the client speaks TLS with it. A client that a balancer does
// not name has the address of the balancer, but not its rights.
func (c *session) judge() {
	c.fromTrusted = c.trusted.Contains(c.remote.Addr()) && (c.header == nil || !c.header.Unknown)
	switch {
	case c.header != nil:
		c.secured = c.header.TLS || c.fromTrusted
	default:
		// A client on the server's own address could read the password anyway.
		c.secured = c.fromTrusted || c.realLocal.Addr() == c.realRemote.Addr()
	}
}

// balancedText is %k of a client whose TLS ends in a balancer.
const balancedText = "(proxied)"

// balancedTLS reports whether the client speaks TLS with a balancer.
func (c *session) balancedTLS() bool { return c.header != nil && c.header.TLS }

// hasTLS reports whether the client speaks TLS, with this server or its balancer.
func (c *session) hasTLS() bool { return c.tlsConn != nil || c.balancedTLS() }

// behind is a connection whose ends are those that a balancer tells.
type behind struct {
	net.Conn
	local, remote net.Addr
}

func (b *behind) LocalAddr() net.Addr  { return b.local }
func (b *behind) RemoteAddr() net.Addr { return b.remote }
