package doveadm

import (
	"context"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/acl"
)

// The commands about access lists. They look at a user's lists as an administrator, who needs no rights.
var aclCommands = []*command{
	{
		name: "acl get", usage: "[-m] <mailbox>", format: "table",
		params: mailParams(flag('m', "match-me"), argument("mailbox")),
		mail:   prepareACLGet,
	},
	{name: "acl rights", usage: "<mailbox>", format: "table", params: mailParams(argument("mailbox")), mail: prepareACLRights},
	aclChange("set", acl.Replace),
	aclChange("add", acl.Add),
	aclChange("remove", acl.Remove),
	{
		name: "acl delete", usage: "<mailbox> <id>", params: mailParams(argument("mailbox"), argument("id")),
		mail: func(in *invocation) (runFunc, error) { return prepareACLChange(in, acl.Clear) },
	},
	{name: "acl recalc", params: mailParams(), mail: prepareACLRecalc},
	{name: "acl debug", usage: "<mailbox>", params: mailParams(argument("mailbox")), mail: prepareACLDebug},
}

func aclChange(name string, mode acl.Mode) *command {
	return &command{
		name: "acl " + name, usage: "<mailbox> <id> <right> [<right> ...]",
		params: mailParams(argument("mailbox"), argument("id"), arguments("right")),
		mail:   func(in *invocation) (runFunc, error) { return prepareACLChange(in, mode) },
	}
}

// aclOf looks up the list of a mailbox.
func (u *mailUser) aclOf(ctx context.Context, name string) (*store.MailboxACL, error) {
	if !u.HasACL() {
		return nil, withStatus(exNotFound, "ACL not enabled for %s", u.Info().Username)
	}
	m, err := u.ACLOf(ctx, name)
	if err == nil && !m.Exists {
		err = &store.Error{Code: store.CodeNonExistent, Text: "Mailbox doesn't exist: " + name}
	}
	if err != nil {
		return nil, failed(err, "Can't open mailbox %s", name)
	}
	return m, nil
}

func prepareACLGet(in *invocation) (runFunc, error) {
	name, ok := in.text("mailbox")
	if !ok {
		return nil, errUsage
	}
	in.titled("id", "ID", 0)
	in.titled("global", "Global", 0)
	in.titled("rights", "Rights", 0)
	onlyMine := in.set("match-me")
	return func(ctx context.Context, u *mailUser) error {
		m, err := u.aclOf(ctx, name)
		if err != nil {
			return err
		}
		l, err := m.List()
		if err != nil {
			return failed(err, "ACL iteration failed")
		}
		for i := range l {
			e := &l[i]
			if onlyMine && !m.Who.Matches(e.ID) {
				continue
			}
			global := ""
			if e.Global {
				global = "global"
			}
			u.print(e.ID.String())
			u.print(global)
			u.print(e.Text())
		}
		return nil
	}, nil
}

func prepareACLRights(in *invocation) (runFunc, error) {
	name, ok := in.text("mailbox")
	if !ok {
		return nil, errUsage
	}
	in.titled("rights", "Rights", 0)
	return func(ctx context.Context, u *mailUser) error {
		m, err := u.aclOf(ctx, name)
		if err == nil {
			u.print(strings.Join(m.Mine.Names(), " "))
		}
		return err
	}, nil
}

func prepareACLChange(in *invocation, mode acl.Mode) (runFunc, error) {
	name, ok1 := in.text("mailbox")
	id, ok2 := in.text("id")
	rights := in.array("right")
	if !ok1 || !ok2 || mode != acl.Clear && len(rights) == 0 {
		return nil, errUsage
	}
	return func(ctx context.Context, u *mailUser) error {
		m, err := u.aclOf(ctx, name)
		if err != nil {
			return err
		}
		change, err := acl.NewUpdate(id, rights, mode)
		if err != nil {
			return fatalf(exUsage, "%v", err)
		}
		if err := m.Update(ctx, &change); err != nil {
			return failed(err, "Failed to set ACL")
		}
		return nil
	}, nil
}

func prepareACLRecalc(*invocation) (runFunc, error) {
	return func(ctx context.Context, u *mailUser) error {
		if !u.HasACL() {
			return withStatus(exNotFound, "ACL not enabled for %s", u.Info().Username)
		}
		if err := u.RebuildACLDict(ctx); err != nil {
			return withStatus(exTempFail, "Failed to recalculate ACL dicts: %v", err)
		}
		return nil
	}, nil
}

// prepareACLDebug says why a mailbox is, or is not, listed.
func prepareACLDebug(in *invocation) (runFunc, error) {
	name, ok := in.text("mailbox")
	if !ok {
		return nil, errUsage
	}
	return func(ctx context.Context, u *mailUser) error {
		m, err := u.aclOf(ctx, name)
		if statusOf(err) == exNotFound && u.HasACL() {
			ns, _ := u.Namespace(name)
			if path, err := u.Path(name, "mailbox"); err == nil && ns != nil {
				return withStatus(exNotFound, "Mailbox '%s' in namespace '%s' doesn't exist in %s", strings.TrimPrefix(name, ns.Prefix), ns.Prefix, path)
			}
		}
		if err != nil {
			return err
		}
		visible, err := u.debugACL(ctx, m)
		if err != nil {
			return err
		}
		not := "NOT "
		if visible {
			not = ""
		}
		u.in.log.infof("Mailbox %s is %svisible in LIST", name, not)
		return nil
	}, nil
}

func (u *mailUser) debugACL(ctx context.Context, m *store.MailboxACL) (visible bool, err error) {
	log, user := u.in.log, u.Info().Username
	ns, _ := u.Namespace(m.Name)
	log.infof("Mailbox '%s' is in namespace '%s'", strings.TrimPrefix(m.Name, ns.Prefix), ns.Prefix)
	if path, err := u.Path(m.Name, "mailbox"); err == nil && path != "" {
		log.infof("Mailbox path: %s", path)
	}
	log.infof("All message flags are shared across users in mailbox")
	if rights := m.Mine.Names(); len(rights) == 0 {
		log.infof("User %s has no rights for mailbox", user)
	} else {
		log.infof("User %s has rights: %s", user, strings.Join(rights, " "))
	}
	switch {
	case !m.Mine.Has(acl.Lookup):
		log.errorf("User %s is missing 'lookup' right", user)
		return false, nil
	case m.Type == store.Private:
		log.infof("Mailbox in user's private namespace")
		return true, nil
	case m.Type == store.Public:
		log.infof("Mailbox is in public namespace")
		return true, nil
	}
	found, err := u.SharesACL(ctx, m)
	if err == nil && !found {
		log.errorf("User %s not found from ACL shared dict", m.OwnerName())
	}
	return found, err
}
