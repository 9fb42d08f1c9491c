package login

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/sasl"
)

// A destination is the server that a session is relayed to, and as whom: what the
// passdb's fields say.
type destination struct {
	host     string // for the certificate and the log
	addr     netip.AddrPort
	source   netip.Addr // own address to connect from
	user     string
	master   string // who logs in as user
	password string
	mech     *sasl.Mechanism // nil: the protocol's own login command

	tls, startTLS, anyCert bool

	timeout      time.Duration // of one attempt, from connecting to being logged in
	refresh      time.Duration // how often to tell login_proxy_notify_path; 0: never
	downAfter    time.Duration // how long a server is given that refuses connections
	nopipelining bool
	notTrusted   bool     // it must not be told who the client is
	forward      []string // "name=value" of forward_ fields
}

// defaultDownAfter is how long a server may refuse connections before further clients
// are refused at once.
const defaultDownAfter = 30 * time.Second

// newDestination reads the fields of a successful login. What is wrong with single ones
// goes to complain; an error is that there is nowhere to connect to.
func newDestination(c *session, fields client.Fields, complain func(string)) (*destination, error) {
	d := &destination{user: c.user, timeout: c.set.ProxyTimeout, downAfter: defaultDownAfter}
	var hostip, source, mech string
	var port uint16
	var hasPassword bool
	for _, f := range fields {
		switch f.Name {
		case "host":
			d.host = f.Value
		case "hostip":
			hostip = f.Value
		case "source_ip":
			source = f.Value
		case "port":
			n, err := strconv.ParseUint(f.Value, 10, 16)
			if err != nil || n == 0 {
				complain("Auth service returned invalid port number: " + f.Value)
			}
			port = uint16(n)
		case "destuser":
			d.user = f.Value
		case "pass":
			d.password, hasPassword = f.Value, true
		case "master":
			d.master = f.Value
		case "proxy_mech":
			mech = f.Value
		default:
			d.setDetail(f, complain)
		}
	}
	switch {
	case !hasPassword:
		return nil, errors.New("password not given")
	case d.host == "":
		return nil, errors.New("host not given")
	}
	if port == 0 {
		port = c.protocol.port(d.implicitTLS())
	}
	if source != "" {
		d.source, _ = netip.ParseAddr(source) // as Dovecot: what is no address is not used
	}
	return d, d.resolve(c, hostip, port, mech)
}

// setDetail reads a field that says how to proxy.
func (d *destination) setDetail(f client.Field, complain func(string)) {
	var err error
	switch f.Name {
	case "ssl":
		d.tls, d.anyCert = true, d.anyCert || f.Value == "any-cert"
	case "starttls":
		d.tls, d.startTLS, d.anyCert = true, true, d.anyCert || f.Value == "any-cert"
	case "proxy_timeout":
		var timeout time.Duration
		if timeout, err = parseTimeout(f.Value); timeout > 0 {
			d.timeout = timeout
		}
	case "proxy_refresh":
		var secs uint64
		secs, err = strconv.ParseUint(f.Value, 10, 31)
		d.refresh = time.Duration(secs) * time.Second
	case "proxy_host_immediate_failure_after":
		d.downAfter, err = dovecot.ParseTime(f.Value)
	case "proxy_nopipelining":
		d.nopipelining = true
	case "proxy_not_trusted":
		d.notTrusted = true
	default:
		if name, ok := strings.CutPrefix(f.Name, "forward_"); ok {
			d.forward = append(d.forward, name+"="+f.Value)
		}
	}
	if err != nil {
		complain(fmt.Sprintf("Auth service returned invalid %s value '%s'", f.Name, f.Value))
	}
}

// parseTimeout reads proxy_timeout, where a number alone is seconds.
func parseTimeout(text string) (time.Duration, error) {
	if secs, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(secs) * time.Second, nil
	}
	return dovecot.ParseMsecs(text)
}

// implicitTLS reports whether TLS begins with the first byte.
func (d *destination) implicitTLS() bool { return d.tls && !d.startTLS }

// resolve finds address and mechanism, and refuses a destination that is where the
// client is already.
func (d *destination) resolve(c *session, hostip string, port uint16, mech string) error {
	ip, err := netip.ParseAddr(hostip)
	switch {
	case hostip != "" && err != nil:
		return fmt.Errorf("Invalid hostip %s", hostip)
	case hostip == "":
		if ip, err = netip.ParseAddr(d.host); err != nil {
			return fmt.Errorf("host %s is not an IP (auth should have changed it)", d.host)
		}
	}
	d.addr = netip.AddrPortFrom(ip.Unmap(), port)
	if mech == "" && d.master != "" {
		mech = "PLAIN" // the login commands have no place for a master user
	}
	if mech != "" {
		m, ok := sasl.Lookup(mech)
		if !ok || m.NewClient == nil {
			return fmt.Errorf("Unsupported SASL mechanism %s", mech)
		}
		d.mech = m
	}
	if host, err := netip.ParseAddr(d.host); err == nil && port == c.local.Port() && host.Unmap() == c.local.Addr() && d.user == c.user {
		return errors.New("Proxying loops to itself")
	}
	return nil
}

// credentials are for the mechanism.
func (d *destination) credentials(service string) sasl.Credentials {
	cred := sasl.Credentials{Username: d.user, Authzid: d.user, Password: d.password, Hostname: d.host, Service: service}
	if d.master != "" {
		cred.Username = d.master
	}
	return cred
}
