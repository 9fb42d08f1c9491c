package login

import (
	"crypto/tls"
	"fmt"
	"net/netip"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/mda/login/trusted"
)

// rules are the settings that hold for a session, prepared for use. They may
// differ by the session's addresses and TLS server name: local, remote and
// local_name blocks. Sessions with the same settings share them.
type rules struct {
	set      Settings
	protocol protocol
	tls      *tls.Config // nil: no TLS
	trusted  trusted.Networks
	format   *logFormat
	greeting string // empty: has variables, expanded for each client

	plaintextOff bool // plaintext mechanisms need a secured connection
	sslRequired  bool // all mechanisms do
}

// variant is what tells rules apart.
type variant struct {
	set  Settings
	imap IMAPSettings
}

// rulesFor returns the rules of a session. Decoding the settings costs a
// microsecond; what is made of them is kept.
func (s *Server) rulesFor(local, remote netip.Addr, localName string) (*rules, error) {
	f := dovecot.Filter{Service: s.service, Local: local, Remote: remote, LocalName: localName}
	var v variant
	if err := s.Dovecot.Decode(f, &v.set); err != nil {
		return nil, err
	}
	if s.service == "imap" {
		f.LocalName = "" // as with Dovecot, which has greeted when it knows the name
		if err := s.Dovecot.Decode(f, &v.imap); err != nil {
			return nil, err
		}
	}
	if r, ok := s.rules.Load(v); ok {
		return r.(*rules), nil
	}
	r, err := s.newRules(&v)
	if err == nil {
		s.rules.Store(v, r)
	}
	return r, err
}

func (s *Server) newRules(v *variant) (*rules, error) {
	r := &rules{set: v.set, tls: s.TLS}
	switch s.service {
	case "imap":
		r.protocol = newIMAP(v.imap)
	case "pop3":
		r.protocol = pop3{}
	default:
		return nil, fmt.Errorf("login: no login service for %q", s.service)
	}
	var err error
	if r.trusted, err = trusted.Parse("login_trusted_networks", v.set.TrustedNetworks); err != nil {
		return nil, err
	}
	if v.set.SSL == "no" {
		r.tls = nil
	}
	r.format = newLogFormat(v.set.LogFormat, v.set.LogFormatElements)
	r.sslRequired = v.set.SSL == "required"
	r.plaintextOff = v.set.DisablePlaintextAuth || r.sslRequired
	return r, r.checkGreeting(s)
}

// checkGreeting keeps a greeting without variables as it is, and refuses one
// with unknown variables, as Dovecot does.
func (r *rules) checkGreeting(s *Server) error {
	text, err := dovecot.ExpandVars(r.set.Greeting, (&session{srv: s}).vars())
	if err != nil {
		return fmt.Errorf("Failed to expand settings: login_greeting: %w", err)
	}
	if text == r.set.Greeting {
		r.greeting = text
	}
	return nil
}
