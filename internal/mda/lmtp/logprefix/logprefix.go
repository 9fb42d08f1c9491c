// Package logprefix is mail_log_prefix: what log lines about one user's session
// begin with, such as "imap(bob)<812><F5oAHtpgB9d/AAAJ>".
package logprefix

import (
	"os"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// Settings holds the setting.
type Settings struct {
	Prefix string `set:"mail_log_prefix" default:"%s(%u)<%{pid}><%{session}>: " doc:"prefix of log lines of mail processes"`
}

var _ = dovecot.Register("mail", Settings{})

// standard is the default, which is expanded without parsing it.
const standard = "%s(%u)<%{pid}><%{session}>: "

var pid = strconv.Itoa(os.Getpid())

// Tag returns the tag for a logger of the user's session.
func (s *Settings) Tag(user *store.UserInfo) string {
	if s.Prefix == standard {
		return user.Service + "(" + user.Username + ")<" + pid + "><" + user.SessionID + ">"
	}
	name, domain, _ := strings.Cut(user.Username, "@")
	vars := dovecot.Vars{Table: []dovecot.Var{
		{Key: 'u', Name: "user", Value: user.Username}, {Key: 'n', Name: "username", Value: name}, {Key: 'd', Name: "domain", Value: domain},
		{Key: 's', Name: "service", Value: user.Service}, {Key: 'p', Name: "pid", Value: pid}, {Name: "session", Value: user.SessionID},
		{Key: 'l', Name: "lip", Value: user.Local.String()}, {Key: 'r', Name: "rip", Value: user.Remote.String()},
		{Key: 'i', Name: "uid", Value: strconv.Itoa(user.UID)}, {Name: "gid", Value: strconv.Itoa(user.GID)},
		{Name: "auth_user", Value: user.AuthUser},
	}}
	tag, _ := dovecot.ExpandVars(s.Prefix, &vars) // an unknown variable shows as such
	return strings.TrimSuffix(tag, ": ")
}
