package dovecot

import (
	"errors"
	"strings"
)

// oldAuth is the state of reading the auth { } of Dovecot 1, whose settings have
// the prefix auth_ now:
//
//	auth default {
//	  mechanisms = plain
//	  passdb pam {
//	  }
//	  socket listen {
//	    client {
//	      path = /var/spool/postfix/private/auth
//	    }
//	  }
//	}
//
// The blocks auth, socket, master and client are not on the parser's stack.
type oldAuth struct {
	depth  int // of blocks from auth on
	listen int // of blocks from socket listen on
	master bool
	socket map[string]string // path, mode, user and group of a socket
}

// openOldAuth deals with a section inside of auth { }, and with auth itself.
func (p *parser) openOldAuth(ln line) (done bool, err error) {
	a := &p.auth
	if a.depth == 0 {
		if ln.key != "auth" || p.filterDepth() != len(p.stack) {
			return false, nil
		}
		p.old("add auth_ prefix to all settings inside auth {} and remove the auth {} section completely")
		a.depth = 1
		return true, nil
	}
	a.socket = map[string]string{}
	a.depth++
	if a.depth == 2 {
		switch {
		case ln.key == "passdb" || ln.key == "userdb":
			return true, p.oldAuthDatabase(ln)
		case ln.key == "socket" && ln.value == "connect":
			p.old("socket connect {} is no longer supported, configure external auth server separately")
			return false, nil
		case ln.key == "socket" && ln.value == "listen":
			a.listen++
			return true, nil
		}
	}
	if a.listen == 0 {
		return false, nil
	}
	a.listen++
	if a.listen == 2 && (ln.key == "master" || ln.key == "client") {
		a.master = ln.key == "master"
		return true, nil
	}
	return false, nil
}

// oldAuthDatabase turns the name of a passdb or userdb inside auth { } into its driver.
func (p *parser) oldAuthDatabase(ln line) error {
	p.old("%s %s {} has been replaced by %s { driver=%s }", ln.key, ln.value, ln.key, ln.value)
	driver := ln.value
	ln.value = ""
	if err := p.openList(ln); err != nil {
		return err
	}
	return p.put("driver", driver)
}

// closeOldAuth deals with the end of a block inside of auth { }.
func (p *parser) closeOldAuth() (done bool, err error) {
	a := &p.auth
	if a.depth == 0 {
		return false, nil
	}
	if a.depth--; a.depth == 0 {
		return true, nil
	}
	if a.listen == 0 {
		return false, nil
	}
	if a.listen == 2 {
		err = p.addOldSocket()
	}
	a.listen--
	return true, err
}

// socketKey keeps a setting of a socket for when its block ends.
func (a *oldAuth) socketKey(ln *line) bool {
	if a.listen != 2 {
		return false
	}
	switch ln.key {
	case "path", "mode", "user", "group":
		a.socket[ln.key] = ln.value
		return true
	}
	return false
}

// addOldSocket makes a listener of the auth service out of a socket block.
func (p *parser) addOldSocket() error {
	a := &p.auth
	path, ok := a.socket["path"]
	if !ok {
		return errors.New("socket listen {} is missing path")
	}
	if rest, ok := strings.CutPrefix(path, p.baseDir()+"/"); ok {
		path = rest
	}
	switch master := strings.HasSuffix(path, "-master") || strings.HasSuffix(path, "-userdb"); {
	case a.master && !master:
		return errors.New("socket listen { master { path=.. } } must end with -master (or -userdb) suffix")
	case !a.master && master:
		return errors.New("socket listen { client { path=.. } } must end not with -master or -userdb suffix")
	}
	service, err := p.enter(p.cur().sec, schema().root.keys["service"], "auth")
	if err != nil {
		return err
	}
	if _, err := p.enter(service, service.set.keys["unix_listener"], path); err != nil {
		return err
	}
	for _, key := range []string{"mode", "user", "group"} {
		if v, ok := a.socket[key]; ok {
			if err := p.put("service/auth/unix_listener/"+pathEscape(path)+"/"+key, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// baseDir is base_dir so far.
func (p *parser) baseDir() string {
	if v, ok := p.cfg.layers[0].root.keys["base_dir"]; ok {
		return strings.TrimSuffix(v.text, "/")
	}
	return DefaultOf("base_dir")
}
