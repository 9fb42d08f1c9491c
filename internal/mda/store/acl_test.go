package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store/acl"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

const aclConf = `mail_location = sdbox:DIR/%u
mail_fsync = never
mail_plugins = acl
plugin {
  acl = vfile
  acl_shared_dict = file:DIR/dict
}
namespace inbox {
  inbox = yes
  separator = /
}
namespace shared {
  type = shared
  prefix = shared/%%u/
  separator = /
  location = sdbox:DIR/%%u
  subscriptions = no
}
`

// aclSite opens users whose mail is in one directory.
func aclSite(t *testing.T, conf string) func(name string, fields map[string]string) *User {
	t.Helper()
	cfg, err := dovecot.Parse("acl.conf", conf)
	if err != nil {
		t.Fatal(err)
	}
	log := maillog.NewFunc(func(level maillog.Level, text string) {
		if level == maillog.Error {
			t.Error(text)
		}
	})
	pool := mailbox.NewPool(log)
	t.Cleanup(func() { pool.Close() })
	return func(name string, fields map[string]string) *User {
		t.Helper()
		u, err := OpenUser(context.Background(), cfg, UserInfo{Username: name, Home: t.TempDir(), Service: "imap", Fields: fields}, pool, log)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(u.Close)
		return u
	}
}

func toldOf(t *testing.T, u *User, pattern string) (names []string) {
	t.Helper()
	entries, err := u.List(context.Background(), ListQuery{Patterns: []string{pattern}, Return: ReturnChildren | ReturnSpecialUse})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name)
	}
	return names
}

