package smtpd

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// mail does MAIL (RFC 5321 4.1.1.2).
func (s *session) mail(args []byte) smtp.Reply {
	switch {
	case s.srv.set.HELORequired && s.heloName == "":
		return replyHELOFirst
	case s.tx.open:
		return replyNestedMail
	case s.tx.chunks.active:
		return replyMailAfterBDAT
	}
	m, err := smtp.ParseMailArgs(args, s.extensions())
	if err != nil {
		return s.argReply(err, "MAIL")
	}
	if s.discard&kwDSN != 0 && (m.Ret != 0 || m.EnvID != "") {
		return replyNoDSN
	}
	if r := s.badAddress(m.From, args, m.SMTPUTF8, "MAIL"); r.Code != 0 {
		return r
	}
	if r, ok := s.countEvent(anvilMessages); !ok {
		return r
	}
	s.tx = transaction{open: true, sender: m.From, auth: m.Auth, mail: m, mailLine: s.line}
	if r := s.checkMail(); r.Code != 0 {
		s.tx = transaction{}
		return r
	}
	r := s.milterMail(args)
	s.tx.open = false // as with Postfix, log lines about the next two name no sender
	if r.Code == 0 {
		r = s.checkRewrite()
	}
	if r.Code == 0 {
		r = s.checkSpace()
	}
	s.tx.open = true
	if r.Code != 0 {
		s.reset()
		return r
	}
	s.tx.instance = s.srv.instance()
	return replyMailOK
}

// instance makes a name for a transaction: process, time and number.
func (srv *Server) instance() string {
	now := srv.now()
	return fmt.Sprintf("%x.%x.%x.%x", os.Getpid(), now.Unix(), now.Nanosecond()/1000, srv.seqno.Add(1)-1)
}

// checkMail is whether the server takes a message of this size and sender.
func (s *session) checkMail() smtp.Reply {
	if limit := s.srv.core.MessageSizeLimit; limit > 0 && s.tx.mail.Size > limit {
		s.logReject("MAIL", replySizeLimit)
		return replySizeLimit
	}
	if !s.srv.set.DelayReject {
		if r, ok := s.checkSender(); !ok {
			return r
		}
	}
	return smtp.Reply{}
}

// checkRewrite finds out whether the message is from one of local_header_rewrite_clients. One that
// cannot be told is for later.
func (s *session) checkRewrite() smtp.Reply {
	var err error
	if s.tx.local, err = s.srv.rules.headerRewrite.has(s); err != nil {
		s.logReject("MAIL", replyRewriteLookup)
		return replyRewriteLookup
	}
	return smtp.Reply{}
}

// checkSpace is whether there is room for the message. One that is only passed to a filter needs
// none.
func (s *session) checkSpace() smtp.Reply {
	if f := s.srv.filter; f != nil && !f.speedAdjust {
		return smtp.Reply{}
	}
	free, known := s.srv.space.get()
	if !known {
		return smtp.Reply{}
	}
	limit := s.srv.core.MessageSizeLimit
	if minfree := s.srv.set.QueueMinfree; minfree > 0 && free < minfree || float64(free) < 1.5*float64(limit) {
		s.srv.log.Warningf("not enough free space in mail queue: %d bytes < 1.5*message size limit", free)
		s.logReject("MAIL", replyNoSpace)
		return replyNoSpace
	}
	return smtp.Reply{}
}

// argReply words what is wrong with the arguments of MAIL or RCPT.
func (s *session) argReply(err error, command string) smtp.Reply {
	var arg *smtp.ArgError
	if !errors.As(err, &arg) {
		return replyError(err)
	}
	mail := command == "MAIL"
	switch arg.Kind {
	case smtp.BadAddress:
		s.srv.log.Warningf("Illegal address syntax from %s in %s command: %s", s.client.label, command, smtp.AppendEscaped(nil, []byte(arg.Text)))
		if mail {
			return replyBadSender
		}
		return replyBadRecipient
	case smtp.BadOption:
		return reply(555, smtp.Enhanced{5, 5, 4}, "Unsupported option: "+printable(arg.Text))
	case smtp.BadSyntax:
		if mail {
			return replySyntaxMail
		}
		return replySyntaxRcpt
	}
	return argReplies[arg.Kind]
}

var argReplies = map[smtp.ArgErrorKind]smtp.Reply{
	smtp.BadSize: replyBadSize, smtp.BadRet: replyBadRet, smtp.BadEnvID: replyBadEnvID,
	smtp.BadNotify: replyBadNotify, smtp.BadORcpt: replyBadORcpt,
	smtp.DuplicateAuth: replyTwoAuth, smtp.BadXVERP: replyBadXVERP, smtp.NullXVERP: replyNullXVERP,
}

// badAddress refuses an address whose domain is none. The null address is
// for the caller to judge.
func (s *session) badAddress(addr string, args []byte, utf8 bool, command string) smtp.Reply {
	if s.srv.set.StrictEnvelopes && !strictPath(rawPath(args), addr) {
		return s.argReply(&smtp.ArgError{Kind: smtp.BadAddress, Text: rawPath(args)}, command)
	}
	at := strings.LastIndexByte(addr, '@')
	ascii := isASCIIString(addr)
	if !ascii && s.srv.core.SMTPUTF8Enable && s.srv.set.StrictSMTPUTF8 && !utf8 {
		return replyUTF8
	}
	if at < 0 {
		return smtp.Reply{}
	}
	domain := addr[at+1:]
	if smtp.ValidDomain(domain) || utf8 && !ascii && smtp.ValidUTF8Domain(domain) {
		return smtp.Reply{}
	}
	return s.argReply(&smtp.ArgError{Kind: smtp.BadAddress, Text: rawPath(args)}, command)
}

// strictPath reports whether a path is written as strict_rfc821_envelopes wants it: in brackets, and
// with nothing but an address in them.
func strictPath(path, addr string) bool {
	if !strings.HasPrefix(path, "<") || strings.HasPrefix(addr, "@") {
		return false
	}
	quoted := false
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == '(' && !quoted: // a comment
			return false
		}
	}
	return true
}

// rawPath is the path in the arguments of MAIL or RCPT, as the client wrote it.
func rawPath(args []byte) string {
	_, path, _ := strings.Cut(string(args), ":")
	path = strings.TrimLeft(path, " \t")
	if i := strings.LastIndexByte(path, '>'); i >= 0 {
		if j := strings.IndexAny(path[i:], " \t"); j >= 0 {
			return path[:i+j]
		}
		return path
	}
	path, _, _ = strings.Cut(path, " ")
	return path
}

func isASCIIString(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
