package service

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mta"
)

// checkTimeout bounds how long opening all tables may take.
const checkTimeout = time.Minute

// verify reads the configuration as the master will, and has a process open
// what the mta will. What they find is logged as Postfix's daemons log it, and
// shown at a terminal. It reports whether the service can run so.
func (v *invocation) verify() bool {
	p, err := newPlan(v.dir, nil)
	if err != nil {
		v.fatal(err.Error())
		return false
	}
	findings, err := p.check(v.log)
	if err != nil {
		v.fatal(err.Error())
		return false
	}
	if v.checking { // else the master logs them in a moment
		for _, w := range p.warnings() {
			v.say(maillog.Warning, "warning: ", w)
		}
	}
	ok := !slices.ContainsFunc(findings, func(f mta.Finding) bool { return f.Level >= maillog.Fatal })
	for _, f := range findings {
		if v.checking || !ok { // else the mta logs it in a moment
			maillog.New(v.sink, f.Tag).Print(f.Level, f.Text)
		}
		v.showFinding(f)
	}
	return ok
}

func (v *invocation) showFinding(f mta.Finding) {
	if f.Level >= maillog.Warning {
		program, _, _ := strings.Cut(f.Tag, "[")
		v.show(program + ": " + severity[f.Level] + f.Text)
	}
}

var severity = map[maillog.Level]string{
	maillog.Warning: "warning: ", maillog.Error: "error: ", maillog.Fatal: "fatal: ", maillog.Panic: "panic: ",
}

// check starts a process that opens what the mta would, and returns what it
// finds.
func (p *plan) check(log *maillog.Logger) ([]mta.Finding, error) {
	var findings []mta.Finding
	handle := func(c *master.Child, msg *master.Message) {
		defer msg.CloseFiles()
		if p.grants.Serve(c, msg) || msg.Kind != mta.KindFinding {
			return
		}
		var f mta.Finding
		if msg.Decode(&f) == nil {
			findings = append(findings, f)
		}
	}
	config, err := p.texts.Encode()
	if err != nil {
		return nil, err
	}
	spec := master.Spec{
		Role: "mta-check", Title: "postfix/check", Identity: p.identity, Config: config,
		Log: master.LogTarget{Style: maillog.Postfix, Tag: p.core.SyslogName + "/check"}, LogFiles: master.LogFiles{Main: os.Stderr},
	}
	c, err := master.Start(spec, log, handle, nil, master.OnDemand)
	if err != nil {
		return nil, err
	}
	select {
	case <-c.Done():
	case <-time.After(checkTimeout):
		c.Kill()
		<-c.Done()
		return nil, fmt.Errorf("opening what the configuration names takes longer than %v", checkTimeout)
	}
	return findings, nil
}
