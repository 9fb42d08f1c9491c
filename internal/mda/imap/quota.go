package imap

import (
	"errors"
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// The commands of RFC 9208, which Dovecot's plugin imap_quota adds.

var (
	errNoQuotaRoot   = &reply{cond: condNo, text: "Quota root doesn't exist."}
	errQuotaInternal = &reply{cond: condNo, text: "Internal quota calculation error."}
	errQuotaOthers   = &reply{cond: condNo, text: "Not showing other users' quota."}
	errQuotaAdmin    = &reply{cond: condNo, text: "Quota can be changed only by admin."}
)

const textNoQuota = "No quota."

// quotaArgs reads the arguments of a command of the plugin, of which there must be so many.
func (c *command) quotaArgs(n int) (imapwire.Args, string, error) {
	if !c.user.HasPlugin("imap_quota") {
		return nil, "", errUnknownCommand
	}
	args, err := c.dec.Args(0)
	if err != nil {
		return nil, "", err
	}
	if args.Count() < n {
		return nil, "", errMissing
	}
	name, ok := args[0].AString()
	if !ok {
		return nil, "", errArguments
	}
	return args.Rest(), string(name), nil
}

// getQuotaRoot is GETQUOTAROOT (RFC 9208 4.1.2).
func (c *command) getQuotaRoot() error {
	_, wire, err := c.quotaArgs(1)
	if err != nil {
		return err
	}
	name, err := c.decodeName([]byte(wire))
	if err != nil {
		return err
	}
	ns, ok := c.user.Namespace(name)
	if !ok {
		return noSuchBox(name)
	}
	switch {
	case !c.user.HasQuota():
		c.text = textNoQuota
		return nil
	case ns.Type == store.Shared:
		return errQuotaOthers
	}
	roots := append([]byte(nil), "* QUOTAROOT "...)
	roots = c.appendEcho(roots, wire)
	var quotas []byte
	for _, r := range c.user.QuotaRootsOf(ns) {
		if r.Hidden {
			continue
		}
		roots = imapwire.AppendAString(append(roots, ' '), r.Name)
		if quotas, err = c.appendQuota(quotas, r); err != nil {
			return err
		}
	}
	if len(quotas) == 0 {
		c.text = textNoQuota
		return nil
	}
	return c.write(string(roots) + "\r\n" + string(quotas))
}

// appendQuota appends a QUOTA reply, unless there are no limits.
func (c *command) appendQuota(b []byte, r *store.QuotaRoot) ([]byte, error) {
	list, err := r.Resources(c.ctx)
	if err != nil {
		c.log.Errorf("Failed to get quota resource: %v", err)
		return nil, errQuotaInternal
	}
	limited := false
	for _, res := range list {
		if res.Limit == 0 {
			continue
		}
		if !limited {
			b = imapwire.AppendAString(append(b, "* QUOTA "...), r.Name)
			b = append(b, " ("...)
		} else {
			b = append(b, ' ')
		}
		limited = true
		b = append(append(b, res.Name...), ' ')
		b = append(strconv.AppendInt(b, res.Value, 10), ' ')
		b = strconv.AppendInt(b, res.Limit, 10)
	}
	if limited {
		b = append(b, ")\r\n"...)
	}
	return b, nil
}

// quotaRoot returns the root with a name.
func (c *command) quotaRoot(name string) (*store.QuotaRoot, error) {
	r, err := c.user.QuotaRoot(name)
	switch {
	case err != nil:
		c.log.Errorf("quota: %v", err)
		return nil, errQuotaInternal
	case r == nil:
		return nil, errNoQuotaRoot
	}
	return r, nil
}

// getQuota is GETQUOTA (RFC 9208 4.1.1).
func (c *command) getQuota() error {
	_, name, err := c.quotaArgs(1)
	if err != nil {
		return err
	}
	r, err := c.quotaRoot(name)
	if err != nil {
		return err
	}
	b, err := c.appendQuota(nil, r)
	if err != nil {
		return err
	}
	return c.write(string(b))
}

// setQuota is SETQUOTA (RFC 9208 4.1.3). The limits are the dictionary's of the setting quota_set.
func (c *command) setQuota() error {
	args, name, err := c.quotaArgs(2)
	if err != nil {
		return err
	}
	if args[0].Kind != imapwire.List {
		return errArguments
	}
	if !c.user.Admin() {
		return errQuotaAdmin
	}
	r, err := c.quotaRoot(name)
	if err != nil {
		return err
	}
	for list := args.List(); len(list) > 0; list = list.Rest().Rest() {
		if list.Count() < 2 || list[0].Kind != imapwire.Atom || list.Rest()[0].Kind != imapwire.Atom {
			return errArguments
		}
		value, err := strconv.ParseUint(string(list.Rest()[0].Data), 10, 64)
		if err != nil {
			return errArguments
		}
		if err := r.SetLimit(c.ctx, string(list[0].Data), value); err != nil {
			return c.notLimited(err)
		}
	}
	return nil
}

// notLimited answers BAD where a limit could not be set, whatever the reason, as Dovecot does.
func (c *command) notLimited(err error) error {
	var se *store.Error
	if !errors.As(err, &se) {
		return err
	}
	if se.Err != nil {
		c.log.Errorf("quota: %v", se.Err)
	}
	return bad(se.Text)
}
