package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// virtualUser opens a user with a namespace of virtual mailboxes.
func virtualUser(t *testing.T, plugins, home, namespace string) (*User, error) {
	t.Helper()
	cfg, err := dovecot.Parse("dovecot.conf", plainConf+"mail_plugins = "+plugins+"\nnamespace a {\n inbox = yes\n}\nnamespace v {\n separator = /\n "+
		strings.ReplaceAll(namespace, "; ", "\n ")+"\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	return OpenUser(context.Background(), cfg, UserInfo{Username: "bob", Home: home}, nil, nil)
}

func TestVirtualNamespace(t *testing.T) {
	for _, c := range []struct{ plugins, namespace, want string }{
		{"acl virtual", "prefix = v/; location = virtual:/etc/v:INDEX=~/v:LAYOUT=fs", ""},
		{"virtual", "prefix = v/; location = virtual:~/v:INDEX=MEMORY", ""},
		{"", "prefix = v/; location = virtual:~/v", "Namespace 'v/': Unknown mail storage driver virtual"},
		{"virtually", "prefix = v/; location = virtual:~/v", "Namespace 'v/': Unknown mail storage driver virtual"},
		{"virtual", "prefix = v/; inbox = yes; location = virtual:~/v", "Namespace 'v/': INBOX can't be a virtual mailbox in this version of Dovetail"},
		{"virtual", "prefix = v/; location = virtual:~/v:LAYOUT=index", "Namespace 'v/': Mailbox list driver index: not supported by this version of Dovetail for virtual"},
		{"virtual", "prefix = v/; location = virtual:~/v:LAYOUT=maildir++", "Namespace 'v/': Mailbox list driver maildir++: not supported by this version of Dovetail for virtual"},
		{"virtual", "type = shared; prefix = v/%%u/; location = virtual:%%h/v", "Namespace 'v/%u/': Unknown shared storage driver: virtual"},
	} {
		_, err := virtualUser(t, c.plugins, t.TempDir(), c.namespace)
		if c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != c.want) {
			t.Errorf("%s: %v, want %q", c.namespace, err, c.want)
		}
	}
}

// TestVirtualSpecialFile shows that something that is no plain file, or is elsewhere, is neither waited for
// nor read.
func TestVirtualSpecialFile(t *testing.T) {
	home := t.TempDir()
	u, err := virtualUser(t, "virtual", home, "prefix = v/; location = virtual:~/v")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for name, make := range map[string]func(path string) error{
		"fifo": func(path string) error { return unix.Mkfifo(path, 0o600) },
		"dir":  func(path string) error { return os.Mkdir(path, 0o700) },
		"link": func(path string) error {
			return errors.Join(os.WriteFile(filepath.Join(home, "secret"), []byte(" rule\n"), 0o600), os.Symlink(filepath.Join(home, "secret"), path))
		},
	} {
		dir := filepath.Join(home, "v", name)
		if err := errors.Join(os.MkdirAll(dir, 0o700), make(filepath.Join(dir, "dovecot-virtual"))); err != nil {
			t.Fatal(err)
		}
		_, err := u.Mailbox(context.Background(), "v/"+name)
		var told *Error
		if !errors.As(err, &told) || told.Code != CodeServerBug || strings.Contains(told.Err.Error(), "rule") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
