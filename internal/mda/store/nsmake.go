package store

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// makeNamespaces fills in the namespaces from the template.
func (u *User) makeNamespaces(t *template, location string) error {
	if u.info.Home == "" && t.set.Home != "" {
		home, err := u.Expand("mail_home", t.set.Home)
		if err != nil {
			return err
		}
		u.info.Home = home
	}
	escape, err := u.listEscape(&t.box)
	if err != nil {
		return err
	}
	u.escape = escape
	location = cmp.Or(location, t.set.Location)
	for i := range t.set.Namespaces {
		set := &t.set.Namespaces[i]
		if set.Disabled {
			continue
		}
		ns, err := u.makeNamespace(t, set, location)
		if err != nil {
			if set.IgnoreOnFailure {
				continue
			}
			return err
		}
		u.namespaces = append(u.namespaces, ns)
	}
	if len(u.namespaces) == 0 {
		if err := u.makeOnlyNamespace(t, location); err != nil {
			return err
		}
	}
	slices.SortStableFunc(u.namespaces, func(a, b *Namespace) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(len(a.Prefix), len(b.Prefix)))
	})
	if err := u.checkNamespaces(t); err != nil {
		return fmt.Errorf("namespace configuration error: %w", err)
	}
	return nil
}

// onlyNamespace is what a configuration without namespaces means.
var onlyNamespace = namespaceSettings{Type: "private", Inbox: true, List: "yes", Subscriptions: true}

func (u *User) makeOnlyNamespace(t *template, location string) error {
	ns, err := u.makeNamespace(t, &onlyNamespace, location)
	if err == nil {
		u.namespaces = []*Namespace{ns}
		return nil
	}
	text := strings.TrimPrefix(err.Error(), "Namespace '': ")
	if location == "" {
		return fmt.Errorf("mail_location not set and autodetection failed: %s", text)
	}
	return fmt.Errorf("Initializing mail storage from mail_location setting failed: %s", text)
}

var (
	namespaceTypes = map[string]Type{"private": Private, "shared": Shared, "public": Public}
	listModes      = map[string]ListMode{"yes": ListYes, "no": ListNo, "children": ListChildren}
)

func (u *User) makeNamespace(t *template, set *namespaceSettings, location string) (*Namespace, error) {
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
	ns := &Namespace{
		Name: set.Name, Type: namespaceTypes[set.Type], Prefix: prefix, Sep: '/',
		Inbox: set.Inbox, Hidden: set.Hidden, List: listModes[set.List], Order: set.Order,
		subscriptions: set.Subscriptions, log: u.log, set: &t.box, conf: &t.set,
	}
	if len(set.Separator) > 1 {
		return nil, fmt.Errorf("Namespace '%s': Hierarchy separator must be only one character long", prefix)
	}
	if ns.Type == Shared && (strings.Contains(prefix, "%") || strings.Contains(location, "%")) {
		ns.setSeparator(set.Separator)
		err = ns.makeSharedRoot(set, location)
	} else {
		err = u.makeStorage(ns, set, location)
	}
	if err != nil {
		return nil, err
	}
	ns.setMailboxes(set.Mailboxes)
	return ns, nil
}

// makeStorage completes a namespace that is at one place.
func (u *User) makeStorage(ns *Namespace, set *namespaceSettings, location string) (err error) {
	if ns.st, err = parseLocation(location, owner{u.info.Username, u.info.Home}); err == nil {
		err = ns.checkVirtual()
	}
	if err != nil {
		return fmt.Errorf("Namespace '%s': %w", ns.Prefix, err)
	}
	ns.st.minIndex, ns.st.public = int64(ns.set.MboxMinIndexSize), ns.Type == Public
	ns.st.setEscape(u.escape)
	ns.setSeparator(set.Separator)
	return nil
}

