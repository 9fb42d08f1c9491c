package postscreen

import (
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// A command is what the dialogue knows of a verb. Its function returns the reply; nil: the verb is
// known to be one of SMTP, and is not served.
type command struct {
	name  string
	flags commandFlags
	run   func(s *session, args string) string
}

type commandFlags uint8

const (
	beforeTLS commandFlags = 1 << iota // allowed when TLS is required and not active
	last                               // the session ends with its reply
	payload                            // content may follow at once
)

var commands []command

// The table is filled at start, as its functions look into it.
func init() {
	commands = []command{
		{"HELO", beforeTLS, (*session).heloCommand},
		{"EHLO", beforeTLS, (*session).ehloCommand},
		{"STARTTLS", beforeTLS, (*session).starttlsCommand},
		{"XCLIENT", 0, nil},
		{"XFORWARD", 0, nil},
		{"AUTH", 0, nil},
		{"MAIL", 0, (*session).mailCommand},
		{"RCPT", 0, (*session).rcptCommand},
		{"DATA", last, (*session).dataCommand},
		{"BDAT", last | payload, (*session).bdatCommand},
		{"RSET", 0, (*session).rsetCommand},
		{"NOOP", beforeTLS, func(*session, string) string { return "250 2.0.0 Ok" }},
		{"VRFY", 0, (*session).vrfyCommand},
		{"ETRN", 0, (*session).etrnCommand},
		{"QUIT", beforeTLS | last, func(*session, string) string { return "221 2.0.0 Bye" }},
	}
}

// unimplemented stands for words that are no command.
var unimplemented = command{name: "UNIMPLEMENTED"}

func lookup(word string) *command {
	for i := range commands {
		if strings.EqualFold(commands[i].name, word) {
			return &commands[i]
		}
	}
	return &unimplemented
}

const (
	replyOK      = "250 2.0.0 Ok"
	replyNoHELO  = "503 5.5.1 Error: send HELO/EHLO first"
	replyNotImpl = "502 5.5.1 Error: command not implemented"
	replyNoRcpt  = "554 5.5.1 Error: no valid recipients"
)

func (s *session) heloCommand(args string) string {
	name, _, _ := strings.Cut(args, " ")
	if name == "" {
		return "501 Syntax: HELO hostname"
	}
	s.helo, s.sender, s.mail = name, "", false
	return "250 " + s.srv.core.Myhostname
}

func (s *session) ehloCommand(args string) string {
	name, _, _ := strings.Cut(args, " ")
	if name == "" {
		return "501 Syntax: EHLO hostname"
	}
	s.helo, s.sender, s.mail, s.proto = name, "", false, "ESMTP"
	s.discard = s.keywordsOf()
	if s.secure {
		s.discard += " starttls"
	}
	size := "SIZE"
	if limit := s.srv.core.MessageSizeLimit; limit > 0 {
		size += " " + strconv.FormatInt(limit, 10)
	}
	lines := []string{s.srv.core.Myhostname}
	for _, k := range []struct {
		name, line string
		offered    bool
	}{
		{"size", size, true}, {"vrfy", "VRFY", !s.srv.shared.DisableVRFY}, {"etrn", "ETRN", true}, {"starttls", "STARTTLS", s.srv.engine.useTLS},
		{"enhancedstatuscodes", "ENHANCEDSTATUSCODES", true}, {"8bitmime", "8BITMIME", true}, {"dsn", "DSN", true},
		{"smtputf8", "SMTPUTF8", s.srv.core.SMTPUTF8Enable}, {"chunking", "CHUNKING", true},
	} {
		if k.offered && !discards(s.discard, k.name) {
			lines = append(lines, k.line)
		}
	}
	for i := range lines[:len(lines)-1] {
		lines[i] = "250-" + lines[i]
	}
	lines[len(lines)-1] = "250 " + lines[len(lines)-1]
	return strings.Join(lines, "\r\n")
}

func (s *session) starttlsCommand(args string) string {
	switch e := &s.srv.engine; {
	case args != "":
		return "501 Syntax: EHLO hostname" // Postfix's own words
	case s.secure:
		return "554 5.5.1 Error: TLS already active"
	case !e.useTLS || discards(s.discard, "starttls"):
		return replyNotImpl
	case e.tls == nil:
		return "454 4.7.0 TLS not available due to local problem"
	}
	if !s.send("220 2.0.0 Ready to start TLS") {
		return replyNotImpl // nobody reads it
	}
	s.startTLS()
	return ""
}

func (s *session) mailCommand(args string) string {
	_, path, ok := strings.Cut(args, ":")
	switch {
	case s.srv.set.HELORequired && s.helo == "":
		return replyNoHELO
	case s.mail:
		return "503 5.5.1 Error: nested MAIL command"
	case !ok:
		return "501 5.5.4 Syntax: MAIL FROM:<address>"
	}
	s.sender, s.mail = address(path), true
	return "250 2.1.0 Ok"
}

// rcptCommand refuses every recipient, and tells why in the log.
func (s *session) rcptCommand(args string) string {
	_, path, ok := strings.Cut(args, ":")
	switch {
	case !s.mail:
		return "503 5.5.1 Error: need MAIL command"
	case !ok:
		return "501 5.5.4 Syntax: RCPT TO:<address>"
	}
	reply := s.rcptReply
	if s.srv.core.SoftBounce {
		reply = soften(reply)
	}
	s.log("NOQUEUE: reject: RCPT from %s: %s; from=<%s>, to=<%s>, proto=%s, helo=<%s>",
		s.label, reply, logged(s.sender), logged(address(path)), s.proto, printable(s.helo))
	return s.rcptReply
}

// logged is an address as log lines show it, quoted where SMTP asks for that.
func logged(addr string) string { return printable(string(smtp.AppendAddress(nil, addr))) }

func (s *session) dataCommand(args string) string {
	s.log("DATA without valid RCPT from %s", s.label)
	switch {
	case args != "":
		return "501 5.5.4 Syntax: DATA"
	case !s.mail:
		return "503 5.5.1 Error: need RCPT command"
	}
	return replyNoRcpt
}

func (s *session) bdatCommand(args string) string {
	s.log("BDAT without valid RCPT from %s", s.label)
	switch {
	case discards(s.discard, "chunking"):
		return replyNotImpl
	case args == "":
		return "501 5.5.4 Syntax: BDAT count [LAST]"
	case !s.mail:
		return "554 5.5.1 Error: need MAIL command"
	}
	return replyNoRcpt
}

func (s *session) rsetCommand(string) string {
	s.sender, s.mail = "", false
	return replyOK
}

func (s *session) vrfyCommand(args string) string {
	switch {
	case args == "":
		return "501 5.5.4 Syntax: VRFY address"
	case s.srv.set.DisableVRFYCommand:
		return "502 5.5.1 VRFY command is disabled"
	}
	return s.rcptReply
}

func (s *session) etrnCommand(args string) string {
	switch {
	case s.srv.set.HELORequired && s.helo == "":
		return replyNoHELO
	case args == "":
		return "500 Syntax: ETRN domain"
	}
	return "458 Unable to queue messages"
}

// address takes an address out of what follows "MAIL FROM:": no more than is needed for a log line.
func address(path string) string {
	path = strings.TrimLeft(path, " ")
	stop := byte(' ')
	if rest, ok := strings.CutPrefix(path, "<"); ok {
		path, stop = rest, '>'
	}
	var b []byte
	quoted := false
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case c == stop && !quoted:
			i = len(path)
			continue
		case c == '"':
			quoted = !quoted
			continue
		case c == '\\':
			if i++; i == len(path) {
				continue
			}
			c = path[i]
		}
		b = append(b, c)
	}
	addr := string(b)
	if _, rest, ok := strings.Cut(addr, ":"); ok && strings.HasPrefix(addr, "@") {
		addr = rest // a source route
	}
	return addr
}
