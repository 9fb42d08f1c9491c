package cleanup

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/headercheck"
	"github.com/dovetail-mail/dovetail/internal/mta/milter"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/mta/rfc822"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// MilterSettings are the parameters of milters that are cleanup's alone.
type MilterSettings struct {
	Milters      string `set:"non_smtpd_milters" doc:"milters for mail that does not come by SMTP"`
	HeaderChecks string `set:"milter_header_checks" doc:"tables that headers are looked up in that milters add or change"`
}

var _ = postfix.Register("cleanup", MilterSettings{})

// inspectors are the milters of mail that does not come by SMTP, and what all milters need.
type inspectors struct {
	milters *milter.List        // nil: none
	checks  *headercheck.Checks // milter_header_checks
	spool   func() (*os.File, error)
}

// openMilters opens what milters need.
func (c *Cleanup) openMilters(conf *Config, open resolve.Opener) error {
	var set MilterSettings
	var common milter.Settings
	if err := conf.Main.Decode(&set); err != nil {
		return err
	}
	if err := conf.Main.Decode(&common); err != nil {
		return err
	}
	if c.inspect.spool = conf.Spool; c.inspect.spool == nil {
		c.inspect.spool = temporaryFile
	}
	var err error
	if c.inspect.checks, err = headercheck.New("milter_header_checks", set.HeaderChecks, open, c.log); err != nil {
		return err
	}
	c.inspect.milters, err = milter.Parse("non_smtpd_milters", set.Milters, &common, &c.core, c.log)
	return err
}

// inspection is how milters look at a message.
type inspection struct {
	session  *milter.Session
	client   string // as the log has it
	draft    *draft // nil: no milter looks at it
	emulated bool   // there is no SMTP session
	held     bool   // they want it held
	thrown   bool   // they want it thrown away
	from, to string // for macros, while there is no SMTP session
	said     inspectionStage
}

// inspectionStage says what macros there are of an SMTP session that is emulated.
type inspectionStage uint8

const (
	beforeMail inspectionStage = iota
	afterMail
	afterRcpt
)

// Inspect has the milters of a session look at the message. It comes before the content.
// name and addr are the client's, for the log.
func (m *Message) Inspect(s *milter.Session, name, addr string) {
	m.session, m.client = s, name+"["+addr+"]"
	m.draft = &draft{file: m.c.inspect.spool}
}

// startMilters has non_smtpd_milters look at mail that does not come by SMTP. Of mail that the
// system makes itself only that is looked at which the administrator names.
func (m *Message) startMilters() {
	o := &m.origin
	if m.c.inspect.milters == nil || o.source() == "smtpd" || o.Unfiltered || o.Internal && !m.c.internal[o.source()] {
		return
	}
	m.Inspect(m.c.inspect.milters.Start(m.localMacro), "localhost", m.c.localAddr())
	m.emulated = true
}

// localAddr is the address of clients that there are none of.
func (c *Cleanup) localAddr() string {
	if c.core.InetProtocols == "ipv6" {
		return "::1"
	}
	return "127.0.0.1"
}

// localMacro is the value of a macro for mail that does not come by SMTP.
func (m *Message) localMacro(name string) (string, bool) {
	addr := m.c.localAddr()
	switch name {
	case "{_}":
		return "localhost [" + addr + "]", true
	case "{j}":
		return m.c.core.Myhostname, true
	case "{client_addr}", "{daemon_addr}":
		return addr, true
	case "{client_name}", "{client_ptr}":
		return "localhost", true
	case "{client_port}", "{daemon_port}":
		return "0", true
	case "{i}":
		return m.id, true
	case "{mail_addr}":
		return m.from, m.said >= afterMail
	case "{rcpt_addr}":
		return m.to, m.said >= afterRcpt
	}
	return "", false
}

// emulate tells the milters of a session that there was none of, as far as they would have
// heard of it before the content.
func (m *Message) emulate(ctx context.Context, recipients []queue.Recipient) {
	s := m.session
	m.recipient = "" // which is not known before RCPT
	step := func(command string, v milter.Verdict) bool {
		m.apply(command, v)
		return m.status == accepted && !m.thrown
	}
	addr := m.c.localAddr()
	if !step("CONNECT", s.Connect(milter.Client{Name: "localhost", Addr: addr, Port: "0"})) || !step("EHLO", s.Helo("localhost")) {
		return
	}
	m.from, m.said = m.logSender(), afterMail
	if !step("MAIL", s.Mail([]string{m.from})) {
		return
	}
	for i := range recipients {
		m.Recipient(recipients[i].Address)
		m.to, m.said = rfc822.Quote(m.recipientAddress(ctx, recipients[i].Address)), afterRcpt
		v := s.Rcpt([]string{m.to}, false)
		if step("RCPT", v); v.Refuses() {
			m.c.log.Warningf("%s: milter configuration error: can't reject recipient in non-smtpd(8) submission", m.id)
			m.c.log.Warningf("%s: message not accepted, try again later", m.id)
			m.refuse(deferred, smtp.Reply{Code: 451, Enhanced: smtp.Enhanced{4, 3, 5}, Text: "Server configuration error"})
		}
		if m.status != accepted || m.thrown {
			return
		}
	}
	step("DATA", s.Data())
}

