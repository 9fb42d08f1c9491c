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
	set Settings
	box mailbox.Settings
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

// makeNamespaces fills in the namespaces from the template.
func (u *User) makeNamespaces(t *template, location string) error {
	if u.info.Home == "" && t.set.Home != "" {
		home, err := u.Expand("mail_home", t.set.Home)
		if err != nil {
			return err
		}
		u.info.Home = home
	}
	list := t.set.Namespaces
	if len(list) == 0 {
		list = defaultNamespaces
	}
	for i := range list {
		if list[i].Disabled {
			continue
		}
		ns, err := u.makeNamespace(&list[i], cmp.Or(location, t.set.Location))
		if err != nil {
			if list[i].IgnoreOnFailure {
				continue
			}
			return err
		}
		u.namespaces = append(u.namespaces, ns)
	}
	slices.SortStableFunc(u.namespaces, func(a, b *Namespace) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(len(a.Prefix), len(b.Prefix)))
	})
	return u.checkNamespaces()
}

// defaultNamespaces is what a configuration without namespaces means.
var defaultNamespaces = []namespaceSettings{{Type: "private", Inbox: true, List: "yes", Subscriptions: true}}

var (
	namespaceTypes = map[string]Type{"private": Private, "shared": Shared, "public": Public}
	listModes      = map[string]ListMode{"yes": ListYes, "no": ListNo, "children": ListChildren}
)

func (u *User) makeNamespace(set *namespaceSettings, location string) (*Namespace, error) {
	prefix, err := u.Expand("namespace/"+set.Name+"/prefix", set.Prefix)
	if err != nil {
		return nil, err
	}
	if set.Location != "" {
		location = set.Location
	}
	if location, err = u.Expand("mail_location", location); err != nil {
		return nil, err
	}
	st, err := parseLocation(location, u.info.Home)
	if err != nil {
		return nil, fmt.Errorf("Namespace '%s': %w", prefix, err)
	}
	ns := &Namespace{
		Name: set.Name, Type: namespaceTypes[set.Type], Prefix: prefix, Sep: '/',
		Inbox: set.Inbox, Hidden: set.Hidden, List: listModes[set.List], Order: set.Order,
		subscriptions: set.Subscriptions, st: st,
	}
	if st.inRoot() {
		ns.Sep = '.'
	}
	if set.Separator != "" {
		if len(set.Separator) > 1 {
			return nil, fmt.Errorf("Namespace '%s': Hierarchy separator must be only one character long", prefix)
		}
		ns.Sep = set.Separator[0]
	}
	if prefix != "" && !strings.HasSuffix(prefix, string(ns.Sep)) {
		return nil, fmt.Errorf("Namespace '%s': Prefix must end with the separator '%c'", prefix, ns.Sep)
	}
	ns.setMailboxes(set.Mailboxes)
	return ns, nil
}

func (ns *Namespace) setMailboxes(list []MailboxSetting) {
	if len(list) == 0 {
		return
	}
	ns.boxes = make(map[string]*MailboxSetting, len(list))
	for i := range list {
		name := list[i].Name
		if ns.Inbox && strings.EqualFold(name, inbox) {
			name = inbox
		}
		if ns.boxes[name] == nil {
			ns.order = append(ns.order, name)
		}
		ns.boxes[name] = &list[i]
	}
}

// checkNamespaces refuses what cannot work together.
func (u *User) checkNamespaces() error {
	inboxes := 0
	prefixes := map[string]bool{}
	for _, ns := range u.namespaces {
		if ns.Inbox {
			inboxes++
		}
		if prefixes[ns.Prefix] {
			return fmt.Errorf("namespace configuration error: Duplicate namespace prefix: %q", ns.Prefix)
		}
		prefixes[ns.Prefix] = true
	}
	switch {
	case inboxes == 0:
		return fmt.Errorf("namespace configuration error: inbox=yes namespace missing")
	case inboxes > 1:
		return fmt.Errorf("namespace configuration error: There can be only one namespace with inbox=yes")
	}
	return nil
}
