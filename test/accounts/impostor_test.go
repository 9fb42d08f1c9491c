package accounts

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// judge puts requests to ours, each followed by " -> " and the beginning of the answer that
// it must get, without its number. These are attempts to get in as somebody else, which Dovecot
// partly lets succeed.
func judge(t *testing.T, files map[string]string, requests ...string) *running {
	t.Helper()
	r := start(t, harness.Dovetail, files)
	a := newAsker(t, r)
	for i, line := range requests {
		request, want, _ := strings.Cut(line, " -> ")
		answer := a.ask(t, i+1, request)[1]
		verb, rest, _ := strings.Cut(answer, "\t")
		_, rest, _ = strings.Cut(rest, "\t")
		if got := verb + " " + rest; !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", request, got, want)
		}
	}
	return r
}

const masterConfig = `auth_mechanisms = plain @MORE@
auth_master_user_separator = *
auth_verbose = yes
passdb {
  driver = @DRIVER@
  args = @DIR@/@MASTERS@
  master = yes
  pass = @PASS@
}
passdb {
  driver = @DRIVER@
  args = @DIR@/@USERS@
}
`

// TestMasterProves has a user try to become the master user of his own mailbox, with whom
// others may have shared theirs: what a master user proves is the master's password, whatever
// passdb is asked about the other user afterwards.
func TestMasterProves(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"dovecot.conf": strings.NewReplacer("@MORE@", "cram-md5 scram-sha-256", "@DRIVER@", "passwd-file", "@MASTERS@", "masters", "@USERS@", "users", "@PASS@", "yes").Replace(masterConfig),
		"masters":      "admin:{PLAIN}adminpass\n",
		"users":        "bob:{PLAIN}bobpass\nhashed:{SHA1}5en6G6MezRroT3XKqkdPOmY/BfQ=\nnets:{PLAIN}p::::::allow_nets=10.0.0.1\n",
	}
	judge(t, files,
		"AUTH bob*admin / bobpass -> FAIL user=admin",
		"AUTH bob*admin / adminpass -> OK user=bob",
		"CRAM-MD5 bob*admin / bobpass -> FAIL ",
		"CRAM-MD5 bob*admin / adminpass -> OK user=bob",
		"SCRAM-SHA-256 bob*admin / bobpass -> FAIL ",
		"SCRAM-SHA-256 bob*admin / adminpass -> OK user=bob",
		"CRAM-MD5 hashed*admin / secret -> FAIL ",
		"CRAM-MD5 nosuch*admin / adminpass -> FAIL ",
		"CRAM-MD5 nets*admin / adminpass -> FAIL ",
		"CRAM-MD5 bob / bobpass -> OK user=bob",
	)
}

// TestMasterOneTimePassword uses up the one-time password of the master user, not that of the
// user as whom it logs in.
func TestMasterOneTimePassword(t *testing.T) {
	t.Parallel()
	const bobs = "{OTP}sha1 1023 5d1b3f1f1f6e5a9c f06d1d1e4d1a3ff2"
	path := sqliteFile(t, `CREATE TABLE onetime (username TEXT, password TEXT);
		INSERT INTO onetime VALUES ('admin', '{OTP}md5 99 test 50fe1962c4965880'), ('bob', '`+bobs+`')`)
	for name, mode := range map[string]os.FileMode{path: 0o666, filepath.Dir(path): 0o777} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	judge(t, map[string]string{
		"dovecot.conf": strings.NewReplacer("@MORE@", "otp", "@DRIVER@", "sql", "@MASTERS@", "sql.conf.ext", "@USERS@", "sql.conf.ext", "@PASS@", "no").Replace(masterConfig),
		"sql.conf.ext": "driver = sqlite\nconnect = " + path + `
password_query = SELECT username AS user, password FROM onetime WHERE username = '%u'
update_query = UPDATE onetime SET password = '%w' WHERE username = '%u'
`,
	},
		"OTP bob*admin / This is a test. -> OK user=bob",
		"OTP bob*admin / This is a test. -> OK user=bob",
	)
	stored := map[string]string{}
	rows, err := openDatabase(t, path).Query("SELECT username, password FROM onetime")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name, password string
		if err := rows.Scan(&name, &password); err != nil {
			t.Fatal(err)
		}
		stored[name] = password[:min(len(password), len("{OTP}md5 97 "))]
	}
	want := map[string]string{"admin": "{OTP}md5 97 ", "bob": bobs[:len("{OTP}md5 97 ")]}
	if diff := cmp.Diff(want, stored); diff != "" {
		t.Errorf("stored (-want +got)\n%s", diff)
	}
}

