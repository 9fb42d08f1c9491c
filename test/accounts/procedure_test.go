package accounts

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// morePeople are an entry whose name is a cn, and one that only a search of the whole
// tree finds.
const morePeople = `
dn: cn=cuser,ou=People,dc=example,dc=com
objectClass: inetOrgPerson
objectClass: posixAccount
uid: cuser
cn: cuser
sn: C
uidNumber: 1001
gidNumber: 1001
userPassword: cpass
homeDirectory: /srv/vmail/cuser

dn: ou=Branch,ou=People,dc=example,dc=com
objectClass: organizationalUnit
ou: Branch

dn: uid=deep,ou=Branch,ou=People,dc=example,dc=com
objectClass: inetOrgPerson
objectClass: posixAccount
uid: deep
cn: deep
sn: D
uidNumber: 1001
gidNumber: 1001
userPassword: deeppass
homeDirectory: /srv/vmail/deep
`

// A procedure is a way to keep accounts, as an administrator sets it up.
type procedure struct {
	name           string
	config         string // passdb and userdb
	file, text     string // what they name
	user, password string
	also           [][2]string // others who get in
	refused        [][2]string // who must not
}

// TestProcedures has organizations' ways to keep accounts, from end to end with both
// programs: a user gets a message by LMTP and reads it by IMAP; others are refused with
// the same words and log lines; doveadm lists the same users.
func TestProcedures(t *testing.T) {
	t.Parallel()
	slapd := harness.StartSlapd(t, readFile(t, "testdata/directory.ldif")+morePeople)
	mariadb := harness.StartMariaDB(t, readFile(t, "testdata/database.sql"), true)
	for _, p := range append(directoryProcedures(slapd), databaseProcedures(mariadb)...) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			theirs, ours := p.play(t, harness.Original), p.play(t, harness.Dovetail)
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("(-Dovecot +Dovetail)\n%s", diff)
			}
		})
	}
}

// directoryProcedures are both ways to find a user's entry, each over LDAPS and with
// StartTLS, in a tree and on one level.
func directoryProcedures(slapd *harness.Slapd) []procedure {
	const passdb = "passdb {\n  driver = ldap\n  args = @DIR@/dovecot-ldap.conf.ext\n}\n" +
		"userdb {\n  driver = ldap\n  args = @DIR@/dovecot-ldap.conf.ext\n  override_fields = uid=mail gid=mail home=@DIR@/mail/%n/\n}\n"
	var all []procedure
	for _, link := range [][2]string{{"LDAPS", "uris = " + slapd.SecureURI + "\n"}, {"StartTLS", "uris = " + slapd.URI + "\ntls = yes\n"}} {
		text := link[1] + "tls_ca_cert_file = " + slapd.CA + "\ntls_require_cert = hard\ndn = cn=dovecot,dc=example,dc=com\ndnpass = dovesecret\n" +
			"auth_bind = yes\nbase = ou=People,dc=example,dc=com\nuser_filter = (&(objectClass=posixAccount)(uid=%n))\n" +
			"iterate_filter = (objectClass=posixAccount)\niterate_attrs = uid=user\n"
		add := func(name, more, user, password string, refused ...[2]string) {
			all = append(all, procedure{
				name: name + ", " + link[0], config: passdb, file: "dovecot-ldap.conf.ext", text: text + more, user: user, password: password,
				refused: append(refused, [2]string{user, "wrong"}, [2]string{user, ""}, [2]string{"nosuch", "x"}, [2]string{"dovecot", "dovesecret"}, [2]string{"cuser,ou=People", "cpass"}),
			})
		}
		add("search in a tree", "pass_filter = (|(uid=%n)(cn=%n))\nscope = subtree\n", "deep", "deeppass", [2]string{"deep", "cpass"}, [2]string{"dup", "x"})
		add("search on one level", "pass_filter = (&(objectClass=posixAccount)(uid=%n))\nscope = onelevel\n", "luser1", "ldappass", [2]string{"deep", "deeppass"})
		add("template", "auth_bind_userdn = cn=%n,ou=People,dc=example,dc=com\n", "cuser", "cpass", [2]string{"luser1", "ldappass"}, [2]string{"deep", "deeppass"})
	}
	return all
}

