package auth

import (
	"testing"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

func TestKindOf(t *testing.T) {
	for name, want := range map[string]Kind{
		"auth-client": KindClient, "/var/spool/postfix/private/auth": KindClient, "auth-login": KindLogin, "login/login": KindLogin,
		"auth-master": KindMaster, "/run/my-master": KindMaster, "auth-userdb": KindUserdb, "token-login/tokenlogin": KindToken,
	} {
		if got := KindOf(name); got != want {
			t.Errorf("KindOf(%q) = %d, want %d", name, got, want)
		}
	}
}

func TestWildcards(t *testing.T) {
	for _, test := range []struct {
		mask, name string
		want       bool
	}{
		{"*", "", true}, {"*@a.org", "x@a.org", true}, {"*@a.org", "x@A.org", false}, {"*@a.org", "x@b.org", false}, {"a?c", "abc", true}, {"a*b*c", "aXbYbc", true}, {"a*b*c", "aXbY", false},
	} {
		if got := wildcardMatch(test.mask, test.name); got != test.want {
			t.Errorf("%q matches %q: %v", test.mask, test.name, got)
		}
	}
}

func TestBadSettings(t *testing.T) {
	// The texts are those of Dovecot's auth process, which dies of them.
	tests := map[string]string{
		"auth_mechanisms = plain foo\npassdb {\n  driver = static\n}\n": "Unknown authentication mechanism 'FOO'",
		"":                                      "No passdbs specified in configuration file. PLAIN mechanism needs one",
		"passdb {\n  driver = vpopmail\n}\n":    "Unknown passdb driver 'vpopmail'",
		"passdb {\n  driver = bsdauth\n}\n":     "Support not compiled in for passdb driver 'bsdauth'",
		"passdb {\n  driver = passwd-file\n}\n": "passwd-file: args is missing the path of the file",
	}
	for conf, want := range tests {
		cfg, err := dovecot.Parse("dovecot.conf", conf)
		if err != nil {
			t.Errorf("%q: %v", conf, err)
			continue
		}
		if _, err := NewServer(&Setup{Config: cfg}, nil); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", conf, err, want)
		}
	}
}
