package smtpd

import (
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// helo does HELO (RFC 5321 4.1.1.1).
func (s *session) helo(args []byte) smtp.Reply {
	if r, _ := s.hello("HELO", args, replySyntaxHELO); r.Code != 0 {
		return r
	}
	return reply(250, smtp.Enhanced{}, s.srv.core.Myhostname)
}

// hello starts the dialogue anew, with the client's name. A client may be refused and not
// told before it sends mail.
func (s *session) hello(command string, args []byte, syntax smtp.Reply) (r smtp.Reply, refused bool) {
	if len(args) == 0 {
		return syntax, true
	}
	name := string(args)
	if strings.ContainsAny(name, " \t") {
		name = strings.Join(strings.Fields(name), " ")
	}
	forget := s.milterForget()
	s.tellPostmaster(s.srv.history.FlushThreshold)
	s.reset()
	s.heloName = printable(name)
	if !s.srv.set.DelayReject {
		if r, ok := s.checkHELO(); !ok {
			s.heloName = ""
			return r, true
		}
	}
	s.heloName = neuter(s.heloName)
	if r, refused = s.milterHelo(command, name); r.Code != 0 {
		s.heloName = ""
	}
	forget()
	return r, refused
}

// printable replaces what would garble log lines and replies.
func printable(s string) string {
	return replaceByte(s, '?', func(c byte) bool { return c < ' ' || c == 0x7f })
}

// neuter replaces what would garble headers as well, in names that a client
// gives.
func neuter(s string) string {
	return replaceByte(s, '?', func(c byte) bool {
		return c <= ' ' || c == 0x7f || strings.IndexByte(`<>()\";@`, c) >= 0
	})
}

func replaceByte(s string, with byte, bad func(c byte) bool) string {
	for i := range len(s) {
		if !bad(s[i]) {
			continue
		}
		b := []byte(s)
		for j := i; j < len(b); j++ {
			if bad(b[j]) {
				b[j] = with
			}
		}
		return string(b)
	}
	return s
}

// ehlo does EHLO and announces the extensions, in Postfix's order.
func (s *session) ehlo(args []byte) smtp.Reply {
	r, refused := s.hello("EHLO", args, replySyntaxEHLO)
	if r.Code != 0 {
		return r
	}
	s.proto = "ESMTP"
	s.discard = s.srv.discardFor(s)
	if refused {
		s.discard |= ^kwEnhanced &^ kwSilent
	}
	list := ehloList{out: s.out, discard: s.discard}
	list.out = append(append(append(list.out, "250-"...), s.srv.core.Myhostname...), "\r\n"...)
	list.last = len(s.out)
	s.announce(&list)
	// The last line has a blank where the others have a hyphen.
	list.out[list.last+3] = ' '
	s.out = list.out
	return smtp.Reply{}
}

// ehloList builds the reply to EHLO.
type ehloList struct {
	out     []byte
	last    int // where the last line begins
	discard keywords
}

// add adds a keyword with its parameters, unless it is discarded.
func (l *ehloList) add(k keywords, words ...string) {
	if l.discard&k != 0 {
		return
	}
	l.last = len(l.out)
	l.out = append(l.out, "250-"...)
	for i, w := range words {
		if i > 0 {
			l.out = append(l.out, ' ')
		}
		l.out = append(l.out, w...)
	}
	l.out = append(l.out, "\r\n"...)
}

func (s *session) announce(l *ehloList) {
	set := &s.srv.set
	l.add(kwPipelining, "PIPELINING")
	if limit := s.srv.core.MessageSizeLimit; limit > 0 {
		l.add(kwSize, "SIZE", strconv.FormatInt(limit, 10))
	} else {
		l.add(kwSize, "SIZE")
	}
	if !set.DisableVRFYCommand {
		l.add(kwVrfy, "VRFY")
	}
	l.add(kwETRN, "ETRN")
	if s.offersTLS() {
		l.add(kwStartTLS, "STARTTLS")
	}
	if mechanisms := s.mechanisms(); mechanisms != "" && !s.authExempt() {
		l.add(kwAuth, "AUTH", mechanisms)
		if set.BrokenSASLAuthClients {
			l.add(kwAuth, "AUTH="+mechanisms)
		}
	}
	if s.srv.lists.verp.matches(s) {
		l.add(kwVERP, "XVERP")
	}
	if s.srv.lists.xclient.matches(s) {
		l.add(kwXCLIENT, "XCLIENT", "NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT")
	}
	if s.srv.lists.xforward.matches(s) {
		l.add(kwXFORWARD, "XFORWARD", "NAME ADDR PROTO HELO SOURCE PORT IDENT")
	}
	l.add(kwEnhanced, "ENHANCEDSTATUSCODES")
	l.add(kw8BitMIME, "8BITMIME")
	l.add(kwDSN, "DSN")
	if s.srv.core.SMTPUTF8Enable {
		l.add(kwSMTPUTF8, "SMTPUTF8")
	}
	l.add(kwChunking, "CHUNKING")
}
