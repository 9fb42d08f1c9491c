package db

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/dovetail-mail/dovetail/internal/auth/system"
)

// pamDB is pam: passwords are checked by the machine's modules.
type pamDB struct {
	env              *Env
	service          string // template
	cacheKey         string // template; "" if answers are not kept
	session, setCred bool
	showMessage      bool
	toldMissing      atomic.Bool // that there is no file for the service
}

// openPAM reads the args, whose last word may be the name of the service.
func openPAM(env *Env, args string) (Passdb, error) {
	p := &pamDB{env: env, service: "dovecot"}
	words := strings.Fields(args)
	for i, word := range words {
		name, value, _ := strings.Cut(word, "=")
		switch {
		case word == "session=yes", word == "-session":
			p.session = true
		case word == "setcred=yes", word == "-setcred":
			p.setCred = true
		case word == "failure_show_msg=yes":
			p.showMessage = true
		case name == "cache_key":
			p.cacheKey = value
		case name == "max_requests":
			if _, err := strconv.ParseUint(value, 10, 32); err != nil {
				return nil, fmt.Errorf("pam: Invalid requests value: %s", value)
			}
		case i < len(words)-1:
			return nil, fmt.Errorf("pam: Unknown setting: %s", word)
		case word == "*":
			p.service = "%Ls"
		default:
			p.service = word
		}
	}
	return p, nil
}

// Blocking implements [Passdb].
func (p *pamDB) Blocking() bool { return true }

// errNoWorker is what is wrong where PAM is asked and nobody can ask it.
var errNoWorker = errors.New("the service auth-worker is not running")

// Verify implements [Verifier].
func (p *pamDB) Verify(ctx context.Context, r *Request, password string) error {
	if p.env.System == nil {
		return errNoWorker
	}
	service, err := r.Expand(p.service)
	if err != nil {
		return fmt.Errorf("Failed to expand service %s: %w", p.service, err)
	}
	if service == "" || strings.Contains(service, "/") {
		return fmt.Errorf("service name '%s' is not valid", service)
	}
	r.Debugf("lookup service=%s", service)
	login := &system.Login{Service: service, User: r.User, Password: password, Session: p.session, SetCred: p.setCred}
	if addr := r.Remote.Addr(); addr.IsValid() {
		login.RemoteHost = addr.String()
	}
	v, err := p.env.System.Authenticate(ctx, login)
	if err != nil {
		return err
	}
	if v.Code != system.OK && p.showMessage && v.Message != "" {
		r.SetField(Field{Name: "reason", Value: v.Message})
	}
	if v.Code == system.OK {
		r.SetField(Field{Name: "user", Value: v.User})
		return nil
	}
	return p.refused(r, service, &v)
}

// refused logs why PAM said no, and returns what that means.
func (p *pamDB) refused(r *Request, service string, v *system.Verdict) error {
	text := v.Step + " failed: " + v.Text
	switch {
	case v.Code == system.Internal:
		return errors.New(text)
	case v.Code == system.Unknown && v.Step == "pam_authenticate()":
		return ErrUnknownUser
	case v.Step != "pam_authenticate()":
		r.Errorf("%s", text)
	case isMissing(service) && !p.toldMissing.Swap(true):
		r.Errorf("%s (/etc/pam.d/%s missing?)", text, service)
	case v.AuthError:
		r.Infof("%s (Password mismatch?)", text)
	default:
		r.Infof("%s", text)
	}
	switch v.Code {
	case system.Unknown:
		return Told(ErrUnknownUser)
	case system.Expired:
		return ErrExpired
	}
	return Told(ErrMismatch)
}

func isMissing(service string) bool {
	_, err := os.Stat(filepath.Join("/etc/pam.d", service))
	return errors.Is(err, os.ErrNotExist)
}
