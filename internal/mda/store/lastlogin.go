package store

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/dict"
)

var _ = dovecot.RegisterPlugin("last_login", "last_login_dict", "last_login_key", "last_login_precision")

// lastLoginTimeout bounds how long a dictionary may take.
const lastLoginTimeout = time.Minute

// A lastLogin is Dovecot's plugin last_login: it notes in a dictionary when the user was opened.
type lastLogin struct {
	uri, key, value string
}

// newLastLogin returns what is to be noted; nil if the plugin is not asked for, or has no dictionary.
func newLastLogin(u *User, now time.Time) (*lastLogin, error) {
	if u.info.Restored || !u.HasPlugin("last_login") {
		return nil, nil
	}
	set, err := u.plugin()
	if err != nil {
		return nil, err
	}
	l := &lastLogin{}
	if l.uri, _, err = set.get("last_login_dict"); err != nil || l.uri == "" {
		return nil, err
	}
	key, ok, err := set.get("last_login_key")
	if err != nil {
		return nil, err
	}
	if !ok {
		key = "last-login/" + u.info.Username
	}
	l.key = dict.Shared + key
	precision, _, err := set.get("last_login_precision")
	if err != nil {
		return nil, err
	}
	if l.value = loginTime(now, precision); l.value == "" {
		u.log.Errorf("last_login_dict: Invalid last_login_precision '%s'", precision)
		return nil, nil
	}
	return l, nil
}

// loginTime returns a time in a unit, "" if there is no such unit. Dovecot's clock has microseconds.
func loginTime(t time.Time, unit string) string {
	switch unit {
	case "", "s":
		return strconv.FormatInt(t.Unix(), 10)
	case "ms":
		return strconv.FormatInt(t.UnixMilli(), 10)
	case "us":
		return strconv.FormatInt(t.UnixMicro(), 10)
	case "ns":
		return strconv.FormatInt(t.UnixMicro()*1000, 10)
	}
	return ""
}

// write notes the time. Nothing waits for it but the end of the session.
func (l *lastLogin) write(ctx context.Context, u *User) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLoginTimeout)
	defer cancel()
	d, err := u.openDict(l.uri)
	if err != nil {
		u.log.Errorf("last_login_dict: %v", err)
		return
	}
	defer d.Close()
	tx := dict.Begin(d, u.dictUser())
	tx.Set(l.key, l.value)
	if err := tx.Commit(ctx); err != nil && !errors.Is(err, dict.ErrNotFound) {
		u.log.Errorf("last_login_dict: Failed to write value: %v", err)
	}
}
