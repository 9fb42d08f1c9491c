package store

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/dict"
	"github.com/dovetail-mail/dovetail/internal/mda/store/acl"
)

var (
	_ = dovecot.RegisterPlugin("acl", "acl", "acl_user", "acl_groups", "acl_defaults_from_inbox", "acl_globals_only", "acl_ignore_namespace*", "acl_shared_dict", "master_user")
	_ = dovecot.RegisterPlugin("imap_acl", "acl_anyone")
)

// An access is Dovecot's plugin acl for one user. Every way to a mailbox asks it: the methods
// of [User], and through [mailbox.Guard] those of the handles that they return. A user without
// one may do everything.
type access struct {
	u        *User
	who      acl.Identity // Owner is a namespace's matter
	notOwner bool         // not of the private mailboxes either: somebody else logged in
	global   string       // file or directory of the administrator; "" for none
	ignored  []string     // masks of prefixes of namespaces that are open
	files    aclFiles

	globalsOnly, defaultsFromInbox, anyone bool

	dict    dict.Dict // who shares with whom; nil for none
	dictURI string
}

// newAccess returns that of a user; nil if the plugin is not asked for, or has no backend.
func newAccess(u *User) (*access, error) {
	if !u.HasPlugin("acl") {
		if u.HasPlugin("imap_acl") {
			return nil, fmt.Errorf("Can't load plugin imap_acl_plugin: Plugin acl must be loaded also (you must set: mail_plugins=$mail_plugins acl)")
		}
		return nil, nil
	}
	set, err := u.plugin()
	if err != nil {
		return nil, err
	}
	backend, _, err := set.get("acl")
	if err != nil || backend == "" {
		return nil, err
	}
	a := &access{u: u}
	if err := a.backend(backend); err != nil {
		return nil, err
	}
	return a, a.settings(set)
}

// backend reads the setting acl: vfile[:GLOBAL][:cache_secs=N].
func (a *access) backend(text string) error {
	words := strings.Split(text, ":")
	if words[0] != "vfile" {
		return fmt.Errorf("Unknown ACL backend: %s", words[0])
	}
	if len(words) > 1 {
		a.global = words[1]
	}
	for _, word := range words[min(2, len(words)):] {
		secs, ok := strings.CutPrefix(word, "cache_secs=")
		if !ok {
			return fmt.Errorf("acl vfile: Unknown parameter: %s", word)
		}
		// Lists are looked at each time: nobody keeps a right that was taken away.
		if _, err := strconv.ParseUint(secs, 10, 32); err != nil {
			return fmt.Errorf("acl vfile: Invalid cache_secs value: %s", secs)
		}
	}
	return nil
}

// settings reads the others.
func (a *access) settings(set plugin) error {
	text := map[string]string{}
	for _, key := range [...]string{"acl_user", "master_user", "acl_groups", "acl_shared_dict", "acl_anyone"} {
		value, _, err := set.get(key)
		if err != nil {
			return err
		}
		text[key] = value
	}
	a.who.User = cmpOr(cmpOr(text["acl_user"], text["master_user"]), a.u.info.Username)
	a.notOwner = a.who.User != a.u.info.Username
	if text["acl_groups"] != "" {
		a.who.Groups = strings.Split(text["acl_groups"], ",")
	}
	a.anyone, a.dictURI = text["acl_anyone"] == "allow", text["acl_shared_dict"]
	var err error
	if a.globalsOnly, err = set.getBool("acl_globals_only"); err != nil {
		return err
	}
	if a.defaultsFromInbox, err = set.getBool("acl_defaults_from_inbox"); err != nil {
		return err
	}
	a.ignored, err = set.numbered("acl_ignore_namespace")
	return err
}

// checks reports whether there are lists for a namespace.
func (a *access) checks(ns *Namespace) bool {
	if a == nil || ns.shared != nil || ns.unusable {
		return false
	}
	for _, mask := range a.ignored {
		if acl.Match(mask, ns.Prefix) {
			return false
		}
	}
	return true
}

// identity is the user as seen by a namespace.
func (a *access) identity(ns *Namespace) *acl.Identity {
	who := a.who
	who.Owner = ns.Type == Private && !a.notOwner
	return &who
}

// entries returns the list of a mailbox: its own, with what the global file says of it.
func (a *access) entries(p place) (acl.List, error) {
	return a.read(p.ns, p.name, p.aclDir())
}

// read returns the entries of a list, which is in a directory if that is not "".
func (a *access) read(ns *Namespace, name, dir string) (acl.List, error) {
	global, err := a.globals(name)
	if err != nil || dir == "" || a.globalsOnly {
		return global, err
	}
	local, err := a.files.read(dir + "/" + aclFile)
	return local.With(global), err
}

// defaults returns the entries for mailboxes about which their own say nothing.
func (a *access) defaults(ns *Namespace) (acl.List, error) {
	if a.defaultsFromInbox && ns.Type != Public {
		p, err := a.u.resolve(ns.full(inbox))
		if err != nil {
			return nil, err
		}
		return a.entries(p)
	}
	st := ns.st
	dir := st.boxes()
	switch {
	case st.format == "mbox":
		dir = st.controlRoot()
	case st.inboxInRoot && (ns.Inbox || ns.inboxAny):
		dir = "" // that is INBOX
	}
	return a.read(ns, ns.prefixName(), dir)
}

// rights returns what the user may do in a mailbox.
func (a *access) rights(p place) (acl.Set, error) {
	if !a.checks(p.ns) {
		return acl.Set{Bits: acl.All}, nil
	}
	return a.listed(p)
}

// listed returns the rights that lists give, also where nobody checks them.
func (a *access) listed(p place) (acl.Set, error) {
	if p.ns.shared != nil || p.ns.unusable {
		return acl.Set{}, nil
	}
	l, err := a.entries(p)
	if err != nil {
		return acl.Set{}, err
	}
	return a.judge(p.ns, l)
}

// judge returns the rights that a list of a mailbox gives, or else the defaults.
func (a *access) judge(ns *Namespace, l acl.List) (acl.Set, error) {
	who := a.identity(ns)
	if s, known := l.Rights(who); known {
		return s, nil
	}
	l, err := a.defaults(ns)
	if err != nil {
		return acl.Set{}, err
	}
	if s, known := l.Rights(who); known {
		return s, nil
	}
	return who.Default(), nil
}

// above returns the entries that a new mailbox takes over, and whose right "create" it needs: those of
// the first mailbox above that exists or has a global entry, or the defaults.
func (a *access) above(p place) (acl.List, error) {
	relative := p.ns.relative(p.name)
	for {
		i := strings.LastIndexByte(relative, p.ns.Sep)
		if i < 0 {
			return a.defaults(p.ns)
		}
		relative = relative[:i]
		parent, err := a.u.resolve(p.ns.full(relative))
		if err != nil {
			return a.defaults(p.ns)
		}
		if g, err := a.globals(parent.name); err != nil || len(g) > 0 {
			return a.orEntries(parent, err)
		}
		if there, err := a.u.exists(parent); err != nil || there {
			return a.orEntries(parent, err)
		}
	}
}

func (a *access) orEntries(p place, err error) (acl.List, error) {
	if err != nil {
		return nil, err
	}
	return a.entries(p)
}

// aclDir returns the directory of a mailbox's list, "" if it has none.
func (p place) aclDir() string {
	if p.disk == "" {
		return ""
	}
	loc := p.location()
	if p.ns.st.format == "mbox" {
		return p.ns.st.mboxControl(p.disk, loc.Dir)
	}
	return loc.Dir
}
