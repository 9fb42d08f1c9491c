package auth

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"slices"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot/ext"
)

// A Setup is what an auth process works with: the configuration, and the files in
// which databases have settings of their own. They hold passwords and are often
// only for root, so the master reads them.
type Setup struct {
	Config *dovecot.Config
	Files  ext.Files
	Worker string // socket of the service auth-worker; "" if that does not run
}

// NewSetup reads the files that the passdbs and userdbs of cfg name. One that is missing is
// left to the auth process to complain about.
func NewSetup(cfg *dovecot.Config) (*Setup, error) {
	dbs, err := dovecot.Get[dovecot.Auth](cfg, dovecot.Filter{Service: "auth"})
	if err != nil {
		return nil, err
	}
	set, err := dovecot.Get[db.Settings](cfg, dovecot.Filter{Service: "auth"})
	if err != nil {
		return nil, err
	}
	s := &Setup{Config: cfg, Files: make(ext.Files)}
	for _, p := range dbs.Passdbs {
		err = errors.Join(err, set.CollectFiles(s.Files, p.Driver, p.Args))
	}
	for _, u := range dbs.Userdbs {
		err = errors.Join(err, set.CollectFiles(s.Files, u.Driver, u.Args))
	}
	return s, err
}

// Prepare makes what the auth process needs in base_dir: where checkpassword programs
// find the one that answers for them.
func (s *Setup) Prepare() error {
	dbs, err := dovecot.Get[dovecot.Auth](s.Config, dovecot.Filter{Service: "auth"})
	if err != nil {
		return err
	}
	used := slices.ContainsFunc(dbs.Passdbs, func(p dovecot.Passdb) bool { return p.Driver == "checkpassword" }) ||
		slices.ContainsFunc(dbs.Userdbs, func(u dovecot.Userdb) bool { return u.Driver == "checkpassword" })
	if !used {
		return nil
	}
	set, err := dovecot.Get[db.Settings](s.Config, dovecot.Filter{Service: "auth"})
	if err != nil {
		return err
	}
	return set.LinkReplyProgram()
}

// setupForm is a Setup on its way to the auth process.
type setupForm struct {
	Config []byte
	Files  ext.Files
	Worker string
}

// MarshalBinary implements [encoding.BinaryMarshaler].
func (s *Setup) MarshalBinary() ([]byte, error) {
	config, err := s.Config.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = gob.NewEncoder(&b).Encode(setupForm{config, s.Files, s.Worker})
	return b.Bytes(), err
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler].
func (s *Setup) UnmarshalBinary(data []byte) error {
	var form setupForm
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&form); err != nil {
		return fmt.Errorf("setup of auth: %w", err)
	}
	s.Config, s.Files, s.Worker = new(dovecot.Config), form.Files, form.Worker
	return s.Config.UnmarshalBinary(form.Config)
}

// NeedsSystem reports whether the passdbs and userdbs of cfg ask about users of the
// system (wanted), and whether nothing but the C library can answer that (needed).
func NeedsSystem(cfg *dovecot.Config) (wanted, needed bool, err error) {
	dbs, err := dovecot.Get[dovecot.Auth](cfg, dovecot.Filter{Service: "auth"})
	if err != nil {
		return false, false, err
	}
	for _, p := range dbs.Passdbs {
		needed = needed || p.Driver == "pam" || p.Driver == "shadow"
		wanted = wanted || p.Driver == "passwd"
	}
	for _, u := range dbs.Userdbs {
		wanted = wanted || u.Driver == "passwd"
	}
	return wanted || needed, needed, nil
}
