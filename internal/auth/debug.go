package auth

import (
	"encoding/hex"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
	"github.com/dovetail-mail/dovetail/internal/auth/password"
)

// With auth_debug=yes everything said on the sockets is logged, and each step of a request,
// in Dovecot's words. Passwords are shown with auth_debug_passwords=yes only.

const (
	hidden = "<hidden>"

	// sensitive follows what a client sent as it is.
	sensitive = " (previous base64 data may contain sensitive data)"
)

// debugf logs what goes on outside of any database.
func (s *Server) debugf(format string, args ...any) {
	if s.set.Debug {
		s.log.Debugf(format, args...)
	}
}

// debugIn logs a command of a client.
func (c *clientConn) debugIn(verb string, line []byte) {
	s := c.server()
	if !s.set.Debug {
		return
	}
	text := string(line)
	switch {
	case verb == "CONT" && s.set.DebugPasswords:
		text += sensitive
	case verb == "CONT":
		text = verb + hidden
	default:
		before, _, ok := strings.Cut(text, "\tresp=")
		switch {
		case ok && s.set.DebugPasswords:
			text += sensitive
		case ok:
			text = before + "\tresp=" + hidden
		}
	}
	s.log.Debugf("client in: %s", text)
}

// send writes a line to the client. What is logged of it is in the log before the client
// can do anything else.
func (c *clientConn) send(line func(b []byte) []byte) error {
	s := c.server()
	if !s.set.Debug {
		return c.w.Append(line)
	}
	text := line(nil)
	s.log.Debugf("client passdb out: %s", s.withoutPasswords(text))
	return c.w.Append(func(b []byte) []byte { return append(b, text...) })
}

// send writes a line to the peer. kind is what it is called in the log; nothing is logged
// without one.
func (m *masterConn) send(kind string, line func(b []byte) []byte) error {
	s := m.server()
	if !s.set.Debug || kind == "" {
		return m.w.Append(line)
	}
	text := line(nil)
	s.log.Debugf("%s out: %s", kind, s.withoutPasswords(text))
	return m.w.Append(func(b []byte) []byte { return append(b, text...) })
}

// withoutPasswords returns a reply with the values of fields hidden whose names speak of
// passwords.
func (s *Server) withoutPasswords(line []byte) string {
	text := strings.TrimSuffix(string(line), "\n")
	if s.set.DebugPasswords || !strings.Contains(text, "pass") {
		return text
	}
	fields := strings.Split(text, "\t")
	for i, f := range fields {
		if name, _, ok := strings.Cut(f, "="); ok && strings.Contains(name, "pass") {
			fields[i] = name + "=" + hidden
		}
	}
	return strings.Join(fields, "\t")
}

// logFinished logs that all is decided about a request.
func (r *request) logFinished() {
	if r.Debug {
		r.Log.Debugf("%sAuth request finished", r.Prefix("auth"))
	}
}

// logFiltered logs why a passdb is not asked.
func (c *passChain) logFiltered(why string) {
	if !c.req.Debug || why == "" {
		return
	}
	prefix := ""
	if mech := c.req.Mechanism; mech != "" {
		prefix = c.req.Prefix(strings.ToLower(mech))
	}
	c.req.Log.Debugf("%sskipping passdb: %s", prefix, why)
}

// logMismatch shows, with auth_debug_passwords=yes, what was compared.
func (c *passChain) logMismatch() {
	if c.server.set.DebugPasswords && c.fetched {
		scheme, data := password.Split(c.secret.Stored, c.secret.DefaultScheme)
		c.req.Debugf("%s(%s) != '%s'", scheme, c.req.Password, data)
	}
}

// logGenerated shows, with auth_debug_passwords=yes, from what the password of a mechanism
// is made.
func (c *passChain) logGenerated(user, plain string) {
	if c.server.set.DebugPasswords {
		c.req.Debugf("Generating %s from user '%s', password '%s'", c.fetch, user, plain)
	}
}

// logCredentials shows, with auth_debug_passwords=yes, the password found for a mechanism
// that checks it itself.
func (c *passChain) logCredentials() {
	if !c.server.set.DebugPasswords || c.found.data == "" {
		return
	}
	text := c.found.data
	if _, err := hex.DecodeString(text); err != nil { // not one that is kept in hex anyway
		text = hex.EncodeToString([]byte(text))
	}
	c.server.debugf("Credentials: %s", text)
}

// logMaster logs that who authenticates wants to be somebody else.
func (u *usernames) logMaster(req *db.Request) {
	req.Section = u.master
	req.Debugf("Master user lookup for login: %s", req.LoginUser)
}
