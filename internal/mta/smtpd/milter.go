package smtpd

import (
	"fmt"
	"strings"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/cleanup"
	"github.com/dovetail-mail/dovetail/internal/mta/milter"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// MilterSettings are the parameters of milters that are the SMTP server's alone.
type MilterSettings struct {
	Milters string `set:"smtpd_milters" doc:"milters for mail that comes by SMTP"`
	Maps    string `set:"smtpd_milter_maps" doc:"milters by client address; DISABLE turns them off"`
}

var _ = postfix.Register("smtpd", MilterSettings{})

// milters are the lists of milters of a server.
type milters struct {
	usual  *milter.List // nil: none
	maps   resolve.Maps
	common milter.Settings
	byText sync.Map // what the tables say, to *milter.List
}

func (srv *Server) openMilters(c *Config) error {
	var set MilterSettings
	m := &srv.milters
	if err := c.Main.Decode(&set); err != nil {
		return err
	}
	if err := c.Main.Decode(&m.common); err != nil {
		return err
	}
	var err error
	if m.usual, err = srv.parseMilters("smtpd_milters", set.Milters); err != nil {
		return err
	}
	if m.maps, err = c.Tables.OpenMaps("smtpd_milter_maps", set.Maps); err != nil {
		return fmt.Errorf("smtpd_milter_maps: %w", err)
	}
	return nil
}

func (srv *Server) parseMilters(param, value string) (*milter.List, error) {
	return milter.Parse(param, value, &srv.milters.common, &srv.core, srv.log)
}

// miltersFor are the milters of a client. An error is that they are not known, and nobody
// may pass without them.
func (srv *Server) miltersFor(s *session) (*milter.List, error) {
	m := &srv.milters
	if srv.override&cleanup.NoMilters != 0 {
		return nil, nil
	}
	if m.maps.Empty() {
		return m.usual, nil
	}
	value, found, err := m.maps.Lookup(s.ctx, s.client.addrText)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return m.usual, nil
	case strings.EqualFold(value, milter.Disabled):
		return nil, nil
	}
	if l, ok := m.byText.Load(value); ok {
		return l.(*milter.List), nil
	}
	l, err := srv.parseMilters("smtpd_milter_maps", value)
	if err == nil {
		m.byText.Store(value, l)
	}
	return l, err
}

// welcome greets a client that may speak, unless milters say otherwise. A refusal for good
// is told in the greeting, and with each command; one for the moment with the commands.
func (s *session) welcome() {
	list, err := s.srv.miltersFor(s)
	if err != nil {
		s.srv.log.Warningf("smtpd_milter_maps: %v", err)
		s.reply(s.hostReply(421, smtp.Enhanced{4, 3, 0}, "Server local data error"))
		return
	}
	s.closeMilters()
	if list == nil {
		s.out = append(s.out, s.srv.banner...)
		return
	}
	s.milters = list.Start(s.macro)
	r := s.obey("CONNECT", s.milters.Connect(milter.Client{Name: s.client.name, Addr: s.client.addrText, Port: s.client.port}))
	switch {
	case r.Code == 421:
		s.reply(reply(421, smtp.Enhanced{}, s.srv.core.Myhostname+" Service unavailable - try again later"))
	case r.Code >= 500:
		s.reply(reply(554, smtp.Enhanced{}, s.srv.core.Myhostname+" ESMTP not accepting connections"))
		s.errors++
	default:
		s.out = append(s.out, s.srv.banner...)
	}
}

// obey does what milters decided about a command, and logs it. The zero reply is that they
// do not refuse it.
func (s *session) obey(command string, v milter.Verdict) smtp.Reply {
	switch v.Action {
	case milter.Hold:
		s.tx.actions.hold = true
		s.logMilter("milter-hold", command, []byte("milter triggers HOLD action"))
	case milter.Discard:
		s.tx.actions.thrown = true
		s.logMilter("milter-discard", command, []byte("milter triggers DISCARD action"))
	case milter.Reject, milter.Shutdown:
		s.logMilter("milter-reject", command, appendOneLine(nil, v.Reply))
		return v.Reply
	}
	return smtp.Reply{}
}

func (s *session) logMilter(action, command string, text []byte) {
	s.logAction(action, command, func(b []byte) []byte { return append(b, text...) })
}

