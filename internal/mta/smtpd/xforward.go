package smtpd

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// forwardInfo is what XFORWARD tells of where a message came from. It holds for one
// transaction.
type forwardInfo struct {
	told   bool         // there was an XFORWARD
	client bool         // it spoke of the client, all of whose attributes are told then
	from   queue.Client // the client; what is not told is unknown
	label  string       // NAME[ADDR]
	ident  string       // queue id there
	origin string       // SOURCE: "LOCAL", "REMOTE", or "" if that was not told
}

// forwardAttributes are those that XFORWARD and the EHLO reply name, and how each is taken.
// False is a value that cannot be one.
var forwardAttributes = map[string]func(f *forwardInfo, value string) bool{
	"NAME": func(f *forwardInfo, value string) bool {
		f.client, f.from.Name = true, orUnknown(value)
		return smtp.HostnameError(f.from.Name) == ""
	},
	"ADDR": func(f *forwardInfo, value string) bool {
		f.client, f.from.Addr = true, unknownName
		if value == "" {
			return true
		}
		addr, ok := parseAddr(value)
		f.from.Addr = addr.String()
		return ok
	},
	"PORT": func(f *forwardInfo, value string) bool {
		f.client, f.from.Port = true, orUnknown(value)
		return value == "" || isDigits(value) && len(value) <= len("65535")
	},
	"PROTO": func(f *forwardInfo, value string) bool {
		f.client, f.from.Proto = true, orUnknown(value)
		return len(value) <= maxProto
	},
	"HELO": func(f *forwardInfo, value string) bool {
		f.client, f.from.Helo = true, value
		return true
	},
	"IDENT": func(f *forwardInfo, value string) bool {
		f.ident = value
		return true
	},
	"SOURCE": func(f *forwardInfo, value string) bool {
		if f.origin = strings.ToUpper(value); value == "" {
			f.origin = "LOCAL"
		}
		return f.origin == "LOCAL" || f.origin == "REMOTE"
	},
}

// maxProto is the longest PROTO.
const maxProto = 64

// xforward does XFORWARD (XFORWARD_README): log lines, and the next hop, learn the origin of
// the next message.
func (s *session) xforward(args []byte) smtp.Reply {
	switch {
	case s.tx.open:
		return replyInMail
	case len(args) == 0:
		return reply(501, smtp.Enhanced{5, 5, 4}, "Syntax: XFORWARD attribute=value...")
	case s.discard&kwXFORWARD != 0 || !s.srv.lists.xforward.matches(s):
		return reply(550, smtp.Enhanced{5, 7, 0}, "Error: insufficient authorization")
	}
	f := s.forward
	if !f.told {
		f.told, f.label = true, "unknown[unknown]"
		f.from = queue.Client{Name: unknownName, Addr: unknownName, Port: unknownName, Proto: unknownName}
	}
	r := attributes(args, func(name, value string) smtp.Reply {
		set, ok := forwardAttributes[name]
		switch {
		case !ok:
			return reply(501, smtp.Enhanced{5, 5, 4}, "Bad XFORWARD attribute name: "+name)
		case !set(&f, value):
			return reply(501, smtp.Enhanced{5, 5, 4}, "Bad "+name+" syntax: "+value)
		}
		return smtp.Reply{}
	})
	if r.Code != 0 {
		return r
	}
	f.label = f.from.Name
	if f.from.Addr != unknownName {
		f.label = s.srv.label(f.from.Name, f.from.Addr, f.from.Port)
	}
	s.forward = f
	return replyOK
}

func orUnknown(s string) string {
	if s == "" {
		return unknownName
	}
	return s
}

// origin is the client that the message came from, as far as that is known.
func (s *session) origin() queue.Client {
	if s.forward.client {
		return s.forward.from
	}
	return queue.Client{Name: s.client.name, Addr: s.client.addrText, Port: s.client.port, Proto: s.proto, Helo: s.heloName}
}

// isLocal reports whether the message is completed as local mail is.
func (s *session) isLocal() bool {
	if s.forward.origin != "" {
		return s.forward.origin == "LOCAL"
	}
	return s.tx.local
}
