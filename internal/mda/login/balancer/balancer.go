package balancer

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/haproxy"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/login/trusted"
)

// Settings are those of all listeners with haproxy = yes.
type Settings struct {
	TrustedNetworks string        `set:"haproxy_trusted_networks" doc:"networks allowed to send the PROXY header"`
	Timeout         time.Duration `set:"haproxy_timeout" default:"3 secs" doc:"wait for the PROXY header"`
}

var _ = dovecot.Register("haproxy", Settings{})

// A Reader takes headers. It is safe for concurrent use.
type Reader struct {
	balancers trusted.Networks
	timeout   time.Duration
	log       *maillog.Logger
}

// NewReader returns the reader of a configuration. Its error is about a network that is none.
func NewReader(cfg *dovecot.Config, service string, log *maillog.Logger) (*Reader, error) {
	set, err := dovecot.Get[Settings](cfg, dovecot.Filter{Service: service})
	if err != nil {
		return nil, err
	}
	r := &Reader{timeout: set.Timeout, log: log}
	if r.balancers, err = trusted.Parse("haproxy_trusted_networks", set.TrustedNetworks); err != nil {
		return nil, err
	}
	return r, nil
}

// Read takes the header from a connection, which is closed when ctx ends before that. It returns false when the
// connection is of no use, which is logged.
func (r *Reader) Read(ctx context.Context, conn net.Conn) (haproxy.Header, bool) {
	remote := addr(conn.RemoteAddr())
	if !r.balancers.Contains(remote) {
		r.log.Warningf("haproxy: Client not trusted (rip=%s)", remote)
		return haproxy.Header{}, false
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	h, err := haproxy.Read(conn, r.timeout)
	if err == nil && h.Unknown {
		err = r.unknown(&h, remote)
	}
	if err != nil {
		r.failed(err, remote)
		return h, false
	}
	return h, true
}

func addr(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// unknown looks at a header without addresses: for Dovecot, one of version 2 must say that it is about a stream.
func (r *Reader) unknown(h *haproxy.Header, remote netip.Addr) error {
	if isV1([]byte(h.Raw)) {
		return nil
	}
	if h.Raw[familyAt]&0xf == 0 {
		return &haproxy.ReadError{Text: []byte(h.Raw), Err: haproxy.BadTransport}
	}
	r.log.Errorf("haproxy(v2): Unsupported address family (family=%02x, rip=%s)", h.Raw[familyAt]>>4, remote)
	return nil
}
