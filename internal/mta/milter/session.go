package milter

import (
	"net/netip"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// A Session is the filters of one client. One goroutine uses it. What one filter decides,
// the filters behind it are not asked about.
type Session struct {
	conns []*conn
	value func(name string) (string, bool)
}

// Start begins the session of a client. value is asked for macros, whose names are in
// braces: what it does not have is looked for in milter_macro_defaults. {daemon_name} and
// v are known here.
func (l *List) Start(value func(name string) (string, bool)) *Session {
	s := &Session{value: value}
	for i := range l.services {
		s.conns = append(s.conns, &conn{service: &l.services[i], list: l})
	}
	return s
}

// Values replaces what is asked for macros.
func (s *Session) Values(value func(name string) (string, bool)) { s.value = value }

// sendMacros sends the macros of a command that have values.
func (s *Session) sendMacros(c *conn, cmd *command) {
	names := c.macros[cmd.stage]
	if len(names) == 0 {
		names = c.list.macros[cmd.stage]
	}
	w := c.wire
	w.begin(cmdMacro)
	w.out = append(w.out, cmd.code)
	for _, name := range names {
		if value, ok := s.lookup(c.list, inBraces(name)); ok {
			w.text(name)
			w.text(value)
		}
	}
	w.end()
}

func (s *Session) lookup(l *List, name string) (string, bool) {
	switch name {
	case "{daemon_name}":
		return l.set.MacroDaemon, true
	case "{v}":
		return l.set.MacroV, true
	}
	if value, ok := s.value(name); ok {
		return value, true
	}
	value, ok := l.defaults[name]
	return value, ok
}

// each asks the filters in turn, until one decides.
func (s *Session) each(ask func(c *conn) Verdict) Verdict {
	for _, c := range s.conns {
		if v := ask(c); v.Action != Continue {
			return v
		}
	}
	return Verdict{}
}

// A Client is who connected. Name is "unknown" where it has none.
type Client struct {
	Name string
	Addr string // as log lines have it
	Port string
}

// Connect connects to the filters and tells them of the client.
func (s *Session) Connect(cl Client) Verdict {
	return s.each(func(c *conn) Verdict {
		if c.state == closed {
			c.open()
		}
		if c.state != ready {
			return c.fixed
		}
		c.state = listening
		return s.send(c, &connectCommand, cl.append)
	})
}

// append adds the arguments of the command to a packet.
func (cl Client) append(w *wire) {
	name := cl.Name
	if name == "unknown" && cl.Addr != "unknown" {
		name = "[" + cl.Addr + "]"
	}
	w.text(name)
	addr, err := netip.ParseAddr(cl.Addr)
	if err != nil {
		w.out = append(w.out, 'U')
		return
	}
	family := byte('4')
	if addr.Is6() {
		family = '6'
	}
	port := portNumber(cl.Port)
	w.out = append(w.out, family, byte(port>>8), byte(port))
	w.text(cl.Addr)
}

// Helo tells of HELO or EHLO.
func (s *Session) Helo(name string) Verdict {
	return s.each(func(c *conn) Verdict {
		if c.state != listening && c.state != deaf {
			return c.fixed
		}
		return s.send(c, &heloCommand, func(w *wire) { w.text(name) })
	})
}

// Mail tells of MAIL: the address in angle brackets as the client wrote it, and the parameters.
func (s *Session) Mail(args []string) Verdict {
	return s.each(func(c *conn) Verdict {
		if c.state != listening {
			return c.fixed
		}
		return s.send(c, &mailCommand, texts(args))
	})
}

// Rcpt tells of RCPT, likewise. Of a recipient that was refused only those filters hear that want to.
func (s *Session) Rcpt(args []string, rejected bool) Verdict {
	return s.each(func(c *conn) Verdict {
		switch {
		case rejected && c.wants&rejectedRcpt == 0:
			return Verdict{}
		case c.state != listening:
			return c.fixed
		}
		return s.send(c, &rcptCommand, texts(args))
	})
}

func texts(args []string) func(w *wire) {
	return func(w *wire) {
		for _, arg := range args {
			w.text(arg)
		}
	}
}

// Data tells of DATA, or of the first BDAT.
func (s *Session) Data() Verdict {
	return s.each(func(c *conn) Verdict {
		if c.state != listening {
			return c.fixed
		}
		return s.send(c, &dataCommand, nil)
	})
}

// Unknown tells of a command that there is not.
func (s *Session) Unknown(verb string) Verdict {
	return s.each(func(c *conn) Verdict {
		if c.state != listening {
			return c.fixed
		}
		return s.send(c, &unknownCommand, func(w *wire) { w.text(verb) })
	})
}

// Other is what filters have said to all commands, for those that they do not hear of.
func (s *Session) Other() Verdict {
	return s.each(func(c *conn) Verdict { return c.fixed })
}

func (s *Session) send(c *conn, cmd *command, arguments func(w *wire)) Verdict {
	return c.send(cmd, s.sendMacros, arguments, nil)
}

// Abort ends the transaction: filters forget the message.
func (s *Session) Abort() {
	for _, c := range s.conns {
		if c.state != listening && c.state != deaf {
			continue
		}
		c.wire.begin(cmdAbort)
		c.wire.end()
		if c.flush(&mailCommand) {
			c.state, c.skipped = listening, 0
			if c.fixed.Action == Hold {
				c.fixed = Verdict{}
			}
		}
	}
}

// Close ends the session.
func (s *Session) Close() {
	for _, c := range s.conns {
		if c.wire != nil && (c.state == listening || c.state == deaf) {
			c.wire.begin(cmdQuit)
			c.wire.end()
			c.flush(&mailCommand)
		}
		c.close()
		c.state, c.fixed = closed, Verdict{}
	}
}

// portNumber is 0 for a port that is not known.
func portNumber(text string) (n uint16) {
	for i := range len(text) {
		if !isDigit(text[i]) || len(text) > 5 {
			return 0
		}
		n = n*10 + uint16(text[i]-'0')
	}
	return n
}

// softened is a reply under soft_bounce.
func softened(r smtp.Reply) smtp.Reply {
	if r.Code >= 500 {
		r.Code -= 100
	}
	if r.Enhanced[0] == 5 {
		r.Enhanced[0] = 4
	}
	return r
}