// databaseProcedures are accounts in MariaDB, which demands TLS.
func databaseProcedures(mariadb *harness.SQLServer) []procedure {
	file := fmt.Sprintf("driver = mysql\nconnect = host=127.0.0.1 port=%d dbname=mailserver user=dovecot password=dbpass ssl_ca=%s\n", mariadb.Port, mariadb.CA) +
		"default_pass_scheme = SHA512-CRYPT\npassword_query = SELECT email AS user, password FROM virtual_users WHERE email = '%u'\n" +
		"user_query = SELECT 'mail' AS uid, 'mail' AS gid, '@DIR@/mail/%n' AS home FROM virtual_users WHERE email = '%u'\n" +
		"iterate_query = SELECT email AS user FROM virtual_users ORDER BY email\n"
	return []procedure{{
		name:   "MariaDB",
		config: "passdb {\n  driver = sql\n  args = @DIR@/dovecot-sql.conf.ext\n}\nuserdb {\n  driver = sql\n  args = @DIR@/dovecot-sql.conf.ext\n}\n",
		file:   "dovecot-sql.conf.ext", text: file, user: "suser1@example.com", password: "sqlpass",
		also: [][2]string{{"suser2@example.com", "plainpw"}}, // with a scheme of its own
		refused: [][2]string{
			{"suser1@example.com", "wrong"}, {"suser1@example.com", ""}, {"suser2@example.com", "{PLAIN}plainpw"}, {"suser3@example.com", ""}, {"suser3@example.com", "x"},
			{"suser4@example.com", "x"}, {"nosuch@example.com", "x"}, {"suser1@example.com'--", "sqlpass"}, {"' OR 1=1", "x"},
		},
	}}
}

// play returns what was answered and logged.
func (p procedure) play(t *testing.T, program harness.Program) []string {
	t.Helper()
	m := startMail(t, program, "mail_location = sdbox:@DIR@/mail/%n/\ndisable_plaintext_auth = yes\n"+noPenalties+p.config, map[string]string{p.file: p.text})
	user, _, _ := strings.Cut(p.user, "@")
	deliver(t, m, user, "Subject: for "+user+"\r\n\r\nhello\r\n")
	said := append([]string{"mail"}, subjects(t, m, p.user, p.password)...)
	if want := []string{"mail", "for " + user}; !cmp.Equal(said, want) {
		t.Errorf("%v: %q, want %q", program, said, want)
	}
	for _, who := range p.also {
		if answer := imapAnswer(t, m, fmt.Sprintf("LOGIN %q %q", who[0], who[1])); !strings.HasPrefix(answer, "a OK ") {
			t.Errorf("%v: %q: %s", program, who, answer)
		}
	}
	for _, who := range p.refused {
		answer := imapAnswer(t, m, fmt.Sprintf("LOGIN %q %q", who[0], who[1]))
		if !strings.HasPrefix(answer, "a NO [") {
			t.Errorf("%v: %q: %s", program, who, answer)
		}
		said = append(said, fmt.Sprintf("%q", who), stamp.ReplaceAllString(answer, "[STAMP]"))
	}
	command := []string{"/usr/bin/doveadm"}
	if program == harness.Dovetail {
		command = []string{harness.Binary(t), "doveadm"}
	}
	users := strings.Fields(harness.Run(t, "", command[0], append(command[1:], "-c", filepath.Join(m.dir, "dovecot.conf"), "user", "*")...))
	if !slices.Contains(users, p.user) {
		t.Errorf("%v: doveadm user lists %q", program, users)
	}
	said = append(append(said, "users"), users...)
	m.Stop()
	for _, line := range authLines(t, m.dir) {
		if !strings.Contains(line, " leaked (parent=") { // the original's own, when it ends
			said = append(said, m.plain(line))
		}
	}
	return said
}

// stamp is host and time in answers about internal failures.
var stamp = regexp.MustCompile(`\[\S+:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\]`)

// TestUIDRange refuses those whose uid is outside first_valid_uid and last_valid_uid, after
// their password was right.
func TestUIDRange(t *testing.T) {
	t.Parallel()
	homes := harness.Dir(t)
	users := []string{"dvtlbelow", "dvtlwithin", "dvtlabove"}
	for i, user := range users {
		home := filepath.Join(homes, user)
		systemUser(t, user, user+"-secret", "-u", fmt.Sprint(21060+i), "-d", home)
		harness.Run(t, "", "install", "-d", "-m", "0700", "-o", user, "-g", user, home)
	}
	config := "mail_location = maildir:~/Maildir\ndisable_plaintext_auth = no\nfirst_valid_uid = 21061\nlast_valid_uid = 21061\n" + noPenalties +
		"passdb {\n  driver = pam\n  args = " + pamService(t, "range") + "\n}\nuserdb {\n  driver = passwd\n}\n"
	play := func(program harness.Program) (said []string) {
		m := startMail(t, program, config, nil)
		for _, user := range users {
			c, err := dialFrom("127.0.0.1", m.addr("IMAP"))
			if err != nil {
				t.Fatal(err)
			}
			c.until("* OK")
			c.ask("a LOGIN "+user+" "+user+"-secret", "a ") // the original says that the password was right
			answer := c.ask("b SELECT INBOX", "b ")
			c.Close()
			if ok := strings.HasPrefix(answer, "b OK "); ok != (user == "dvtlwithin") {
				t.Errorf("%v: %s: %s", program, user, answer)
			}
		}
		m.Stop()
		for _, line := range m.log(t, "not permitted") {
			said = append(said, regexp.MustCompile(`Mail access .* not permitted`).FindString(line))
		}
		return said
	}
	theirs, ours := play(harness.Original), play(harness.Dovetail)
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("(-Dovecot +Dovetail)\n%s", diff)
	}
}
