package auth

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
)

// usernames is how names of users are normalized.
type usernames struct {
	defaultRealm string
	format       string
	separator    string // of master users
	master       string // name of the first passdb of them, if there are any
	translate    [256]byte
	allowed      [256]bool
}

func newUsernames(set *Settings) *usernames {
	u := &usernames{defaultRealm: set.DefaultRealm, format: set.UsernameFormat, separator: set.MasterUserSeparator}
	for i := range u.translate {
		u.translate[i] = byte(i)
		u.allowed[i] = set.UsernameChars == ""
	}
	for i := range len(set.UsernameChars) {
		u.allowed[set.UsernameChars[i]] = true
	}
	for t := set.UsernameTranslation; len(t) >= 2; t = t[2:] {
		u.translate[t[0]] = t[1]
	}
	return u
}

// Errors of names, with Dovecot's texts.
var (
	errEmptyUsername      = errors.New("Empty username")
	errEmptyLoginUsername = errors.New("Master user login attempted to use empty login username")
	errNoMasters          = errors.New("Master user login attempted without master passdbs")
)

// normalize returns the name under which the databases know a user.
func (u *usernames) normalize(req *db.Request, name string) (string, error) {
	if name == "" {
		return "", errEmptyUsername
	}
	given := name
	if u.defaultRealm != "" && !strings.Contains(name, "@") {
		name += "@" + u.defaultRealm
	}
	var translated []byte // nil: name as it is
	for i := range len(name) {
		c := u.translate[name[i]]
		if c != name[i] && translated == nil {
			translated = []byte(name)
		}
		if translated != nil {
			translated[i] = c
		}
		if !u.allowed[c] {
			return "", fmt.Errorf("Username character disallowed by auth_username_chars: 0x%02x (username: %s)", c, given)
		}
	}
	if translated != nil {
		name = string(translated)
	}
	name, err := req.Normalize(u.format, name)
	if err != nil {
		return "", fmt.Errorf("Failed to expand auth_username_format=%s: %w", u.format, err)
	}
	return name, nil
}

// set gives the request its user: who authenticates, and from the part before
// the separator, as whom.
func (u *usernames) set(req *db.Request, name string) error {
	if u.separator != "" {
		if login, name, ok := strings.Cut(name, u.separator[:1]); ok {
			if err := u.setWhole(req, name); err != nil {
				return err
			}
			return u.setLogin(req, login)
		}
	}
	return u.setWhole(req, name)
}

// setWhole is set for a name in which nothing separates: that of a certificate is nobody's wish
// to log in as somebody else.
func (u *usernames) setWhole(req *db.Request, name string) error {
	req.OriginalUser = name
	user, err := u.normalize(req, name)
	if err == nil {
		req.User = user
	}
	return err
}

// setLogin says as whom a master user wants to log in.
func (u *usernames) setLogin(req *db.Request, name string) error {
	switch {
	case name == "":
		return errEmptyLoginUsername
	case name == req.User: // logging in as oneself is no matter of masters
		return nil
	case u.master == "":
		return errNoMasters
	}
	var err error
	if req.LoginUser, err = u.normalize(req, name); err == nil {
		u.logMaster(req)
	}
	return err
}
