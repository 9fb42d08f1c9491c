package local

import (
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/asuser"
)

// command delivers to a command.
func (d *delivery) command(s state, text string) bool {
	s.level++
	if d.seen.before("command", key(s.user, s.rightsKey(), text)) {
		return false
	}
	if d.req.Verify {
		return d.sent(&s, "delivers to command: "+text)
	}
	c := d.copy(&s, "command")
	c.From = true
	r, err := d.ask(&asuser.Request{
		Op: asuser.OpCommand, User: s.rightsName(), Command: text, Env: d.environment(&s), Vars: d.vars(&s), Copy: c,
	})
	switch {
	case err != nil:
		return d.unavailable(&s, err)
	case r.DSN != "":
		return d.failsToOwner(&s, d.failure(r, r.Reason))
	}
	return d.sent(&s, "delivered to command: "+text)
}

// environment tells a command about the message. What others chose is filtered.
func (d *delivery) environment(s *state) []string {
	m := d.req.Message
	var env []string
	add := func(name, value string) {
		env = append(env, name+"="+asuser.Filter(value, d.set.CommandFilter))
	}
	if s.rights != nil {
		add("HOME", s.rights.Home)
	}
	add("LOGNAME", s.user)
	add("USER", s.user)
	add("SENDER", s.sender)
	add("RECIPIENT", s.address)
	add("LOCAL", s.local)
	if s.rights != nil {
		add("SHELL", s.rights.Shell)
	}
	if s.domain != "" {
		add("DOMAIN", s.domain)
	}
	if s.extension != nil {
		add("EXTENSION", *s.extension)
	}
	for _, v := range []struct{ name, value string }{
		{"ORIGINAL_RECIPIENT", s.original},
		{"CLIENT_HOSTNAME", m.Client.Name}, {"CLIENT_ADDRESS", m.Client.Addr},
		{"CLIENT_HELO", m.Client.Helo}, {"CLIENT_PROTOCOL", m.Client.Proto},
		{"SASL_METHOD", m.SASL.Method}, {"SASL_SENDER", m.SASL.Sender}, {"SASL_USERNAME", m.SASL.Username},
	} {
		if v.value != "" {
			add(v.name, v.value)
		}
	}
	return env
}
