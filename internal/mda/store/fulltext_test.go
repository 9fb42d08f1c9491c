package store

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/mda/store/fts"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

const ftsConf = plainConf + `mail_plugins = fts
plugin {
  fts = flatcurve
  fts_autoindex = yes
  fts_autoindex_exclude = Trash
  fts_autoindex_exclude2 = Spam*
}
`

// indexedTo returns up to which UID the mailbox is in its full-text index, 0 without one.
func indexedTo(t *testing.T, m *mailbox.Mailbox) uint32 {
	t.Helper()
	if _, err := os.Stat(filepath.Join(m.IndexDir(), fts.Name)); err != nil {
		return 0
	}
	ix, err := fts.Open(t.Context(), m.IndexDir(), m.Snapshot().UIDValidity(), m.Snapshot().UIDNext())
	if err != nil {
		t.Fatal(err)
	}
	defer ix.Close()
	return ix.Last()
}

// New messages are indexed at once, except for those of mailboxes that are excluded.
func TestAutoindex(t *testing.T) {
	u := openTestUser(t, ftsConf, t.TempDir())
	excluded := []*mailbox.Mailbox{openBox(t, u, "Trash"), openBox(t, u, "Spam2")}
	a, b := openBox(t, u, "A"), openBox(t, u, "B")
	for _, m := range append(excluded, a) {
		saveTest(t, m, "Subject: x\n\n")
	}
	if _, err := a.Copy(context.Background(), []uint32{1}, b); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*mailbox.Mailbox{a, b} {
		for end := time.Now().Add(time.Minute); indexedTo(t, m) != 1; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the messages of %s are not indexed", m.Location().Name)
			}
		}
	}
	for _, m := range excluded { // they came first
		if n := indexedTo(t, m); n != 0 {
			t.Errorf("%s is indexed up to %d", m.Location().Name, n)
		}
	}
}

// Mistakes in the settings are told.
func TestFullTextSettings(t *testing.T) {
	for _, setting := range []string{"fts_index_timeout = 5 fortnights", "fts_message_max_size = many", "fts_autoindex_max_recent_msgs = -1"} {
		cfg, err := dovecot.Parse("dovecot.conf", ftsConf+"plugin {\n "+setting+"\n}\n")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := OpenUser(t.Context(), cfg, UserInfo{Username: "bob", Home: t.TempDir(), Service: "imap"}, mailbox.NewPool(nil), nil); err == nil {
			t.Errorf("%s is accepted", setting)
		}
	}
}
