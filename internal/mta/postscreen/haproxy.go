package postscreen

import (
	"errors"
	"fmt"
	"net"

	"github.com/dovetail-mail/dovetail/internal/haproxy"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// checkProxy reads postscreen_upstream_proxy_protocol.
func (s *Server) checkProxy(*Config) error {
	if p := s.set.UpstreamProxyProtocol; p != "" && p != "haproxy" {
		return fmt.Errorf("unknown postscreen_upstream_proxy_protocol \"%s\": specify haproxy, or nothing", p)
	}
	return nil
}

// behindProxy is a connection whose ends are those that a proxy tells.
type behindProxy struct {
	*net.TCPConn
	client, server net.Addr
}

func (c *behindProxy) RemoteAddr() net.Addr { return c.client }
func (c *behindProxy) LocalAddr() net.Addr  { return c.server }

// unwrap learns from the proxy, if there has to be one, who the client is. It is nil for a proxy that does not
// tell: nobody is served then, as any client would have the proxy's rights.
func (s *Server) unwrap(conn net.Conn) net.Conn {
	if s.set.UpstreamProxyProtocol == "" {
		return conn
	}
	h, err := haproxy.Read(conn, s.set.UpstreamProxyTimeout)
	if err == nil && h.Unknown {
		err = &haproxy.ReadError{Err: haproxy.BadProtocol, Text: []byte(h.Raw)}
	}
	tcp, ok := conn.(*net.TCPConn)
	var bad *haproxy.ReadError
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		s.log.Warningf("haproxy read: time limit exceeded")
	case errors.As(err, &bad):
		s.log.Warningf("haproxy read: %v: %s", bad.Err, smtp.AppendEscaped(nil, bad.Text))
	case err != nil:
		s.log.Warningf("haproxy read: %v", err)
	case h.Local || !ok:
		return conn
	default:
		return &behindProxy{tcp, net.TCPAddrFromAddrPort(h.Client), net.TCPAddrFromAddrPort(h.Server)}
	}
	conn.Close()
	return nil
}
