package smtpd

import (
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/mta/rfc822"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// macro is the value of a macro, as SMTP sessions have them.
func (s *session) macro(name string) (string, bool) {
	if value, ok := s.clientMacro(name); ok {
		return value, true
	}
	switch name {
	case "{client_resolve}":
		return [...]string{nameOK: "OK", nameForged: "FORGED", nameTemp: "TEMP", namePerm: "FAIL"}[s.client.status], true
	case "{client_addr}":
		if s.client.addr.Is6() {
			return "IPv6:" + s.client.addrText, true
		}
		return s.client.addrText, true
	case "{tls_version}":
		return s.tls.Protocol, s.tls.Protocol != ""
	case "{cipher}":
		return s.tls.Cipher, s.tls.Protocol != ""
	case "{cipher_bits}":
		return strconv.Itoa(s.tls.Bits), s.tls.Protocol != ""
	case "{cert_subject}":
		return s.tls.Peer.Subject, s.tls.Peer.Trusted
	case "{cert_issuer}":
		return s.tls.Peer.Issuer, s.tls.Peer.Trusted
	}
	if strings.HasPrefix(name, "{mail_") && s.tx.open {
		return s.addressMacro(name[len("{mail_"):], s.rcptNow, s.tx.sender)
	}
	if strings.HasPrefix(name, "{rcpt_") && s.rcptNow != "" {
		if r := s.milterRefusal; r.Code != 0 {
			return refusalMacro(name[len("{rcpt_"):], r)
		}
		return s.addressMacro(name[len("{rcpt_"):], s.tx.sender, s.rcptNow)
	}
	return "", false
}

// clientMacro is the value of a macro that there is in all of a session.
func (s *session) clientMacro(name string) (string, bool) {
	c := &s.client
	switch name {
	case "{_}":
		value := c.reverse + " [" + c.addrText + "]"
		if !strings.EqualFold(c.name, c.reverse) {
			value += " (may be forged)"
		}
		return value, true
	case "{j}":
		return s.srv.core.Myhostname, true
	case "{client_addr}":
		return c.addrText, true
	case "{client_name}":
		return c.name, true
	case "{client_ptr}":
		return c.reverse, true
	case "{client_port}":
		if c.port == unknownName {
			return "0", true
		}
		return c.port, true
	case "{daemon_addr}":
		return c.server.Addr().String(), c.server.IsValid()
	case "{daemon_port}":
		return strconv.Itoa(int(c.server.Port())), c.server.IsValid()
	case "{i}":
		if s.msg == nil {
			return "", false
		}
		return s.msg.ID(), true
	case "{auth_type}":
		return s.login.method, s.login.method != ""
	case "{auth_authen}":
		return s.login.user, s.login.user != ""
	case "{auth_author}":
		return s.tx.auth, s.tx.auth != ""
	}
	return "", false
}

// A resolvedAddress is the last that macros were made of: there are three for each.
type resolvedAddress struct {
	addr, sender string
	resolve.Result
}

// addressMacro is how an address of the envelope is delivered: its addr, host or mailer.
func (s *session) addressMacro(what, sender, addr string) (string, bool) {
	if addr == "" && what == "addr}" {
		return "", true
	}
	last := &s.milterAddress
	if last.addr != addr || last.sender != sender || last.addr == "" {
		r := s.srv.resolver
		res, err := r.Resolve(s.ctx, r.Rewrite(s.ctx, "local", sender), r.Rewrite(s.ctx, "local", addr))
		if err != nil {
			return "", false
		}
		*last = resolvedAddress{addr, sender, res}
	}
	switch what {
	case "addr}":
		return rfc822.Quote(last.Recipient), true
	case "host}":
		return last.Nexthop, true
	case "mailer}":
		return last.Transport, true
	}
	return "", false
}

// refusalMacro is the same of a recipient that was refused.
func refusalMacro(what string, r smtp.Reply) (string, bool) {
	switch what {
	case "addr}":
		_, text, _ := strings.Cut(r.Text, " ") // behind the address
		return text, true
	case "host}":
		return r.Enhanced.String(), true
	case "mailer}":
		return "error", true
	}
	return "", false
}
