package postscreen

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/mta/tlsserver"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// An engine is what dialogues with clients that are not given away have in common.
type engine struct {
	useTLS, enforceTLS bool
	tls                *tlsserver.Server // nil: there is no certificate
	discard            string            // EHLO keywords
	discardMaps        resolve.Maps
	filter             resolve.Maps // postscreen_command_filter
	forbidden          resolve.List
	footers            resolve.Maps
}

// dialogue is what a client has said.
type dialogue struct {
	r        *smtp.Reader
	commands int
	where    string // the last command
	proto    string
	helo     string // empty: none
	sender   string
	mail     bool // MAIL was said
	discard  string
	secure   bool // under TLS
}

func (s *Server) openEngine(c *Config) error {
	e := &s.engine
	e.discard = s.set.DiscardEHLOKeywords
	var err error
	for _, m := range []struct {
		dst          *resolve.Maps
		param, value string
	}{
		{&e.discardMaps, "postscreen_discard_ehlo_keyword_address_maps", s.set.DiscardEHLOKeywordAddressMaps},
		{&e.filter, "postscreen_command_filter", s.set.CommandFilter},
		{&e.footers, "postscreen_reject_footer_maps", s.set.RejectFooterMaps},
	} {
		if *m.dst, err = c.Tables.OpenMaps(m.param, m.value); err != nil {
			return err
		}
	}
	if e.forbidden, err = c.Tables.OpenList("postscreen_forbidden_commands", s.set.ForbiddenCommands, resolve.StringList); err != nil {
		return err
	}
	if err := e.parseLevel(s); err != nil || !e.useTLS {
		return err
	}
	e.tls, err = s.openTLS(c, e.enforceTLS)
	return err
}

// parseLevel reads postscreen_tls_security_level, or the older settings where that is empty.
func (e *engine) parseLevel(s *Server) error {
	switch level := strings.ToLower(s.set.TLSSecurityLevel); level {
	case "":
		e.useTLS, e.enforceTLS = s.set.UseTLS || s.set.EnforceTLS, s.set.EnforceTLS
	case "none":
	case "may":
		e.useTLS = true
	case "fingerprint", "verify", "secure":
		s.log.Warningf("postscreen_tls_security_level: unsupported TLS level \"%s\", using \"encrypt\"", s.set.TLSSecurityLevel)
		fallthrough
	case "encrypt":
		e.useTLS, e.enforceTLS = true, true
	default:
		return fmt.Errorf("Invalid TLS level \"%s\"", s.set.TLSSecurityLevel)
	}
	return nil
}

// talk greets the client and does the tests of the dialogue. It ends the session.
func (s *session) talk() {
	s.begin("tests after SMTP handshake")
	s.proto, s.where, s.discard = "SMTP", "CONNECT", s.srv.engine.discard
	if s.failed != 0 || s.denied || s.veto {
		s.due |= lateTests // for the log
	}
	if !s.failed.has(pregreet) && !s.send("220 "+s.srv.shared.Banner) {
		s.hangup()
		return
	}
	s.r = smtp.NewReader(s.conn, s.srv.shared.LineLengthLimit)
	defer func() { s.r.Release() }()
	for s.next() {
	}
}

// next reads and does a command; false: the session is over.
func (s *session) next() bool {
	_, limit := s.srv.limits()
	s.conn.SetReadDeadline(time.Now().Add(limit)) //nolint:errcheck // reading tells
	line, err := s.r.ReadLine()
	switch {
	case errors.Is(err, smtp.ErrLineTooLong):
		s.log("COMMAND LENGTH LIMIT from %s after %s", s.label, s.where)
		return s.dropWith(s.unavailable())
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.log("COMMAND TIME LIMIT from %s after %s", s.label, s.where)
		return s.dropWith("421 4.4.2 " + s.srv.core.Myhostname + " Error: timeout exceeded")
	case err != nil:
		s.hangup()
		return false
	}
	if s.r.BareLF() && s.testing(bareNewline) {
		s.log("BARE NEWLINE from %s after %s", s.label, shown(line))
		if !s.fail(bareNewline, "521 5.5.1 Protocol error") {
			return false
		}
	}
	return s.command(s.filtered(line))
}

// unavailable is the reply to clients that overdo it.
func (s *session) unavailable() string {
	return "421 " + s.srv.core.Myhostname + " Service unavailable - try again later"
}

func shown(text []byte) []byte { return smtp.AppendEscaped(nil, text[:min(len(text), maxShown)]) }

// testing reports whether a test is still to be done.
func (s *session) testing(t test) bool { return s.due.has(t) && !s.over.has(t) }

// fail notes that the client failed a test of the dialogue, which is done once; false: the session is over.
func (s *session) fail(t test, reply string) bool {
	s.failed |= setOf(t)
	s.passed &^= setOf(t)
	s.over |= setOf(t)
	s.setUntil(t, stampDisabled)
	switch s.srv.late[t].action {
	case drop:
		return s.dropWith(reply)
	case enforce:
		s.refuse("550 5.5.1 Protocol error")
	case ignore:
		s.failed &^= setOf(t)
		s.pass(t, s.srv.minTTL)
	}
	return true
}

// filtered is the command that postscreen_command_filter has in place of a line.
func (s *session) filtered(line []byte) []byte {
	filter := s.srv.engine.filter
	if filter.Empty() || s.srv.core.SMTPUTF8Enable && !utf8.Valid(line) {
		return line
	}
	other, found, err := filter.Lookup(s.ctx, strings.TrimLeft(string(line), " \t"))
	switch {
	case err != nil:
		s.srv.log.Warningf("postscreen_command_filter: lookup error for \"%.100s\": %v", line, err)
		return []byte("NOOP") // what it would be is not known
	case !found:
		return line
	}
	s.log("%s: replacing command \"%.100s\" with \"%.100s\"", s.label, line, other)
	return []byte(other)
}

