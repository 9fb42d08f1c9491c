package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// A shared namespace whose prefix has a variable, such as "shared/%%u/", stands for those of
// all users: one is made when a name in it is first used. Without the acl plugin nothing
// but the permissions of files says who may do what there.

// A sharedRoot is what the namespaces of other users are made from.
type sharedRoot struct {
	set      *namespaceSettings
	pattern  string // the prefix from its first variable on
	location string
}

// An OwnerLookup tells whether there is a user and where his home directory is.
type OwnerLookup func(ctx context.Context, username string) (home string, found bool, err error)

// LookUpOwners has other users looked up in the userdb, when a mailbox of a shared
// namespace is named whose location has %%h. Without it their homes are what mail_home says.
func (u *User) LookUpOwners(lookup OwnerLookup) { u.owners = lookup }

var errCannotCreate = &Error{Code: CodeCannot, Text: "Mailbox can't be created"}

// makeSharedRoot checks the namespace and completes it.
func (ns *Namespace) makeSharedRoot(set *namespaceSettings, location string) error {
	fail := func(text string) error { return fmt.Errorf("Namespace '%s': %s", ns.Prefix, text) }
	driver, _, ok := strings.Cut(location, ":")
	if !ok {
		return fail("Shared mailbox location not prefixed with driver")
	}
	if f, known := formats[strings.ToLower(driver)]; !known && driver != "auto" || f.name == formatVirtual {
		return fail("Unknown shared storage driver: " + driver)
	}
	at := strings.IndexByte(ns.Prefix, '%')
	if at < 0 {
		return fail("Shared namespace prefix doesn't contain %")
	}
	pattern := ns.Prefix[at:]
	named := false
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '%' {
			continue
		}
		i++
		switch {
		case i < len(pattern) && (pattern[i] == 'u' || pattern[i] == 'n'):
			named = true
		case i >= len(pattern) || pattern[i] != '%' && pattern[i] != 'd':
			return fail("Shared namespace prefix contains unknown variables")
		}
	}
	switch {
	case !named:
		return fail("Shared namespace prefix doesn't contain %u or %n")
	case pattern[len(pattern)-1] != ns.Sep && ns.List != ListNo:
		return fail("Shared namespace prefix doesn't end with hierarchy separator")
	}
	ns.Prefix = ns.Prefix[:at]
	ns.shared = &sharedRoot{set: set, pattern: pattern, location: location}
	ns.unusable = true
	ns.st = &storage{layout: layoutFS, root: "/nonexistent", control: "/nonexistent"}
	return nil
}

// An otherUser is whose mailbox a name in a shared namespace is.
type otherUser struct{ name, user, domain string }

// owner returns whose mailbox a name is, of which the fixed part of the prefix was taken.
// It is false if it is nobody's.
func (r *sharedRoot) owner(name string, sep byte, domain string) (o otherUser, ok bool) {
	p := r.pattern
	for p != "" {
		if p[0] != '%' {
			if name == "" { // the name of a user without a mailbox
				break
			}
			if p[0] != name[0] {
				return o, false
			}
			p, name = p[1:], name[1:]
			continue
		}
		key := p[1]
		p = p[2:]
		end := sep
		if p != "" {
			end = p[0]
		}
		value := name
		if i := strings.IndexByte(name, end); i >= 0 {
			value, name = name[:i], name[i:]
		} else {
			name = ""
		}
		switch key {
		case 'u':
			o.name = value
		case 'n':
			o.user = value
		case 'd':
			o.domain = value
		}
	}
	switch {
	case o.name != "":
		o.user, o.domain, _ = strings.Cut(o.name, "@")
	case o.user == "":
		return o, false
	default:
		if o.domain == "" {
			o.domain = domain
		}
		o.name = o.user
		if o.domain != "" {
			o.name += "@" + o.domain
		}
	}
	// A user's name becomes a part of a path.
	bad := strings.ContainsAny(o.name, "/\x00") || strings.HasPrefix(o.name, ".") || strings.HasPrefix(o.domain, ".")
	return o, o.user != "" && !bad
}

// vars are those of prefix and location.
func (o *otherUser) vars(home string) *dovecot.Vars {
	return &dovecot.Vars{Table: []dovecot.Var{
		{Key: 'u', Name: "user", Value: o.name},
		{Key: 'n', Name: "username", Value: o.user},
		{Key: 'd', Name: "domain", Value: o.domain},
		{Key: 'h', Name: "home", Value: home},
	}}
}

