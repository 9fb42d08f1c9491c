package mta

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/master"
)

// Only what the configuration names is opened for the mta, whichever way it
// names it.
func TestGrantsAreWhatTheConfigurationNames(t *testing.T) {
	main, err := postfix.Parse("/etc/postfix", strings.Join([]string{
		"indexed = hash:/etc/postfix/",
		"smtp_sasl_password_maps = ${indexed}sasl_passwd",
		"transport_maps = proxy:btree:/t/transport, unionmap:{texthash:/t/a, pcre:/t/b}",
		"virtual_alias_maps = ldap:/t/aliases.cf static:/t/no inline:{a=/t/no}",
		"mynetworks = 127.0.0.1 !/t/others, /t/networks",
		"smtpd_tls_key_file = /t/key.pem",
		"smtpd_restriction_classes = strict",
		"strict = check_client_access cidr:/t/strict",
		"smtpd_recipient_restrictions = { check_recipient_access hash:/t/braces, default_action=DEFER }",
		"mail_spool_directory = /t/spool",
		"mailbox_command = /t/procmail",
		"smtpd_reject_footer = $nothing{",
		"",
	}, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	services, err := postfix.ParseMaster("/etc/postfix/master.cf",
		"smtp inet n - n - - smtpd\n  -o smtpd_sender_restrictions=check_sender_access,hash:/t/senders\n  -o indexed=cdb:/o/\n  -o own_restrictions=check_helo_access,regexp:/t/helo\n")
	if err != nil {
		t.Fatal(err)
	}
	g := NewGrants(main, services, master.Identity{})
	for _, path := range []string{
		"/etc/postfix/sasl_passwd", "/etc/postfix/sasl_passwd.db", "/t/transport.db", "/t/a", "/t/b", "/t/aliases.cf", "/t/others", "/t/networks",
		"/t/key.pem", "/t/strict", "/t/braces.db", "/t/senders.db", "/o/sasl_passwd.cdb", "/t/helo",
	} {
		if !g.paths[path] {
			t.Errorf("%s is not granted", path)
		}
	}
	for _, path := range []string{"/t/no", "/t/spool", "/t/procmail", "/t/a.db", "/etc/shadow", "/t/../t/a", ""} {
		if g.paths[path] {
			t.Errorf("%s is granted", path)
		}
		if _, err := g.open(path); !errors.Is(err, errNotNamed) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// The mta cannot make the master open another file for it.
func TestGrantsDoNotLeadElsewhere(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("gives files to another user: must be run by root")
	}
	const mailOwner, group = 65001, 65002
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	do := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	do(os.WriteFile(path("table"), []byte("x"), 0o600), os.Mkdir(path("own"), 0o755), os.Mkdir(path("group"), 0o755), os.Mkdir(path("others"), 0o755),
		os.Mkdir(path("private"), 0o700), os.Chown(path("own"), mailOwner, -1), os.Chown(path("group"), 0, group), os.Chmod(path("group"), 0o775),
		os.Chown(path("others"), 65003, 65003), os.Chmod(path("others"), 0o775))
	for _, name := range []string{"own", "group", "others", "private"} {
		do(os.WriteFile(path(name+"/table"), []byte("x"), 0o600), os.Symlink("../table", path(name+"/link")))
	}
	do(os.Symlink("own/table", path("tolink")), os.Symlink("loop", path("loop")), os.Mkdir(path("dir"), 0o755))
	g := &Grants{paths: map[string]bool{}, owner: master.Identity{Change: true, UID: mailOwner, GID: mailOwner, Groups: []int{group}}}
	for name, ok := range map[string]bool{
		"table": true, "private/table": true, "private/link": true, "others/table": true, "others/link": true,
		"own/table": false, "own/link": false, "group/table": false, "group/link": false, "tolink": false, "loop": false,
		"dir": false, "missing": false, "table/x": false,
	} {
		g.paths[path(name)] = true
		f, err := g.open(path(name))
		if (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			f.Close()
		}
	}
}