func give(t *testing.T, u *User, box, id string, rights ...string) {
	t.Helper()
	m, err := u.ACLOf(context.Background(), box)
	if err != nil {
		t.Fatal(err)
	}
	change, err := acl.NewUpdate(id, rights, acl.Replace)
	if err == nil {
		err = m.Update(context.Background(), &change)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestACLShared shares a mailbox and takes it back: at each moment another user sees and may do what he was
// given, and a third one nothing.
func TestACLShared(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	open := aclSite(t, strings.ReplaceAll(aclConf, "DIR", dir))
	alice, bob, eve := open("alice", nil), open("bob", nil), open("eve", map[string]string{"acl_groups": "staff,ops"})
	for _, name := range []string{"work", "work/deep"} {
		if err := alice.Create(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	const box = "shared/alice/work"
	// can returns why a user cannot open the mailbox in each of the ways there are.
	can := func(u *User) string {
		var can []string
		for way, open := range map[string]func(context.Context, string) (*mailbox.Mailbox, error){"read": u.Mailbox, "save": u.MailboxToSave, "post": u.MailboxToDeliver} {
			m, err := open(ctx, box)
			known := (*Error)(nil)
			switch {
			case err == nil:
				m.Close()
				can = append(can, way)
			case !errors.As(err, &known):
				t.Fatal(err)
			case known.Code == CodeNoPerm:
				can = append(can, way+" denied")
			case !errors.Is(err, mailbox.ErrNotExist):
				t.Fatal(err)
			}
		}
		slices.Sort(can)
		return strings.Join(can, ", ")
	}
	steps := []struct {
		id       string
		rights   []string
		bob, eve string
		listed   []string // by bob
	}{
		{"user=bob", nil, "", "", nil},
		{"user=bob", []string{"lookup", "read"}, "post denied, read, save denied", "", []string{"shared", "shared/alice", box}},
		{"user=bob", []string{"insert"}, "save", "", nil},
		{"user=bob", []string{"post"}, "post", "", nil},
		{"group=staff", []string{"lookup", "insert"}, "post", "post denied, read denied, save", nil},
		{"user=bob", nil, "", "post denied, read denied, save", nil},
		{"anyone", []string{"lookup", "read"}, "post denied, read, save denied", "post denied, read denied, save", []string{"shared", "shared/alice", box}},
		{"anyone", nil, "", "post denied, read denied, save", nil},
	}
	for i, s := range steps {
		if i > 0 {
			give(t, alice, "work", s.id, s.rights...)
		}
		if got := can(bob); got != s.bob {
			t.Errorf("step %d: bob can %q, want %q", i, got, s.bob)
		}
		if got := can(eve); got != s.eve {
			t.Errorf("step %d: eve can %q, want %q", i, got, s.eve)
		}
		fresh := open("bob", nil)
		if got := slices.DeleteFunc(toldOf(t, fresh, "*"), func(n string) bool { return !strings.HasPrefix(n, "shared") }); !slices.Equal(got, s.listed) {
			t.Errorf("step %d: bob is told of %q, want %q", i, got, s.listed)
		}
		if _, err := fresh.Status(ctx, box, false); (err == nil) != strings.Contains(s.bob+",", "read,") {
			t.Errorf("step %d: STATUS for bob: %v", i, err)
		}
		for _, err := range []error{bob.Delete(ctx, box), bob.Rename(ctx, box, "shared/alice/mine"), bob.Create(ctx, box+"/new"), bob.Create(ctx, "shared/alice/new")} {
			if err == nil {
				t.Errorf("step %d: bob could change the mailboxes", i)
			}
		}
	}
}

// TestACLStaleDict shows that a dictionary, which says who shares, gives no rights: nothing is told of who shares nothing.
func TestACLStaleDict(t *testing.T) {
	dir := t.TempDir()
	open := aclSite(t, strings.ReplaceAll(aclConf, "DIR", dir))
	if err := open("alice", nil).Create(context.Background(), "work"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "dict"), []byte("shared/shared-boxes/user/bob/alice\n1\nshared/shared-boxes/anyone/nobody\n1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := toldOf(t, open("bob", nil), "*"); !slices.Equal(got, []string{"INBOX"}) {
		t.Errorf("bob is told of %q", got)
	}
}

// TestACLHandle shows that what is done through a handle needs the rights, and that they are looked at each time.
func TestACLHandle(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	open := aclSite(t, strings.ReplaceAll(aclConf, "DIR", dir))
	alice, bob := open("alice", nil), open("bob", nil)
	if err := alice.Create(ctx, "work"); err != nil {
		t.Fatal(err)
	}
	give(t, alice, "work", "user=bob", "all")
	m, err := bob.Mailbox(ctx, "shared/alice/work")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	save := func(m *mailbox.Mailbox) error {
		s, err := m.Save(ctx, mailbox.SaveOptions{Flags: mailbox.Seen | mailbox.Deleted | mailbox.Flagged, Keywords: []string{"kw"}})
		if err != nil {
			return err
		}
		if _, err := s.Write([]byte("Subject: x\n\n")); err != nil {
			t.Fatal(err)
		}
		_, err = s.Commit(ctx)
		return err
	}
	flags := func(i int) (mailbox.Flags, int) {
		snap, err := m.Sync(ctx)
		if err != nil || snap.Len() <= i {
			t.Fatal(i, snap.Len(), err)
		}
		return snap.Flags(i), len(snap.Keywords(i))
	}
	if err := save(m); err != nil {
		t.Fatal(err)
	}
	if f, kw := flags(0); f != mailbox.Seen|mailbox.Deleted|mailbox.Flagged || kw != 1 {
		t.Errorf("with all rights: flags %x, %d keywords", f, kw)
	}
	give(t, alice, "work", "user=bob", "lookup", "read", "insert", "write-seen")
	if err := save(m); err != nil {
		t.Fatal(err)
	}
	if f, kw := flags(1); f != mailbox.Seen || kw != 0 {
		t.Errorf("saved with write-seen only: flags %x, %d keywords", f, kw)
	}
	for _, op := range []mailbox.FlagOp{mailbox.FlagsAdd, mailbox.FlagsRemove, mailbox.FlagsReplace} {
		if _, err := m.SetFlags(ctx, mailbox.FlagChange{UIDs: []uint32{1}, Op: op, Flags: mailbox.Deleted | mailbox.Draft, Keywords: []string{"other"}, UnchangedSince: mailbox.Unconditional}); err != nil {
			t.Fatal(err)
		}
		want := mailbox.Seen | mailbox.Deleted | mailbox.Flagged
		if op == mailbox.FlagsReplace {
			want &^= mailbox.Seen
		}
		if f, kw := flags(0); f != want || kw != 1 {
			t.Errorf("operation %d with write-seen only: flags %x, want %x, %d keywords", op, f, want, kw)
		}
	}
	denied := func(what string, err error) {
		t.Helper()
		if known := (*Error)(nil); !errors.As(err, &known) || known.Code != CodeNoPerm {
			t.Errorf("%s: %v, want Permission denied", what, err)
		}
	}
	inbox, err := bob.Mailbox(ctx, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	defer inbox.Close()
	denied("expunge", m.Expunge(ctx, []uint32{1}))
	denied("expunge of deleted", m.ExpungeDeleted(ctx, []uint32{1}))
	_, err = m.Move(ctx, []uint32{1}, inbox)
	denied("move", err)
	denied("update", m.Update(ctx, mailbox.Update{NextUID: 100}))
	if s := inbox.Snapshot(); s.Len() != 0 {
		t.Errorf("a move that was refused left %d copies", s.Len())
	}
	give(t, alice, "work", "user=bob", "lookup", "read")
	denied("save", save(m))
	if err := save(inbox); err != nil {
		t.Fatal(err)
	}
	_, err = inbox.Copy(ctx, []uint32{1}, m)
	denied("copy", err)
}

// TestACLBroken shows that nobody gets in by a list that cannot be read or understood.
func TestACLBroken(t *testing.T) {
	ctx := context.Background()
	for name, text := range map[string]string{
		"a letter that is none": "user=bob lrq\n", "an identifier that is none": "user=bob lr\nbob lr\n", "a quote": "\"user=bob lr\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			open := aclSite(t, strings.ReplaceAll(aclConf, "DIR", dir))
			alice, bob := open("alice", nil), open("bob", nil)
			if err := alice.Create(ctx, "work"); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "alice/mailboxes/work/dbox-Mails/dovecot-acl")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, open := range []func(context.Context, string) (*mailbox.Mailbox, error){bob.Mailbox, bob.MailboxToSave, bob.MailboxToDeliver} {
				if _, err := open(ctx, "shared/alice/work"); err == nil {
					t.Error("it can be opened")
				}
			}
			if _, err := bob.Status(ctx, "shared/alice/work", false); err == nil {
				t.Error("it has a status")
			}
		})
	}
	for _, value := range []string{"file", "vfile:/x:cache_secs=y", "vfile::other=1"} {
		cfg, err := dovecot.Parse("acl.conf", strings.ReplaceAll(strings.ReplaceAll(aclConf, "acl = vfile", "acl = "+value), "DIR", t.TempDir()))
		if err != nil {
			t.Fatal(err)
		}
		log := maillog.NewFunc(func(maillog.Level, string) {})
		pool := mailbox.NewPool(log)
		defer pool.Close()
		if _, err := OpenUser(ctx, cfg, UserInfo{Username: "bob"}, pool, log); err == nil {
			t.Errorf("acl = %s was taken", value)
		}
	}
}
