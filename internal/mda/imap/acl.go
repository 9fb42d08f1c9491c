package imap

import (
	"errors"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/acl"
)

// The commands of RFC 4314, which Dovecot's plugin imap_acl adds. Identifiers are those of files
// but for users, who are named without "user=", and groups: "$name", "!$name" for group-override.

var (
	errACLDisabled = bad("ACLs disabled.")
	errNotAdmin    = &reply{cond: condNo, code: "[NOPERM] ", text: "You lack administrator privileges on this mailbox."}
	errDenied      = &reply{cond: condNo, code: "[NOPERM] ", text: "Permission denied"}
	errNoOwner     = &reply{cond: condNo, text: "Public namespaces have no owner"}
)

// ignoreDenied has an EXPUNGE succeed that was not permitted: clients expunge without being asked to.
func (c *command) ignoreDenied(err error) error {
	var se *store.Error
	if !errors.As(err, &se) || se.Code != store.CodeNoPerm {
		return err
	}
	c.text = "Expunge ignored: " + se.Text
	return nil
}

// aclArgs reads the n arguments of a command about access lists.
func (c *command) aclArgs(n int) ([]string, error) {
	if !c.user.HasPlugin("imap_acl") {
		return nil, errUnknownCommand
	}
	args, err := c.dec.Args(0)
	if err != nil {
		return nil, err
	}
	list := make([]string, 0, n)
	for ; len(list) < n; args = args.Rest() {
		if len(args) == 0 {
			return nil, errMissing
		}
		raw, ok := args[0].AString()
		if !ok {
			return nil, errArguments
		}
		list = append(list, string(raw))
	}
	return list, nil
}

// aclOf looks up the list of a mailbox, whose name is as the client wrote it.
func (c *command) aclOf(wire string) (*store.MailboxACL, error) {
	name, err := c.decodeName([]byte(wire))
	if err != nil {
		return nil, err
	}
	if !c.user.HasACL() {
		return nil, errACLDisabled
	}
	return c.user.ACLOf(c.ctx, name)
}

// governed is aclOf for who may see and change the list.
func (c *command) governed(wire string) (*store.MailboxACL, error) {
	m, err := c.aclOf(wire)
	switch {
	case err != nil:
		return nil, err
	case m.Exists && m.May.Has(acl.Admin):
		return m, nil
	case m.Exists && m.May.Has(acl.Lookup):
		return nil, errNotAdmin
	}
	return nil, noSuchBox(wire)
}

func noSuchBox(wire string) error {
	return &reply{cond: condNo, code: "[NONEXISTENT] ", text: "Mailbox doesn't exist: " + wire}
}

// getACL is GETACL (RFC 4314 3.3).
func (c *command) getACL() error {
	args, err := c.aclArgs(1)
	if err != nil {
		return err
	}
	m, err := c.governed(args[0])
	if err != nil {
		return err
	}
	l, err := m.List()
	if err != nil {
		return err
	}
	b := append(c.buf(), "* ACL "...)
	b = c.appendEcho(b, args[0])
	b = appendACL(b, l, m)
	return c.put(append(b, "\r\n"...))
}

// isOwner reports whether an entry is about the owner, or the user by name.
func isOwner(id acl.ID, who *acl.Identity) bool {
	return id.Kind == acl.Owner || id.Kind == acl.User && id.Name == who.User
}

// appendACL appends the entries. The owner is told by name, unless there are entries for both; in
// private namespaces the rights are told that he has without an entry.
func appendACL(b []byte, l acl.List, m *store.MailboxACL) []byte {
	owners, positive := 0, false
	for i := range l {
		if isOwner(l[i].ID, m.Who) {
			owners++
			positive = positive || l[i].Rights != nil
		}
	}
	self := acl.ID{Kind: acl.User, Name: m.Who.User}
	if owners > 1 {
		self.Kind, self.Name = acl.Owner, ""
	}
	for i := range l {
		e := l[i]
		if e.Kind == acl.Owner {
			e.ID = self
		}
		if e.Rights != nil {
			b = appendACLEntry(b, &e, "", e.Rights)
		}
		if e.Negative != nil {
			b = appendACLEntry(b, &e, "-", e.Negative)
		}
	}
	if !positive && m.Type == store.Private {
		b = appendACLEntry(b, &acl.Entry{ID: self}, "", m.Who.Default().Names())
	}
	return b
}

func appendACLEntry(b []byte, e *acl.Entry, sign string, rights []string) []byte {
	id := e.Name
	switch e.Kind {
	case acl.Group:
		id = "$" + id
	case acl.GroupOverride:
		id = "!$" + id
	case acl.User:
	default:
		id = e.ID.String()
	}
	if e.Global {
		id = "#" + id
	}
	b = imapwire.AppendAString(append(b, ' '), sign+id)
	return appendLetters(append(b, ' '), rights)
}

// appendLetters appends rights, with the obsolete ones of RFC 2086 that they amount to (RFC 4314 2.1.1).
func appendLetters(b []byte, rights []string) []byte {
	start := len(b)
	for _, name := range rights {
		if letter, ok := acl.Letter(name); ok {
			b = append(b, letter)
		}
	}
	letters := string(b[start:])
	if strings.ContainsAny(letters, "kx") {
		b = append(b, 'c')
	}
	if strings.ContainsAny(letters, "te") {
		b = append(b, 'd')
	}
	if len(b) == start {
		b = append(b, `""`...)
	}
	return b
}

