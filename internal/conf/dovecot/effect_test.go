package dovecot

import (
	"strings"
	"testing"
)

// Nothing registered supports these here. A value is refused if it asks for something
// whose absence would weaken security or lose mail.
func TestRefusedValues(t *testing.T) {
	for text, want := range map[string]string{
		"namespace a {\nprefix = a/\nseparator = /\nalias_for =\n}\nnamespace {\n}\n": "deleting one of them would lose both",
		"protocol lmtp {\nmail_plugins = $mail_plugins sieve\n}\n":                    "past the users' scripts",
		"mail_plugins = $mail_plugins zlib\n":                                         "compressed mail could not be read",
		"protocol imap {\nmail_plugins = imap_sieve\n}\n":                             "mail_plugins: imap_sieve is not supported",
		"mail_plugins = notify mail_log\n":                                            "",
		"service imap {\nexecutable = imap postlogin\n}\n":                            "users could log in past the script",
		"service imap {\nexecutable = /usr/libexec/dovecot/imap -x\n}\n":              "",
		"service postlogin {\nexecutable = script-login /x\n}\n":                      "",
		"lmtp_proxy = no\n":        "",
		"lmtp_proxy = yes\n":       "on other servers",
		"login_plugins = x\n":      "logins they would refuse",
		"mail_nfs_storage = yes\n": "other machines",
		"namespace inbox {\nmailbox Trash {\nautoexpunge = 30d\n}\n}\n": "",
	} {
		c, err := Parse("/x", text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		switch err := c.Refused(); {
		case want == "" && err != nil:
			t.Errorf("%q: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// The words in the tables are settings of Dovecot.
func TestRefusalsAreKnown(t *testing.T) {
	known := map[string]bool{}
	for _, s := range Settings() {
		known[s.Path] = true
	}
	for _, r := range refused {
		if !known[r.path] {
			t.Errorf("%s is no setting", r.path)
		}
	}
	for path := range noEffect {
		if !strings.HasPrefix(path, "module:") && !known[path] {
			t.Errorf("%s is no setting", path)
		}
	}
}
