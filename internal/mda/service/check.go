package service

import (
	"errors"
	"fmt"

	"github.com/dovetail-mail/dovetail/internal/auth"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mda/login/balancer"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// check makes sure before anything starts that databases, certificate and key
// can be used, so that a mistake stops a start or a reload and not each client.
func (p *plan) check() error {
	if err := p.cfg.Refused(); err != nil {
		return err
	}
	if !master.SingleUser() {
		if err := p.cfg.CheckUsers(); err != nil {
			return err
		}
	}
	box, err := dovecot.Get[mailbox.Settings](p.cfg, dovecot.Filter{Service: "imap"})
	if err != nil {
		return err
	}
	if box.LockMethod == "dotlock" {
		return fmt.Errorf("lock_method=dotlock (%s) is not supported: use fcntl or flock", p.cfg.Origin(dovecot.Filter{}, "lock_method"))
	}
	// The auth process would die of these at its start: better to refuse.
	setup, err := auth.NewSetup(p.cfg)
	if err != nil {
		return err
	}
	server, err := auth.NewServer(setup, nil)
	if err != nil {
		return err
	}
	server.Close()
	if _, err := balancer.NewReader(p.cfg, "", nil); err != nil {
		return err
	}
	return p.checkTLS()
}

// checkTLS is about certificate and key.
func (p *plan) checkTLS() error {
	cfg := p.cfg
	if !p.hasLogin() {
		return nil // LMTP without a certificate does not offer STARTTLS
	}
	ssl, err := dovecot.Get[dovecot.SSL](cfg, dovecot.Filter{})
	if err != nil {
		return err
	}
	if ssl.SSL == "no" {
		return nil
	}
	if ssl.Cert == "" {
		return errors.New("ssl enabled, but ssl_cert not set")
	}
	if ssl.Key == "" {
		return errors.New("ssl enabled, but ssl_key not set")
	}
	if _, err := tlsconf.Dovecot(cfg, dovecot.Filter{}); err != nil {
		return fmt.Errorf("SSL context initialization failed, disabling SSL: Can't load SSL certificate (ssl_cert setting, %s): %w",
			cfg.Origin(dovecot.Filter{}, "ssl_cert"), err)
	}
	return nil
}

func (p *plan) hasLogin() bool {
	for _, s := range p.services {
		if roles[s.Name].role == "login" && len(p.listeners[s.Name]) > 0 {
			return true
		}
	}
	return false
}
