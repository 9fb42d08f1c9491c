package store

import (
	"fmt"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot/ext"
	"github.com/dovetail-mail/dovetail/internal/dict"
)

// dictSettings are the dictionaries that have names.
type dictSettings struct {
	Dicts map[string]string `set:"dict" doc:"named dictionaries: name = driver:arguments, used by proxy::name"`
}

var _ = dovecot.Register("mail", dictSettings{})

// openDict opens the dictionary that a setting of a plugin names. The caller closes it.
func (u *User) openDict(uri string) (dict.Dict, error) {
	core, err := dovecot.Get[dovecot.Master](u.cfg, dovecot.Filter{})
	if err != nil {
		return nil, err
	}
	named, err := dovecot.Get[dictSettings](u.cfg, dovecot.Filter{})
	if err != nil {
		return nil, err
	}
	warn := func(text string) { u.log.Warningf("%s", text) }
	d, err := dict.Open(&dict.Env{BaseDir: core.BaseDir, Named: named.Dicts, Files: ext.Files{}, Warn: warn}, uri)
	if err != nil {
		return nil, fmt.Errorf("dict_init(%s) failed: %w", uri, err)
	}
	return d, nil
}

// dictUser is on whose behalf dictionaries are used.
func (u *User) dictUser() dict.User { return dict.User{Name: u.info.Username, Home: u.info.Home} }
