package store

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"weak"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// A template is what the namespaces of all users of one service have in common:
// the decoded settings. They are kept per configuration, so that opening a user
// costs only the expansion of variables.
type template struct {
	set     Settings
	box     mailbox.Settings
	aliases map[string]bool // names of namespaces with alias_for, which may be empty
}

// maxTemplates bounds the templates kept per configuration, of which there may be
// as many as there are client addresses.
const maxTemplates = 256

// templates holds what was decoded of the configurations in use. An entry goes
// with its configuration.
var templates sync.Map // weak.Pointer[dovecot.Config] -> *templateSet

type templateSet struct {
	mu   sync.Mutex
	made map[dovecot.Filter]*template
}

func templateFor(cfg *dovecot.Config, f dovecot.Filter) (*template, error) {
	key := weak.Make(cfg)
	v, ok := templates.Load(key)
	if !ok {
		v, ok = templates.LoadOrStore(key, &templateSet{made: map[dovecot.Filter]*template{}})
		if !ok {
			runtime.AddCleanup(cfg, func(key weak.Pointer[dovecot.Config]) { templates.Delete(key) }, key)
		}
	}
	set := v.(*templateSet)
	set.mu.Lock()
	defer set.mu.Unlock()
	if t := set.made[f]; t != nil {
		return t, nil
	}
	t := &template{}
	if err := cfg.Decode(f, &t.set); err != nil {
		return nil, err
	}
	if err := cfg.Decode(f, &t.box); err != nil {
		return nil, err
	}
	t.aliases = map[string]bool{}
	for i := range t.set.Namespaces {
		name := t.set.Namespaces[i].Name
		t.aliases[name] = t.set.Namespaces[i].AliasFor != "" || cfg.Origin(f, "namespace/"+name+"/alias_for") != ""
	}
	if len(set.made) >= maxTemplates {
		clear(set.made)
	}
	set.made[f] = t
	return t, nil
}

// overridden returns the configuration with those userdb fields laid over it
// that name settings. The location, which many sites keep per user, is returned
// apart so that the template of all users still serves.
func overridden(cfg *dovecot.Config, fields map[string]string) (_ *dovecot.Config, location string, _ error) {
	var list []string
	for name, value := range fields {
		switch {
		case name == "mail" || name == "mail_location":
			location = value
		case dovecot.Known(name) && !reservedField(name):
			list = append(list, name+"="+value)
		}
	}
	if len(list) == 0 {
		return cfg, location, nil
	}
	slices.Sort(list)
	cfg, err := cfg.Override(list...)
	return cfg, location, err
}

// reservedField reports whether a userdb field has a meaning of its own.
func reservedField(name string) bool {
	switch name {
	case "uid", "gid", "home", "chroot", "system_groups_user", "user":
		return true
	}
	return strings.HasPrefix(name, "auth_")
}

// Of this process and host, for variables.
var (
	pid      = strconv.Itoa(os.Getpid())
	hostname = sync.OnceValue(func() string {
		host, _ := os.Hostname() // without it the variable is empty
		return host
	})
)

// vars are the %variables of mail user settings.
func (u *User) vars() *dovecot.Vars {
	i := &u.info
	name, domain, _ := strings.Cut(i.Username, "@")
	auth := cmp.Or(i.AuthUser, i.Username)
	authName, authDomain, _ := strings.Cut(auth, "@")
	addr := func(a interface {
		IsValid() bool
		String() string
	}) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	}
	local, remote := addr(i.Local), addr(i.Remote)
	return &dovecot.Vars{
		Table: []dovecot.Var{
			{Key: 'u', Name: "user", Value: i.Username},
			{Key: 'n', Name: "username", Value: name},
			{Key: 'd', Name: "domain", Value: domain},
			{Key: 's', Name: "service", Value: i.Service},
			{Key: 'h', Name: "home", Value: i.Home},
			{Key: 'l', Name: "lip", Value: local},
			{Key: 'r', Name: "rip", Value: remote},
			{Key: 'p', Name: "pid", Value: pid},
			{Key: 'i', Name: "uid", Value: strconv.Itoa(i.UID)},
			{Name: "gid", Value: strconv.Itoa(i.GID)},
			{Name: "session", Value: i.SessionID},
			{Name: "auth_user", Value: auth},
			{Name: "auth_username", Value: authName},
			{Name: "auth_domain", Value: authDomain},
			{Name: "hostname", Value: hostname()},
			{Name: "local_ip", Value: local},
			{Name: "remote_ip", Value: remote},
			{Name: "owner_user", Value: i.Username},
			{Name: "owner_username", Value: name},
			{Name: "owner_domain", Value: domain},
			{Name: "owner_home", Value: i.Home},
		},
		Func: u.userdbField,
	}
}

// userdbField is %{userdb:FIELD[:default]}.
func (u *User) userdbField(name, arg string) (string, bool, error) {
	if name != "userdb" {
		return "", false, nil
	}
	field, dflt, _ := strings.Cut(arg, ":")
	if value, ok := u.info.Fields[field]; ok {
		return value, true, nil
	}
	return dflt, true, nil
}

// Expand expands the %variables of mail user settings in the setting key.
func (u *User) Expand(key, text string) (string, error) {
	if strings.IndexByte(text, '%') < 0 {
		return text, nil
	}
	out, err := dovecot.ExpandVars(text, u.vars())
	if err != nil {
		return "", fmt.Errorf("Failed to expand settings: %s: %w", key, err)
	}
	return out, nil
}