// maxOwners bounds the namespaces that one session can make.
const maxOwners = 10000

// sharedNamespace returns the namespace of the user whose mailbox the name is; root itself if
// it is nobody's.
func (u *User) sharedNamespace(root *Namespace, name string) *Namespace {
	_, domain, _ := strings.Cut(u.info.Username, "@")
	o, ok := root.shared.owner(strings.TrimPrefix(name, root.Prefix), root.Sep, domain)
	if !ok {
		return root
	}
	prefix, err := dovecot.ExpandVars(root.shared.pattern, o.vars(""))
	if err != nil {
		u.log.Errorf("Failed to expand namespace prefix '%s': %v", root.shared.pattern, err)
		return root
	}
	prefix = root.Prefix + prefix
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, ns := range u.dynamic {
		if ns.Prefix == prefix {
			return ns
		}
	}
	if len(u.dynamic) >= maxOwners {
		return root
	}
	ns, err := u.makeShared(root, &o, prefix)
	if err != nil {
		u.log.Errorf("Couldn't create namespace '%s' for user %s: %v", prefix, o.name, err)
		return root
	}
	// The list is never changed in place: others read it.
	u.dynamic = append(u.dynamic[:len(u.dynamic):len(u.dynamic)], ns)
	return ns
}

// homeOf looks up the home directory of another user, if the location has it: that of the userdb
// or else mail_home.
func (u *User) homeOf(root *Namespace, o *otherUser) (home string, found bool, err error) {
	if !usesHome(root.shared.location, o) {
		return "", true, nil
	}
	home, found, err = u.lookUpHome(root, o)
	if err == nil && found && home == "" {
		err = errors.New("his home directory is not known")
	}
	return home, found, err
}

// lookUpHome asks where another user's home directory is, which may be nowhere.
func (u *User) lookUpHome(ns *Namespace, o *otherUser) (home string, found bool, err error) {
	found = true
	if u.owners != nil {
		home, found, err = u.owners(context.Background(), o.name)
	}
	if err == nil && found && home == "" && ns.conf.Home != "" {
		home, err = dovecot.ExpandVars(ns.conf.Home, o.vars(""))
	}
	return home, found, err
}

// usesHome reports whether a location has the variable %h, in whatever form.
func usesHome(location string, o *otherUser) bool {
	one, err1 := dovecot.ExpandVars(location, o.vars("/1"))
	other, err2 := dovecot.ExpandVars(location, o.vars("/2"))
	return err1 == nil && err2 == nil && one != other
}

// makeShared makes the namespace of another user. Where there is no such user, or he has no
// mail, it looks the same to the client.
func (u *User) makeShared(root *Namespace, o *otherUser, prefix string) (*Namespace, error) {
	home, found, err := u.homeOf(root, o)
	if err != nil {
		return nil, err
	}
	ns := &Namespace{
		Name: root.Name, Type: Shared, Prefix: prefix, Sep: root.Sep, Hidden: true, List: root.List, Order: root.Order,
		subscriptions: root.subscriptions, log: u.log, set: root.set, conf: root.conf, inboxAny: true, unusable: true, owner: o.name,
		st: root.st,
	}
	if !found {
		return ns, nil
	}
	location, err := dovecot.ExpandVars(root.shared.location, o.vars(home))
	if err != nil {
		return nil, err
	}
	// "~" is the home directory of who is logged in, in which for example INDEX may be.
	st, err := parseLocation(location, owner{u.info.Username, u.info.Home})
	if err != nil {
		return nil, err
	}
	st.setEscape(u.escape)
	st.setSeparator(ns.Sep)
	st.minIndex = int64(root.set.MboxMinIndexSize)
	ns.st = st
	_, err = os.Stat(st.root)
	ns.unusable = err != nil
	return ns, nil
}

// allNamespaces returns also those of other users that were used.
func (u *User) allNamespaces() []*Namespace {
	u.mu.Lock()
	dynamic := u.dynamic
	u.mu.Unlock()
	if len(dynamic) == 0 {
		return u.namespaces
	}
	return append(u.namespaces[:len(u.namespaces):len(u.namespaces)], dynamic...)
}

// useShared makes the namespaces that a LIST pattern names.
func (u *User) useShared(pattern string) {
	if i := strings.IndexAny(pattern, "*%"); i >= 0 {
		pattern = pattern[:i]
	}
	if strings.IndexByte(pattern, 0) < 0 {
		u.namespaceOf(pattern)
	}
}