// TestBoundPasswordCached has a passdb that checks the password itself say nopassword, which
// means nothing there: the auth cache must not let anybody in by it, neither after a wrong nor
// after the right password. Dovecot's does.
func TestBoundPasswordCached(t *testing.T) {
	t.Parallel()
	directory, err := os.ReadFile("testdata/directory.ldif")
	if err != nil {
		t.Fatal(err)
	}
	ldap := harness.StartSlapd(t, string(directory))
	judge(t, map[string]string{
		"dovecot.conf": `auth_cache_size = 1M
passdb {
  driver = ldap
  args = @DIR@/ldap.conf.ext
}
`,
		"ldap.conf.ext": "uris = " + ldap.URI + `
dn = cn=dovecot,dc=example,dc=com
dnpass = dovesecret
auth_bind = yes
base = ou=People,dc=example,dc=com
pass_filter = (uid=%u)
pass_attrs = uid=user,=nopassword=y
`,
	},
		"AUTH luser1 / wrong -> FAIL user=luser1",
		"AUTH luser1 / wrong -> FAIL user=luser1",
		"PASS luser1 -> PASS ",
		"AUTH luser1 / wrong -> FAIL user=luser1",
		"AUTH luser1 / ldappass -> OK user=luser1",
		"AUTH luser1 / wrong -> FAIL user=luser1",
		"AUTH luser1 / ldappass -> OK user=luser1",
		"AUTH luser1 / ldappass -> OK user=luser1",
	)
}

// TestNopasswordRemoved has a user take back the nopassword that is the default of a passdb.
func TestNopasswordRemoved(t *testing.T) {
	t.Parallel()
	judge(t, map[string]string{
		"dovecot.conf": "passdb {\n  driver = passwd-file\n  args = @DIR@/users\n  default_fields = nopassword=y\n}\n",
		"users":        "anybody:::::::\nalice:::::::nopassword:remove\nbob:{PLAIN}bobpass::::::nopassword:remove\n",
	},
		"AUTH anybody / x -> OK user=anybody",
		"AUTH alice / x -> FAIL user=alice",
		"AUTH bob / x -> FAIL user=bob",
		"AUTH bob / bobpass -> OK user=bob",
	)
}

// TestCertificateNamesNobodyElse: what a certificate says is one name, also where it has the character that
// separates a master user from the user as whom it logs in.
func TestCertificateNamesNobodyElse(t *testing.T) {
	t.Parallel()
	r := start(t, harness.Dovetail, map[string]string{
		"dovecot.conf": strings.NewReplacer("@MORE@", "external\nauth_ssl_username_from_cert = yes\nauth_username_chars =", "@DRIVER@", "static", "@MASTERS@", "", "args = @DIR@/@USERS@", "args = nopassword=y", "args = @DIR@/", "args = nopassword=y", "@PASS@", "no").Replace(masterConfig),
	})
	a := newAsker(t, r)
	a.client.put(t, "AUTH\t1\tEXTERNAL\tservice=imap\tsecured\tvalid-client-cert\tcert_username=bob*admin\tresp=")
	if answer := a.client.line(t); !strings.HasPrefix(answer, "OK\t1\tuser=bob*admin") {
		t.Errorf("%q", answer)
	}
}

// TestUserdbThatFails asks a last userdb that does not have the user, or cannot tell. The uid and the home it
// gives its own users by default, or whatever they have, are not those of another.
func TestUserdbThatFails(t *testing.T) {
	t.Parallel()
	const config = `passdb {
  driver = static
  args = password=secret
}
userdb {
  driver = passwd-file
  args = @DIR@/first
  result_success = continue-ok
}
userdb {
  driver = passwd-file
  args = @DIR@/LAST
  default_fields = uid=5000 home=/var/vmail/%u
  override_fields = gid=5001
}
`
	const alice = "alice::1001:1001::/home/alice::\n"
	for _, last := range []string{"second", "missing"} {
		judge(t, map[string]string{
			"dovecot.conf": strings.Replace(config, "LAST", last, 1), "first": alice, "second": "bob::::::\nalan::::::\n",
		},
			"USER alice -> USER alice\tuid=1001\tgid=1001\thome=/home/alice",
		)
	}
	judge(t, map[string]string{"dovecot.conf": strings.Replace(config, "LAST", "second", 1), "first": alice, "second": "bob::::::\n"},
		"USER bob -> USER bob\tuid=5000\thome=/var/vmail/bob\tgid=5001",
		"USER carol -> NOTFOUND ",
	)
}

// TestIntrospectionTellsNothing presents a token of which the server does not say whether it is active, as
// RFC 7662 2.2 requires of it. Dovecot 2.3.19 lets its bearer in.
func TestIntrospectionTellsNothing(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(&tokenServer{})
	defer server.Close()
	const config = `auth_mechanisms = xoauth2 oauthbearer
passdb {
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = @DIR@/oauth2
}
`
	settings := strings.ReplaceAll(oauth2Files["post"], "@SERVER@", server.URL)
	judge(t, map[string]string{"dovecot.conf": config, "oauth2": settings},
		"XOAUTH2 alice / good-alice -> OK user=alice",
		"XOAUTH2 alice / silent-alice -> FAIL ",
		"XOAUTH2 alice / inactive-alice -> FAIL ",
	)
	judge(t, map[string]string{"dovecot.conf": config, "oauth2": settings + "active_attribute =\nactive_value =\n"},
		"XOAUTH2 alice / silent-alice -> OK user=alice",
	)
}
