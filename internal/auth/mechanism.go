package auth

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
	"github.com/dovetail-mail/dovetail/internal/sasl"
)

// started is when this process began; no challenge of a login process is older.
var started = time.Now()

// absent are mechanisms that Dovecot can have and this server has not.
var absent = map[string]string{
	"GSSAPI":     "it has no Kerberos; use XOAUTH2, EXTERNAL or passwords, or PAM with pam_krb5",
	"GSS-SPNEGO": "it has no Kerberos; use XOAUTH2, EXTERNAL or passwords, or PAM with pam_krb5",
	"NTLM":       "it does not ask winbind; use PAM with pam_winbind",
}

// chooseMechanisms looks up the mechanisms of auth_mechanisms.
func (s *Server) chooseMechanisms() error {
	for name := range strings.FieldsSeq(s.set.Mechanisms) {
		m, ok := sasl.Lookup(name)
		name = strings.ToUpper(name)
		switch {
		case absent[name] != "":
			return fmt.Errorf("Authentication mechanism '%s' is not supported by Dovetail: %s", name, absent[name])
		case !ok || m.NewServer == nil:
			return fmt.Errorf("Unknown authentication mechanism '%s'", name)
		case m.Flags&sasl.Anonymous != 0 && s.set.AnonymousUsername == "":
			return errors.New("ANONYMOUS listed in mechanisms, but anonymous_username not set")
		}
		s.mechs = append(s.mechs, m)
	}
	if len(s.mechs) == 0 {
		return errors.New("No authentication mechanisms configured")
	}
	for i := range s.mechs {
		m := s.mechs[len(s.mechs)-1-i] // the last one is told about, as in Dovecot
		switch {
		case s.canServe(m.Need):
		case len(s.passdbs) == 0:
			return fmt.Errorf("No passdbs specified in configuration file. %s mechanism needs one", m.Name)
		default:
			return fmt.Errorf("%s mechanism can't be supported with given passdbs", m.Name)
		}
	}
	return nil
}

// canServe reports whether the passdbs can do what a mechanism needs.
func (s *Server) canServe(need sasl.Need) bool {
	fetch, store := false, false
	for _, p := range s.passdbs {
		_, ok := p.driver.(db.Fetcher)
		fetch = fetch || ok
		_, ok = p.driver.(db.Setter)
		store = store || ok
	}
	switch need {
	case sasl.NeedVerify:
		return len(s.passdbs) > 0
	case sasl.NeedFetch:
		return fetch
	case sasl.NeedStore:
		return fetch && store
	}
	return true
}

// mechanism returns an offered mechanism.
func (s *Server) mechanism(name string) *sasl.Mechanism {
	for _, m := range s.mechs {
		if m.Name == name || strings.EqualFold(m.Name, name) {
			return m
		}
	}
	return nil
}

// newExchange starts the mechanism with what it may know of the connection.
func (r *request) newExchange() sasl.Server {
	s := r.conn.server()
	session := s.session
	session.PID, session.Connection, session.Started = uint32(os.Getpid()), r.conn.cuid, started
	if s.set.SSLUsernameFromCert && r.ValidCert {
		session.CertUsername = r.certUsername
	}
	session.Bindings = r.bindings
	session.PlusOffered = len(r.bindings) > 0 && s.offersPlus(r.mech.Name)
	return r.mech.NewServer(session)
}

// offersPlus reports whether the form with channel binding of a mechanism is offered too.
func (s *Server) offersPlus(name string) bool { return s.mechanism(name+"-PLUS") != nil }

const (
	maxBindings = 4    // of one TLS connection
	maxBinding  = 1024 // bytes of one
)

// addBinding takes a channel binding "NAME:BASE64" of a login process. One that is
// nonsense is left out: without it the client's proof is refused.
func (r *request) addBinding(value string) {
	name, text, _ := strings.Cut(value, ":")
	data, err := base64.StdEncoding.DecodeString(text)
	if r.conn.kind == KindLogin && err == nil && len(r.bindings) < maxBindings && len(data) <= maxBinding {
		r.bindings = append(r.bindings, sasl.Binding{Name: name, Data: data})
	}
}

// hasNUL reports whether a response has a NUL byte where the mechanism has none.
func (r *request) hasNUL(response []byte) bool {
	return !r.mech.NULs && bytes.IndexByte(response, 0) >= 0
}

// mechanismFailed ends an exchange that the mechanism has refused. step tells who the
// client is, as far as that is known.
func (r *request) mechanismFailed(step sasl.Step, err error) {
	if step.Authcid != "" && !r.identify(step) {
		return
	}
	var alarm sasl.Alarm
	switch {
	case errors.Is(err, sasl.ErrQuiet):
	case errors.As(err, &alarm):
		r.Log.Errorf("%s%v", r.Prefix(strings.ToLower(r.Mechanism)), err)
	default:
		r.infof("%v", err)
	}
	r.fail(resultMismatch)
}

// refused answers a client whose password the passdbs refused. Some mechanisms tell
// it why, and the failure follows when it has said that it knows.
func (r *request) refused(res result) {
	teller, ok := r.exchange.(sasl.RefusalServer)
	if !ok || res == resultInternal {
		r.fail(res)
		return
	}
	// Who does not wait for the failure has failed all the same.
	if r.conn.server().penalizes(r) {
		r.punish()
		r.noPenalty = true
	}
	r.refusal = &res
	r.conn.challenge(r, teller.Refused(r.OpenIDConfiguration))
}