// command does one command; false: the session is over.
func (s *session) command(line []byte) bool {
	text := strings.TrimLeft(string(line), " ")
	word, args, _ := strings.Cut(text, " ")
	was := s.where
	c := lookup(word)
	s.where = c.name
	if c.run == nil && s.testing(nonSMTP) && s.isForbidden(word) {
		s.log("NON-SMTP COMMAND from %s after %s: %s %s", s.label, was, printable(word), shown([]byte(args)))
		if !s.fail(nonSMTP, "521 5.7.0 Error: I can break rules, too. Goodbye.") {
			return false
		}
	}
	if c.flags&payload == 0 && s.testing(pipelining) && s.r.Buffered() > 0 {
		s.log("COMMAND PIPELINING from %s after %s: %s", s.label, printable(word), shown(s.r.Peek()))
		if !s.fail(pipelining, "521 5.5.1 Protocol error") {
			return false
		}
	}
	if c.name == "RCPT" {
		for _, t := range []test{bareNewline, nonSMTP, pipelining} {
			if s.due.has(t) && !(s.passed | s.failed).has(t) {
				s.pass(t, s.srv.late[t].ttl)
			}
		}
	}
	if s.commands++; s.commands > s.srv.set.CommandCountLimit && c.name != "QUIT" {
		s.log("COMMAND COUNT LIMIT from %s after %s", s.label, was)
		return s.dropWith(s.unavailable())
	}
	reply := "502 5.5.2 Error: command not recognized"
	switch {
	case c.run == nil:
	case s.srv.engine.enforceTLS && !s.secure && c.flags&beforeTLS == 0:
		reply = "530 5.7.0 Must issue a STARTTLS command first"
	default:
		reply = c.run(s, strings.TrimLeft(args, " "))
	}
	switch {
	case c.flags&last != 0:
		return s.dropWith(reply)
	case reply != "" && !s.send(reply):
		s.hangup()
		return false
	}
	return true
}

// isForbidden tells whether a word shows that the client speaks another protocol.
func (s *session) isForbidden(word string) bool {
	if name, _, ok := strings.Cut(word, ":"); ok && name != "" && printable(name) == name {
		return true // a header
	}
	if s.srv.core.SMTPUTF8Enable && !utf8.ValidString(word) {
		return true
	}
	match, err := s.srv.engine.forbidden.Match(s.ctx, word)
	return err == nil && match
}

func printable(text string) string {
	b := []byte(text[:min(len(text), maxShown)])
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}

// withFooter adds postscreen_reject_footer to a refusal, which is text: on a line of its own, or behind
// it when the footer begins with \c.
func (s *session) withFooter(text string, r smtp.Reply) smtp.Reply {
	footer := s.srv.set.RejectFooter
	if name, ok := strings.CutPrefix(footer, "$"); ok && name == "smtpd_reject_footer" {
		footer = s.srv.shared.RejectFooter
	}
	if maps := s.srv.engine.footers; !maps.Empty() {
		if value, found, err := maps.Lookup(s.ctx, text); err == nil && found {
			footer = value
		}
	}
	if footer == "" {
		return r
	}
	separator := "\n"
	if rest, ok := strings.CutPrefix(footer, `\c`); ok {
		separator, footer = "", rest
	}
	expand := func(name string) string {
		switch name {
		case "client_address":
			return s.addr.String()
		case "client_port":
			return s.port
		case "localtime":
			return s.srv.now().Format(time.Stamp)
		case "server_name":
			return s.srv.core.Myhostname
		}
		s.srv.log.Warningf("unknown macro name \"%s\" in expansion request", name)
		return ""
	}
	r.Text += separator + os.Expand(strings.ReplaceAll(footer, `\n`, "\n"), expand)
	return r
}

// keywordsOf are EHLO keywords that are not announced to the client.
func (s *session) keywordsOf() string {
	e := &s.srv.engine
	if e.discardMaps.Empty() {
		return e.discard
	}
	value, found, err := e.discardMaps.Lookup(s.ctx, s.addr.String())
	if err != nil || !found {
		return e.discard
	}
	if !discards(value, "silent-discard") {
		s.log("[%s]%s: discarding EHLO keywords: %s", s.addr, s.port, strings.ToUpper(strings.Join(postfix.SplitList(value), " ")))
	}
	return value
}

func discards(list, keyword string) bool {
	for _, word := range postfix.SplitList(list) {
		if strings.EqualFold(word, keyword) {
			return true
		}
	}
	return false
}

// startTLS begins TLS; what the client said in plain text before counts for nothing.
func (s *session) startTLS() {
	conn, _, err := s.srv.engine.tls.Handshake(s.ctx, tlsserver.Handshake{Conn: s.conn, Client: s.label, Timeout: s.srv.shared.StarttlsTimeout})
	if err != nil {
		s.conn = deadConn{s.conn}
		s.r.Reset(s.conn, s.srv.shared.LineLengthLimit)
		return
	}
	s.conn, s.secure = conn, true
	s.r.Reset(conn, s.srv.shared.LineLengthLimit)
	s.helo, s.sender, s.mail = "", "", false
}

// deadConn is a connection after a handshake that failed: nothing is read from it or written to it.
type deadConn struct{ net.Conn }

func (deadConn) Read([]byte) (int, error)  { return 0, net.ErrClosed }
func (deadConn) Write([]byte) (int, error) { return 0, net.ErrClosed }
