package lmtp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
)

// A Passdb tells of users whose mailbox is on another server (lmtp_proxy).
type Passdb interface {
	// Fields returns the fields of a user's passdb entry, each as name=value. It returns
	// ErrUnknownUser for one who has none; an error that is a smtp.Reply is what the MTA
	// is told; every other error is temporary.
	Fields(ctx context.Context, username string, from Peer) ([]string, error)
}

// proxyTimeout is how long a server may take for an answer, unless proxy_timeout says so.
const proxyTimeout = 125 * time.Second

// A destination is the server that has a recipient's mailbox. Recipients with the same
// one share a connection.
type destination struct {
	smtp       bool // the protocol; else LMTP
	host       string
	ip, source netip.Addr // either may be invalid
	port       uint16

	tls, startTLS, anyCert bool
	notTrusted             bool // it must not be told who the client is
}

// A route is what the passdb says of one recipient's mailbox.
type route struct {
	destination
	timeout time.Duration
	user    string   // empty: the name that was looked up
	forward []string // forward_ fields, without that
}

// newRoute reads the fields of a user. It returns nil for one whose mailbox is here. An
// error says what keeps the fields from being used.
func newRoute(fields []string, port uint16) (*route, error) {
	r := &route{destination: destination{port: port}, timeout: proxyTimeout}
	proxy, portSet := false, false
	for _, f := range fields {
		name, value, _ := strings.Cut(f, "=")
		var err error
		switch name {
		case "proxy":
			proxy = true
		case "host":
			r.host = value
		case "port":
			var n uint64
			if n, err = strconv.ParseUint(value, 10, 16); err != nil || n == 0 {
				return nil, fmt.Errorf("proxy: Invalid port number %s", value)
			}
			r.port, portSet = uint16(n), true
		case "protocol":
			err = r.setProtocol(value, portSet)
		case "user", "destuser":
			r.user = value
		default:
			err = r.setDetail(name, value)
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case !proxy:
		return nil, nil //nolint:nilnil // as said
	case r.host == "":
		return nil, errors.New("proxy: host not given")
	}
	return r, nil
}

func (r *route) setProtocol(value string, portSet bool) error {
	port := uint16(24)
	switch value {
	case "lmtp":
		r.smtp = false
	case "smtp":
		r.smtp, port = true, 25
	default:
		return fmt.Errorf("proxy: Unknown protocol %s", value)
	}
	if !portSet {
		r.port = port
	}
	return nil
}

// setDetail reads a field that says how to connect.
func (r *route) setDetail(name, value string) (err error) {
	switch name {
	case "hostip":
		r.ip, err = netip.ParseAddr(value)
	case "source_ip":
		r.source, err = netip.ParseAddr(value)
	case "ssl":
		r.tls, r.anyCert = true, r.anyCert || value == "any-cert"
	case "starttls":
		r.tls, r.startTLS, r.anyCert = true, true, r.anyCert || value == "any-cert"
	case "proxy_timeout":
		var secs uint64
		if secs, err = strconv.ParseUint(value, 10, 22); err == nil && secs > 0 {
			r.timeout = time.Duration(secs) * time.Second
		}
	case "proxy_not_trusted":
		r.notTrusted = true
	default:
		if field, ok := strings.CutPrefix(name, "forward_"); ok {
			r.forward = append(r.forward, string(wire.AppendEscaped(nil, field+"="+value)))
		}
	}
	if err != nil {
		return fmt.Errorf("proxy: Invalid %s %s", name, value)
	}
	return nil
}

// address is where to connect to.
func (d *destination) address() string {
	host := d.host
	if d.ip.IsValid() {
		host = d.ip.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(d.port)))
}

// is reports whether the server is at an address.
func (d *destination) is(local netip.AddrPort) bool {
	ip := d.ip
	if !ip.IsValid() {
		ip, _ = netip.ParseAddr(d.host)
	}
	return local.IsValid() && d.port == local.Port() && ip.Unmap() == local.Addr()
}
