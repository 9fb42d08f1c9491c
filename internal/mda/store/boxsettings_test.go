package store

import (
	"testing"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// Settings of mailboxes may depend on the user, by variables and userdb fields; otherwise all
// users share them.
func TestBoxSettings(t *testing.T) {
	cfg, err := dovecot.Parse("/test.conf", "mail_location = sdbox:~/mail\nmail_plugins = zlib\nmail_attachment_dir = ~/attachments/%d\nplugin {\n  zlib_save = gz\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	pool := mailbox.NewPool(nil)
	defer pool.Close()
	open := func(name, home string, fields map[string]string) *mailbox.Settings {
		t.Helper()
		u, err := OpenUser(t.Context(), cfg, UserInfo{Username: name, Home: home, Service: "imap", Fields: fields}, pool, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		return u.set
	}
	a, b := open("a@one.example", "/home/a", nil), open("b@two.example", "/home/b", map[string]string{"zlib_save": "zstd", "zlib_save_level": "7"})
	if a.AttachmentDir != "/home/a/attachments/one.example" || b.AttachmentDir != "/home/b/attachments/two.example" {
		t.Errorf("attachments in %s and %s", a.AttachmentDir, b.AttachmentDir)
	}
	for set, want := range map[*mailbox.Settings]string{a: "gz", b: "zstd"} {
		if m, _, err := set.Compression(); err != nil || m == nil || m.Name != want {
			t.Errorf("compression %+v, %v; want %s", m, err, want)
		}
	}
}