// inspect has the milters look at the message, makes the changes that they ask for, and
// writes what comes of it. recipients are those that the client gave.
func (m *Message) inspect(ctx context.Context, env *queue.Envelope, recipients []queue.Recipient) error {
	m.draft.end()
	m.held = env.Hold
	if m.emulated {
		defer m.session.Close()
		m.emulate(ctx, recipients)
	}
	if m.status == accepted && !m.thrown {
		m.apply("END-OF-MESSAGE", m.session.Message(&edits{m: m, ctx: ctx, env: env}))
	}
	if m.status != accepted || m.thrown {
		return nil
	}
	env.Hold = env.Hold || m.held
	if env.Redirect != "" && len(env.Recipients) > 0 {
		m.redirect(ctx, env)
	}
	if len(env.Recipients) == 0 {
		m.c.log.Infof("%s: milters have removed all recipients", m.id)
		m.thrown = true
		return nil
	}
	if err := m.draft.copyTo(m.w); err != nil {
		return m.c.queueError(m.id, err)
	}
	return nil
}

// apply does what milters decided, and logs it.
func (m *Message) apply(command string, v milter.Verdict) {
	if v.Action == milter.Continue || m.thrown || m.status != accepted {
		return // decided already, and logged, by the checks of what milters add
	}
	switch v.Action {
	case milter.Hold:
		if !m.held {
			m.held = true
			m.logMilter("milter-hold", command, "milter triggers HOLD action")
		}
	case milter.Discard:
		m.thrown = true
		m.logMilter("milter-discard", command, "milter triggers DISCARD action")
	case milter.Reject, milter.Shutdown:
		s := badContent
		if v.Reply.Temporary() {
			s = deferred
		}
		m.refuse(s, v.Reply)
		text := v.Reply.Text
		if !v.Reply.Enhanced.IsZero() {
			text = v.Reply.Enhanced.String() + " " + text
		}
		m.logMilter("milter-reject", command, printable(text))
	}
}

// logMilter tells what milters decided.
func (m *Message) logMilter(action, command, text string) {
	m.c.log.Append(maillog.Info, func(b []byte) []byte {
		b = fmt.Appendf(b, "%s: %s: %s from %s: %s;", m.id, action, command, m.client, text)
		return m.appendContext(b)
	})
}

// checkAdded looks a header up that a milter adds. It returns the header that is added, and
// whether one is.
func (e *edits) checkAdded(header string) (string, bool, milter.Verdict) {
	m := e.m
	checks := m.c.inspect.checks
	if checks == nil || e.unchecked {
		return header, true, milter.Verdict{}
	}
	v, err := checks.Check(e.ctx, headercheck.Header, []byte(header))
	if err != nil {
		m.lookupFailed(checks.Param(), "")
		return "", false, milter.Verdict{Action: milter.Reject, Reply: m.refusal}
	}
	log := func(action, text string) {
		m.c.log.Append(maillog.Info, func(b []byte) []byte {
			b = fmt.Appendf(b, "%s: milter-header-%s: header %s from %s;", m.id, action, printable(header[:min(len(header), 60)]), m.client)
			return append(append(m.appendContext(b), ": "...), text...)
		})
	}
	switch v.Action {
	case headercheck.Reject:
		reason := v.Text
		if reason == "" {
			reason = "message content rejected"
		}
		log("reject", m.refuseContent(reason))
		e.unchecked = true
		return header, true, milter.Verdict{Action: milter.Reject, Reply: m.refusal}
	case headercheck.Discard:
		log("discard", v.Text)
		e.unchecked, m.thrown = true, true
		return "", false, milter.Verdict{Action: milter.Discard}
	case headercheck.Hold:
		if !m.held {
			log("hold", v.Text)
			m.held = true
		}
	case headercheck.Filter:
		e.env.Filter = v.Text
		log("filter", v.Text)
	case headercheck.Redirect:
		e.env.Redirect = v.Text
		log("redirect", v.Text)
		e.unchecked = true
	case headercheck.BCC:
		log("bcc", v.Text)
		return header, true, e.AddRcpt(v.Text, "")
	case headercheck.Prepend:
		m.c.log.Warningf("the milter_header/body_checks prepend action is not implemented")
	case headercheck.Replace:
		log("replace", v.Text)
		return v.Text, true, milter.Verdict{}
	case headercheck.Strip:
		log("strip", v.Text)
		return "", false, milter.Verdict{}
	case headercheck.Ignore:
		return "", false, milter.Verdict{}
	case headercheck.Warn:
		log("warning", v.Text)
	case headercheck.Info:
		log("info", v.Text)
	case headercheck.Pass:
		log("pass", v.Text)
		e.unchecked = true
	}
	return header, true, milter.Verdict{}
}

// withoutCR is the value of a header as milters should have sent it: some send CRLF.
func withoutCR(value string) string { return strings.ReplaceAll(value, "\r", "") }
