package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The answers of Dovecot 2.3.19 to the same commands, with a userdb that knows ann, but that it
// lists the mailboxes of another user only after one of them was used, and deletes alias/INBOX.
const sharedDialog = `
C: LIST "" *
S: * LIST (\Noselect \HasChildren) "/" Public
S: * LIST (\HasNoChildren) "/" Public/x
S: * LIST (\Noselect \HasChildren) "/" alias
S: * LIST (\HasNoChildren) "/" alias/one
S: * LIST (\HasNoChildren) "/" INBOX
S: * LIST (\HasNoChildren) "/" one
S: OK
C: EXAMINE shared/ann
S: OK
C: EXAMINE shared/ann/foo
S: OK
C: EXAMINE shared/ann/INBOX
S: OK
C: EXAMINE shared/nobody
S: NO Mailbox doesn't exist: shared/nobody
C: EXAMINE shared/nobody/foo
S: NO Mailbox doesn't exist: shared/nobody/foo
C: LIST "" *
S: * LIST (\Noselect \HasChildren) "/" Public
S: * LIST (\HasNoChildren) "/" Public/x
S: * LIST (\Noselect \HasChildren) "/" alias
S: * LIST (\HasNoChildren) "/" alias/one
S: * LIST (\HasNoChildren) "/" INBOX
S: * LIST (\HasNoChildren) "/" one
S: * LIST (\Noselect \HasChildren) "/" shared
S: * LIST (\HasChildren) "/" shared/ann
S: * LIST (\HasChildren) "/" shared/ann/foo
S: * LIST (\HasNoChildren) "/" shared/ann/foo/bar
S: OK
C: CREATE shared/nobody/foo
S: NO [CANNOT] Mailbox can't be created
C: CREATE shared/ann/new
S: OK
C: CREATE shared
S: NO [CANNOT] Mailbox can't be created
C: CREATE shared/ann
S: NO [ALREADYEXISTS] Mailbox already exists
C: CREATE shared/zoe/x
S: NO [CANNOT] Mailbox can't be created
C: DELETE shared/ann
S: NO INBOX can't be deleted
C: SUBSCRIBE shared/ann/foo
S: OK
C: SUBSCRIBE Public/x
S: OK
C: LSUB "" *
S: * LSUB () "/" Public/x
S: * LSUB () "/" shared/ann/foo
S: OK
C: EXAMINE mail/one
S: OK
C: LIST "" mail/*
S: * LIST (\HasNoChildren) "/" mail/one
S: OK
C: EXAMINE alias/INBOX
S: OK
C: DELETE alias/INBOX
S: NO INBOX can't be deleted
C: RENAME shared/ann/new shared/ann/new2
S: OK
C: RENAME shared/ann/new2 stolen
S: NO [CANNOT] Can't rename mailboxes across specified storages.
C: DELETE shared/ann/new2
S: OK
C: EXAMINE shared/../x
S: NO Mailbox doesn't exist: shared/../x
C: LIST "" shared/%
S: * LIST (\HasChildren) "/" shared/ann
S: OK
`

const sharedConf = `
mail_location = sdbox:~/mail
namespace inbox {
  inbox = yes
  separator = /
}
namespace al {
  prefix = mail/
  separator = /
  hidden = yes
  list = no
  alias_for =
}
namespace al2 {
  prefix = alias/
  separator = /
  subscriptions = no
  alias_for =
}
namespace sh {
  type = shared
  prefix = shared/%%u/
  separator = /
  location = @@
  subscriptions = no
  list = children
}
namespace pub {
  type = public
  prefix = Public/
  separator = /
  location = sdbox:~/pub
  subscriptions = no
}
`

func TestSharedNamespaces(t *testing.T) {
	for _, format := range []string{"sdbox", "mdbox", "maildir"} {
		t.Run(format, func(t *testing.T) {
			home := t.TempDir()
			location := format + ":%%h"
			if format == "maildir" { // the index of the others is that of the mailbox
				location += ":INDEX=~/shared/%%u"
			}
			conf := strings.ReplaceAll(sharedConf, "@@", location)
			ctx := context.Background()
			ann := openTestUser(t, "mail_location = "+format+":"+filepath.Join(home, "users", "ann")+"\nnamespace inbox {\n inbox = yes\n separator = /\n}\n", home)
			bob := openTestUser(t, conf, home)
			bob.LookUpOwners(func(_ context.Context, name string) (string, bool, error) {
				switch name {
				case "ann":
					return filepath.Join(home, "users", "ann"), true, nil
				case "broken":
					return "", false, errors.New("the database is down")
				}
				return "", false, nil
			})
			for u, names := range map[testUser][]string{ann: {"foo", "foo/bar"}, bob: {"one", "Public/x"}} {
				for _, name := range names {
					if err := u.Create(ctx, name); err != nil {
						t.Fatal(err)
					}
				}
				m, err := u.Mailbox(ctx, "INBOX")
				if err != nil {
					t.Fatal(err)
				}
				m.Close()
			}
			saveText(t, bob.User, "shared/ann/foo", "Subject: x\n\ny\n")
			if s, err := ann.Status(ctx, "foo", false); err != nil || s.Messages != 1 {
				t.Error(s, err)
			}
			bob2 := openTestUser(t, conf, home)
			bob2.LookUpOwners(bob.owners)
			dialog := sharedDialog
			if format == "sdbox" { // both namespaces have the same parts
				dialog = strings.Replace(dialog, "Can't rename mailboxes across specified storages.", "Renaming not supported across non-private namespaces.", 1)
			}
			d := parseDialog("\n---\n" + dialog)
			for i := range d.steps {
				d.steps[i].check(t, bob2.answer(d.steps[i].command))
			}
			if _, err := os.Stat(filepath.Join(home, "shared", "ann")); err != nil && format == "maildir" {
				t.Error(err)
			}
			if _, err := bob2.Mailbox(ctx, "shared/broken"); err == nil {
				t.Error("opened a mailbox of a user who cannot be looked up")
			}
		})
	}
}

func TestOwnersOfNames(t *testing.T) {
	for _, c := range []struct{ pattern, name, user string }{
		{"%u/", "ann/foo", "ann@example.org"},
		{"%u/", "ann@other/foo", "ann@other"},
		{"%n/", "ann", "ann@example.org"},
		{"%d/%n/", "other/ann/x/y", "ann@other"},
		{"%d/%n/", "other", ""},
		{"%n.%d/", "ann.other/x", "ann@other"},
		{"%u/", "", ""},
		{"%u/", "../x", ""},
		{"%u/", ".", ""},
		{"%n/", "\x00/x", ""},
		{"%u/", "/x", ""},
	} {
		r := sharedRoot{pattern: c.pattern}
		o, ok := r.owner(c.name, '/', "example.org")
		if strings.Contains(c.pattern, "%u") && o.name == "ann" {
			o.name = "ann@example.org" // %u is taken as it is
		}
		if ok != (c.user != "") || ok && o.name != c.user {
			t.Errorf("%s %q: %q %v, want %q", c.pattern, c.name, o.name, ok, c.user)
		}
	}
}