// myRights is MYRIGHTS (RFC 4314 3.5). Who may only deliver does not learn that the mailbox exists.
func (c *command) myRights() error {
	args, err := c.aclArgs(1)
	if err != nil {
		return err
	}
	m, err := c.aclOf(args[0])
	if err != nil {
		return err
	}
	if rights := m.Mine.Names(); len(rights) == 0 || slices.Equal(rights, []string{"post"}) {
		return noSuchBox(args[0])
	}
	b := append(c.buf(), "* MYRIGHTS "...)
	b = c.appendEcho(b, args[0])
	b = appendLetters(append(b, ' '), m.Mine.Names())
	return c.put(append(b, "\r\n"...))
}

// listRights is LISTRIGHTS (RFC 4314 3.7): each right can be given by itself.
func (c *command) listRights() error {
	args, err := c.aclArgs(2)
	if err != nil {
		return err
	}
	if _, err := c.decodeName([]byte(args[0])); err != nil {
		return err
	}
	b := append(c.buf(), "* LISTRIGHTS "...)
	b = c.appendEcho(b, args[0])
	b = c.appendEcho(append(b, ' '), args[1])
	return c.put(append(b, " \"\" l r w s t p i e k x a c d\r\n"...))
}

// aclID reads an identifier. With given set it is about to get rights, which everybody gets only where
// acl_anyone says so.
func (c *command) aclID(text string, given bool) (acl.ID, error) {
	if strings.HasPrefix(text, "#") {
		return acl.ID{}, bad("Global ACLs can't be modified: " + text)
	}
	switch text {
	case "anyone", "authenticated":
		if given && !c.user.AnyoneACL() {
			return acl.ID{}, bad("'" + text + "' identifier is disallowed")
		}
		return acl.ParseID(text)
	case "owner":
		return acl.ParseID(text)
	}
	if name, ok := strings.CutPrefix(text, "$"); ok {
		return acl.ID{Kind: acl.Group, Name: name}, nil
	}
	if name, ok := strings.CutPrefix(text, "!$"); ok {
		return acl.ID{Kind: acl.GroupOverride, Name: name}, nil
	}
	return acl.ID{Kind: acl.User, Name: text}, nil
}

// parseLetters reads rights.
func parseLetters(text string) ([]string, error) {
	rights := []string{}
	for i := range len(text) {
		if name, ok := acl.NameOf(text[i]); ok {
			rights = append(rights, name)
			continue
		}
		switch text[i] {
		case 'c':
			rights = append(rights, "create", "delete")
		case 'd':
			rights = append(rights, "expunge", "write-deleted")
		default:
			return nil, bad("Invalid ACL right: " + text[i:i+1])
		}
	}
	return rights, nil
}

// setACL is SETACL (RFC 4314 3.1).
func (c *command) setACL() error {
	args, err := c.aclArgs(3)
	if err != nil {
		return err
	}
	box, id, letters := args[0], args[1], args[2]
	if id == "" {
		return errArguments
	}
	u := acl.Update{Mode: acl.Replace}
	id, negative := strings.CutPrefix(id, "-")
	if rest, ok := strings.CutPrefix(letters, "-"); ok {
		u.Mode, letters = acl.Remove, rest
	} else if rest, ok := strings.CutPrefix(letters, "+"); ok {
		u.Mode, letters = acl.Add, rest
	}
	if u.ID, err = c.aclID(id, true); err != nil {
		return err
	}
	if u.Rights, err = parseLetters(letters); err != nil {
		return err
	}
	m, err := c.governed(box)
	if err != nil {
		return err
	}
	if m.Type == store.Public && u.Kind == acl.Owner {
		return errNoOwner
	}
	if negative {
		u.NegativeMode, u.Negative = u.Mode, u.Rights
		u.Mode, u.Rights = acl.Leave, nil
	} else if m.Type == store.Private && (u.Kind == acl.User && u.Name == m.Who.User || u.Kind == acl.Owner && m.Who.User == c.user.Info().Username) {
		if err := keepAdmin(&u, m); err != nil {
			return err
		}
	}
	return m.Update(c.ctx, &u)
}

// keepAdmin sees to it that nobody locks himself out of his own mailbox.
func keepAdmin(u *acl.Update, m *store.MailboxACL) error {
	const admin = "admin"
	switch u.Mode {
	case acl.Add:
		l, err := m.List()
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(l, func(e acl.Entry) bool { return isOwner(e.ID, m.Who) && e.Rights != nil }) {
			u.Rights = append(u.Rights, m.Who.Default().Names()...) // the entry is to add to what he has
		}
	case acl.Remove:
		if i := slices.Index(u.Rights, admin); i >= 0 {
			u.Rights = slices.Delete(u.Rights, i, i+1)
		}
	case acl.Replace:
		if !slices.Contains(u.Rights, admin) {
			u.Rights = append(u.Rights, admin)
		}
	}
	return nil
}

// deleteACL is DELETEACL (RFC 4314 3.2).
func (c *command) deleteACL() error {
	args, err := c.aclArgs(2)
	if err != nil {
		return err
	}
	if args[1] == "" {
		return errArguments
	}
	var u acl.Update
	id, negative := strings.CutPrefix(args[1], "-")
	if negative {
		u.NegativeMode = acl.Clear
	} else {
		u.Mode = acl.Clear
	}
	if u.ID, err = c.aclID(id, false); err != nil {
		return err
	}
	m, err := c.governed(args[0])
	if err != nil {
		return err
	}
	return m.Update(c.ctx, &u)
}
