package smtpd

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// An attribute that a proxy does not know, or could not look up.
const (
	unavailable = "[UNAVAILABLE]"
	tempUnavail = "[TEMPUNAVAIL]"
)

// maxAttribute is the longest attribute value.
const maxAttribute = 255

// attributes splits "NAME=value" words of XCLIENT and XFORWARD and hands each,
// decoded, to set.
func attributes(args []byte, set func(name, value string) smtp.Reply) smtp.Reply {
	for word := range strings.FieldsSeq(string(args)) {
		name, value, ok := strings.Cut(word, "=")
		if !ok || value == "" {
			return reply(501, smtp.Enhanced{5, 5, 4}, "Error: attribute=value expected")
		}
		if len(value) > maxAttribute {
			return reply(501, smtp.Enhanced{5, 5, 4}, "Error: attribute value too long")
		}
		text, ok := smtp.ParseXtext([]byte(value))
		if !ok {
			text = value // as from clients that do not encode
		}
		if strings.EqualFold(text, unavailable) {
			text = ""
		}
		if r := set(strings.ToUpper(name), neuter(text)); r.Code != 0 {
			return r
		}
	}
	return smtp.Reply{}
}

// xclient does XCLIENT (XCLIENT_README): another client takes the place of
// this one, and the session starts anew.
func (s *session) xclient(args []byte) smtp.Reply {
	switch {
	case s.tx.open:
		return replyInMail
	case len(args) == 0:
		return reply(501, smtp.Enhanced{5, 5, 4}, "Syntax: XCLIENT attribute=value...")
	case s.discard&kwXCLIENT != 0 || !s.srv.lists.xclient.matches(s):
		return reply(550, smtp.Enhanced{5, 7, 0}, "Error: insufficient authorization")
	}
	c, helo, proto, log := s.client, "", "SMTP", login{} // a login was the proxy's
	r := attributes(args, func(name, value string) smtp.Reply {
		switch name {
		case "NAME":
			if !setName(&c.name, &c.status, value) {
				return reply(501, smtp.Enhanced{5, 5, 4}, "Bad NAME syntax: "+value)
			}
			if c.status == nameOK {
				c.reverse, c.rstatus = c.name, nameOK
			}
		case "REVERSE_NAME":
			if !setName(&c.reverse, &c.rstatus, value) {
				return reply(501, smtp.Enhanced{5, 5, 4}, "Bad REVERSE_NAME syntax: "+value)
			}
		case "ADDR":
			if value == "" {
				c.addr, c.addrText = netip.Addr{}, unknownName
				break
			}
			addr, ok := parseAddr(value)
			if !ok {
				return reply(501, smtp.Enhanced{5, 5, 4}, "Bad ADDR syntax: "+value)
			}
			c.addr, c.addrText = addr, addr.String()
		case "PORT":
			if _, err := strconv.ParseUint(value, 10, 16); err != nil && value != "" {
				return reply(501, smtp.Enhanced{5, 5, 4}, "Bad PORT syntax: "+value)
			}
			if c.port = value; value == "" {
				c.port = unknownName
			}
		case "HELO":
			helo = value
		case "PROTO":
			if !strings.EqualFold(value, "SMTP") && !strings.EqualFold(value, "ESMTP") {
				return reply(501, smtp.Enhanced{5, 5, 4}, "Bad PROTO syntax: "+value)
			}
			proto = strings.ToUpper(value)
		case "LOGIN":
			log = login{}
			if value != "" {
				log = login{method: "XCLIENT", user: value}
			}
		case "DESTADDR":
			addr, ok := parseAddr(value)
			if !ok && value != "" {
				return reply(501, smtp.Enhanced{5, 5, 4}, "Bad DESTADDR syntax: "+value)
			}
			c.server = netip.AddrPortFrom(addr, c.server.Port())
		case "DESTPORT":
			port, err := strconv.ParseUint(value, 10, 16)
			if err != nil && value != "" {
				return reply(501, smtp.Enhanced{5, 5, 4}, "Bad DESTPORT syntax: "+value)
			}
			c.server = netip.AddrPortFrom(c.server.Addr(), uint16(port))
		default:
			return reply(501, smtp.Enhanced{5, 5, 4}, "Bad XCLIENT attribute name: "+name)
		}
		return smtp.Reply{}
	})
	if r.Code != 0 {
		return r
	}
	s.client, s.heloName, s.proto, s.login = c, helo, proto, log
	s.setLabel()
	s.tellPostmaster(0)
	s.reset()
	if !s.srv.set.DelayReject {
		if r, ok := s.checkConnect(); !ok {
			s.deny(r)
			return smtp.Reply{Code: codeRestarted}
		}
	}
	s.welcome()
	return smtp.Reply{Code: codeRestarted}
}

// codeRestarted marks the success of XCLIENT, which is counted as a failure
// and has been answered with the greeting.
const codeRestarted = 1220

// setName takes a client's name. It is false for what cannot be one, and could
// pass for a name and an address in the log.
func setName(name *string, status *nameStatus, value string) bool {
	switch {
	case value == "":
		*name, *status = unknownName, namePerm
	case strings.EqualFold(value, tempUnavail):
		*name, *status = unknownName, nameTemp
	case smtp.HostnameError(value) != "":
		return false
	default:
		*name, *status = value, nameOK
	}
	return true
}

// parseAddr reads an address, with or without "IPv6:" before it.
func parseAddr(value string) (netip.Addr, bool) {
	if len(value) > 5 && strings.EqualFold(value[:5], "IPv6:") {
		value = value[5:]
	}
	addr, err := netip.ParseAddr(value)
	return addr.Unmap(), err == nil && addr.Zone() == ""
}