// setSeparator sets the separator, by default that of the layout.
func (ns *Namespace) setSeparator(configured string) {
	switch {
	case configured != "":
		ns.Sep = configured[0]
	case ns.st != nil && ns.st.inRoot():
		ns.Sep = '.'
	case ns.st != nil && ns.st.layout == layoutIndex:
		ns.Sep = '~'
	}
	if ns.st != nil {
		ns.st.setSeparator(ns.Sep)
	}
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

// checkNamespaces refuses what cannot work together. The errors are Dovecot's.
func (u *User) checkNamespaces(t *template) error {
	var inboxes, visible, listed, subscriptions int
	sep := byte(0)
	for i, ns := range u.namespaces {
		if u.byPrefix(u.namespaces[i+1:], ns.Prefix) != nil {
			return fmt.Errorf("Duplicate namespace prefix: %q", ns.Prefix)
		}
		if ns.Inbox {
			if inboxes++; inboxes > 1 {
				return fmt.Errorf("There can be only one namespace with inbox=yes")
			}
		}
		if err := u.setAlias(t, ns); err != nil {
			return err
		}
		if err := u.checkListIndex(ns, u.namespaces[i+1:]); err != nil {
			return err
		}
		if !ns.Hidden {
			visible++
		}
		if ns.subscriptions {
			subscriptions++
		}
		if ns.List == ListNo {
			continue
		}
		if ns.List == ListYes {
			listed++
		}
		switch {
		case ns.Prefix != "" && !strings.HasSuffix(ns.Prefix, string(ns.Sep)):
			return fmt.Errorf("list=yes requires prefix=%s to end with separator %c", ns.Prefix, ns.Sep)
		case ns.Prefix != "" && ns.Prefix[0] == ns.Sep:
			return fmt.Errorf("list=yes requires prefix=%s not to start with separator", ns.Prefix)
		case sep != 0 && sep != ns.Sep:
			return fmt.Errorf("All list=yes namespaces must use the same separator")
		}
		sep = ns.Sep
	}
	switch {
	case inboxes == 0:
		return fmt.Errorf("inbox=yes namespace missing")
	case listed == 0:
		return fmt.Errorf("list=yes namespace missing")
	case visible == 0:
		return fmt.Errorf("hidden=no namespace missing")
	case subscriptions == 0:
		return fmt.Errorf("subscriptions=yes namespace missing")
	}
	return nil
}

func (u *User) byPrefix(list []*Namespace, prefix string) *Namespace {
	for _, ns := range list {
		if ns.Prefix == prefix {
			return ns
		}
	}
	return nil
}

// setAlias makes a namespace with alias_for another name of that one.
func (u *User) setAlias(t *template, ns *Namespace) error {
	i := slices.IndexFunc(t.set.Namespaces, func(s namespaceSettings) bool { return s.Name == ns.Name })
	if i < 0 || !t.aliases[ns.Name] {
		return nil
	}
	prefix, err := u.Expand("namespace/"+ns.Name+"/alias_for", t.set.Namespaces[i].AliasFor)
	if err != nil {
		return err
	}
	other := u.byPrefix(u.namespaces, prefix)
	switch {
	case other == nil || other == ns:
		return fmt.Errorf("Invalid namespace alias_for: %s", prefix)
	case t.aliases[other.Name]:
		return fmt.Errorf("Chained namespace alias_for: %s", prefix)
	case ns.st.format != other.st.format:
		return fmt.Errorf("Namespace %s can't have alias_for=%s to a different storage type (%s vs %s)", ns.Prefix, prefix, ns.st.format, other.st.format)
	case ns.st.format == "mdbox" && ns.st.root != other.st.root:
		return fmt.Errorf("Namespace %s can't have alias_for=%s to a different storage (different root dirs)", ns.Prefix, prefix)
	}
	ns.aliasFor = other
	return nil
}

// checkListIndex refuses a list index for two sets of mailboxes.
func (u *User) checkListIndex(ns *Namespace, others []*Namespace) error {
	if ns.shared != nil || ns.conf.ListIndex && len(others) == 0 {
		return nil
	}
	if !ns.conf.ListIndex || ns.st.listIndexPath() == "" {
		if ns.st.layout == layoutIndex {
			return fmt.Errorf("Mailbox list driver index: LAYOUT=index requires mailbox_list_index=yes")
		}
		return nil
	}
	for _, other := range others {
		if other.shared == nil && other.st.listIndexPath() == ns.st.listIndexPath() && filepath.Clean(other.st.boxes()) != filepath.Clean(ns.st.boxes()) {
			return fmt.Errorf("Namespaces '%s' and '%s' have different mailboxes paths, but duplicate LISTINDEX path. Add a unique LISTINDEX=<fname>", ns.Prefix, other.Prefix)
		}
	}
	return nil
}