// asksMilters tells whether milters hear of the transaction: not once one of them or a
// restriction has thrown the message away.
func (s *session) asksMilters() bool {
	return s.milters != nil && !s.tx.actions.discard && !s.tx.actions.thrown
}

// milterHelo tells milters of HELO or EHLO. A reply ends the session.
func (s *session) milterHelo(command, name string) (r smtp.Reply, refused bool) {
	if !s.asksMilters() {
		return r, false
	}
	v := s.milters.Helo(name)
	if v.Action == milter.Continue {
		return r, false
	}
	was := s.heloName
	s.heloName = name
	r = s.obey(command, v)
	s.heloName = was
	if r.Code == 421 {
		return r, true
	}
	return smtp.Reply{}, r.Code >= 500
}

// milterMail tells milters of MAIL.
func (s *session) milterMail(args []byte) smtp.Reply {
	if !s.asksMilters() {
		return smtp.Reply{}
	}
	s.milterBegun = true
	return s.obey("MAIL", s.milters.Mail(pathAndParams(args)))
}

// milterRcpt tells milters of RCPT: refusal is why it is refused already, of which only
// those hear that want to.
func (s *session) milterRcpt(args []byte, refusal smtp.Reply) smtp.Reply {
	if !s.asksMilters() {
		return refusal
	}
	s.milterRefusal = refusal
	v := s.milters.Rcpt(pathAndParams(args), refusal.Code != 0)
	s.milterRefusal = smtp.Reply{}
	if refusal.Code != 0 {
		return refusal
	}
	return s.obey("RCPT", v)
}

// milterData tells milters of DATA, or the first BDAT.
func (s *session) milterData(command string) smtp.Reply {
	if !s.asksMilters() {
		return smtp.Reply{}
	}
	v := s.milters.Data()
	s.rcptNow = s.tx.recipients[0].Address
	defer func() { s.rcptNow = "" }()
	return s.obey(command, v)
}

// milterUnknown tells milters of a command that there is not.
func (s *session) milterUnknown(verb string) smtp.Reply {
	if s.milters == nil {
		return smtp.Reply{}
	}
	return s.obey(s.where, s.milters.Unknown(verb))
}

// milterRefusesAll is the refusal of all commands, for those that milters do not hear of.
func (s *session) milterRefusesAll() smtp.Reply {
	if s.milters == nil {
		return smtp.Reply{}
	}
	return s.milters.Other().Reply
}

// milterContent has milters look at the message whose content comes now.
func (s *session) milterContent() {
	if !s.asksMilters() {
		return
	}
	id := s.msg.ID()
	s.msg.Inspect(s.milters, s.client.name, s.client.addrText)
	s.milters.Values(func(name string) (string, bool) {
		if name == "{i}" {
			return id, true
		}
		return s.clientMacro(name) // less is known now than before
	})
}

// milterReset has milters forget the transaction.
func (s *session) milterReset() {
	if s.milterBegun {
		s.milterBegun, s.milterAddress = false, resolvedAddress{}
		s.milters.Values(s.macro)
		s.milters.Abort()
	}
}

// milterForget returns what has milters forget what came before HELO, of which they hear
// first. They are told to once for the HELO before, and once for a transaction.
func (s *session) milterForget() func() {
	times := 0
	if s.milters != nil && s.heloName != "" {
		times++
	}
	if s.milterBegun {
		times++
		s.milterBegun = false
	}
	return func() {
		for range times {
			s.milters.Abort()
		}
	}
}

func (s *session) closeMilters() {
	if s.milters != nil {
		s.milterReset()
		s.milterForget()()
		s.milters.Close()
		s.milters, s.milterBegun = nil, false
	}
}

// pathAndParams is what milters see of MAIL and RCPT: the path as the client wrote it, and
// each parameter.
func pathAndParams(args []byte) []string {
	_, text, _ := strings.Cut(string(args), ":")
	text = strings.TrimLeft(text, " \t")
	end := pathEnd(text)
	return append([]string{text[:end]}, strings.Fields(text[end:])...)
}

// pathEnd is where a path ends: behind its bracket, or before a blank; neither counts in a
// quoted string.
func pathEnd(text string) int {
	quoted, bracket := false, strings.HasPrefix(text, "<")
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case bracket && c == '>':
			return i + 1
		case !bracket && (c == ' ' || c == '\t'):
			return i
		}
	}
	return len(text)
}
