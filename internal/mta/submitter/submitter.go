package submitter

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"os/user"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// Settings are the parameters about users who submit mail.
type Settings struct {
	Users      string `set:"authorized_submit_users" default:"static:anyone" doc:"users who may submit mail with sendmail"`
	Senders    string `set:"local_login_sender_maps" default:"static:*" doc:"sender addresses that a user may submit mail with"`
	NullSender string `set:"empty_address_local_login_sender_maps_lookup_key" default:"<>" doc:"what local_login_sender_maps has for the empty sender"`
}

var _ = postfix.Register("postdrop", Settings{})

// Access is what the configuration allows. It is safe for concurrent use.
type Access struct {
	set       *Settings
	delimiter string // recipient_delimiter
	users     resolve.List
	senders   resolve.Maps
}

// New returns the Access of a configuration.
func New(main *postfix.Main, open resolve.Opener) (*Access, error) {
	set, err := postfix.Get[Settings](main)
	if err != nil {
		return nil, err
	}
	core, err := postfix.Get[postfix.Core](main)
	if err != nil {
		return nil, err
	}
	a := &Access{set: set, delimiter: core.RecipientDelimiter}
	if a.users, err = open.OpenList("authorized_submit_users", set.Users, resolve.StringList); err != nil {
		return nil, err
	}
	a.senders, err = open.OpenMaps("local_login_sender_maps", set.Senders)
	return a, err
}

// A DeniedError says what is not allowed.
type DeniedError struct{ text string }

func (e *DeniedError) Error() string { return e.text }

// errTable is a table that cannot be asked.
var errTable = errors.New("table lookup error")

// CheckUser returns a [DeniedError] if a user may not submit mail. Other errors are
// temporary.
func (a *Access) CheckUser(ctx context.Context, u User) error {
	if strings.HasPrefix(a.set.Users, "static:") {
		return nil
	}
	name := u.Name
	if name == "" {
		name = "unknown"
	}
	ok, err := a.users.Match(ctx, name)
	if err != nil {
		return fmt.Errorf("authorized_submit_users: %w: %w", errTable, err)
	}
	if !ok {
		return &DeniedError{fmt.Sprintf("User %s(%d) is not allowed to submit mail", name, u.UID)}
	}
	return nil
}

// CheckSender returns a [DeniedError] if a user may not submit mail with a sender
// address, which is in internal form. Other errors are temporary.
func (a *Access) CheckSender(ctx context.Context, u User, sender string) error {
	if a.set.Senders == "static:*" {
		return nil
	}
	name := u.Name
	if name == "" {
		name = "uid:" + strconv.Itoa(u.UID)
	}
	value, found, err := a.senders.Lookup(ctx, name)
	if err != nil {
		return fmt.Errorf("local_login_sender_maps %w for '%s'", errTable, a.set.Senders)
	}
	if found {
		for _, pattern := range postfix.SplitList(value) {
			if a.matches(pattern, sender) {
				return nil
			}
		}
	}
	return &DeniedError{fmt.Sprintf("not authorized to use sender='%s'", sender)}
}

// matches tells whether a pattern is for a sender: "*", an address with or
// without the sender's extension, "@domain", or the word for the empty sender.
func (a *Access) matches(pattern, sender string) bool {
	local, domain := smtp.SplitAddress(sender)
	switch {
	case pattern == "*":
		return true
	case sender == "":
		return strings.EqualFold(pattern, a.set.NullSender)
	case strings.HasPrefix(pattern, "@"):
		return strings.EqualFold(pattern[1:], domain) && domain != ""
	case strings.EqualFold(pattern, sender):
		return true
	}
	i := strings.IndexAny(local, a.delimiter)
	if i <= 0 {
		return false
	}
	bare := local[:i]
	if domain != "" {
		bare += "@" + domain
	}
	return strings.EqualFold(pattern, bare)
}

// A User is an account of this machine.
type User struct {
	UID   int
	Name  string // empty if there is none of that number
	Gecos string // the full name, and more
}

// Lookup finds the account with a number. Where the password file does not have it,
// another source of accounts may (LDAP by way of SSSD), which only the C library
// can ask.
func Lookup(uid int) User {
	number := strconv.Itoa(uid)
	found := User{UID: uid}
	if u, err := user.LookupId(number); err == nil && u.Username != "" {
		found.Name, found.Gecos = u.Username, u.Name
		return found
	}
	out, err := exec.Command("/usr/bin/getent", "passwd", number).Output()
	if err != nil {
		return found
	}
	if fields := strings.Split(strings.TrimSpace(string(out)), ":"); len(fields) >= 7 && fields[2] == number {
		found.Name, found.Gecos = fields[0], fields[4]
	}
	return found
}
