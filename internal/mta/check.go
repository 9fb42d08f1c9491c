package mta

import (
	"context"
	"errors"
	"fmt"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/dns"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mta/smtpd"
)

// A Finding is something that the mta would log, or end with, if it started with
// the configuration as it is.
type Finding struct {
	Tag   string        // program and process id: "postfix/smtpd[812]"
	Level maillog.Level // Fatal: the mta would not start
	Text  string
}

// KindFinding is the message with a [Finding] to the process that wants to know.
const KindFinding = "finding"

// Check is the life of a process that opens all that the mta would open, as
// nobody but $mail_owner, tells what it finds, and ends. What only the daemons
// of Postfix would notice is so known before anything starts or changes.
func Check(p *master.Process) error {
	if err := p.Drop(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	m := &process{p: p, ctx: ctx, files: newFiles(p.Control)}
	m.log = func(tag string) *maillog.Logger {
		return maillog.NewFunc(func(level maillog.Level, text string) { m.tell(Finding{tag, level, text}) })
	}
	reloads := make(chan *master.Message)
	go m.control(reloads)
	if err := m.check(); err != nil {
		m.tellFailure(err)
	}
	return nil
}

// check makes a generation that never runs. It needs no queue for that.
func (m *process) check() error {
	var err error
	if m.dns, err = dns.New(dns.Options{}); err != nil {
		return err
	}
	main, err := m.loadMain()
	if err != nil {
		return err
	}
	set, err := postfix.Get[smtpd.Settings](main)
	if err != nil {
		return &programError{"smtpd", err}
	}
	m.anvil = smtpd.NewAnvil(set.AnvilRateTimeUnit, maillog.NewFunc(func(maillog.Level, string) {}))
	g, err := newGeneration(m)
	if err != nil {
		return err
	}
	g.stop()
	for _, a := range g.agents {
		a.Close()
	}
	return nil
}

func (m *process) tell(f Finding) {
	m.p.Control.Send(KindFinding, &f) //nolint:errcheck // if the other side is gone nobody wants to know
}

// tellFailure says what Postfix's daemon and its master log when the daemon ends
// at its start.
func (m *process) tellFailure(err error) {
	program, syslogName := "master", m.syslogName()
	var service *serviceError
	var of *programError
	switch {
	case errors.As(err, &service):
		program = service.entry.Command
		if name := service.entry.Overrides["syslog_name"]; name != "" {
			syslogName = name
		}
		err = service.err
	case errors.As(err, &of):
		program, err = of.program, of.err
	}
	m.tell(Finding{pidTag(syslogName, program), maillog.Fatal, err.Error()})
	if service != nil {
		e := service.entry
		m.tell(Finding{pidTag(m.syslogName(), "master"), maillog.Warning,
			fmt.Sprintf("%s: line %d: service %s: bad command startup", e.File, e.Line, e.Name)})
	}
}

// syslogName is the first part of tags.
func (m *process) syslogName() string {
	if main, err := m.loadMain(); err == nil {
		if core, err := postfix.Get[postfix.Core](main); err == nil {
			return core.SyslogName
		}
	}
	return "postfix"
}
