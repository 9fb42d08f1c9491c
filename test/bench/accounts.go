package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// officeHours is how many clients log in at once where accounts are in a database.
const officeHours = 50

// ldapLogins is logins with users in slapd, whose passwords are checked by binding.
func ldapLogins(e *env, p harness.Program) []float64 {
	var ldif strings.Builder
	ldif.WriteString("dn: dc=example,dc=com\nobjectClass: dcObject\nobjectClass: organization\no: x\ndc: example\n\n" +
		"dn: ou=People,dc=example,dc=com\nobjectClass: organizationalUnit\nou: People\n\n")
	for n := range users {
		fmt.Fprintf(&ldif, "dn: uid=user%d,ou=People,dc=example,dc=com\nobjectClass: inetOrgPerson\nuid: user%d\ncn: x\nsn: x\nmail: %s\nuserPassword: %s\n\n",
			n, n, harness.User(n), harness.Password)
	}
	slapd := harness.StartSlapd(e, ldif.String())
	return e.databaseLogins(p, "ldap", "uris = "+slapd.URI+"\nauth_bind = yes\nauth_bind_userdn = uid=%n,ou=People,dc=example,dc=com\nbase = dc=example,dc=com\n")
}

// sqlLogins is logins with users in MariaDB.
func sqlLogins(e *env, p harness.Program) []float64 {
	var rows strings.Builder
	rows.WriteString("CREATE TABLE users (email varchar(100) PRIMARY KEY, password varchar(100));\nINSERT INTO users VALUES ")
	for n := range users {
		if n > 0 {
			rows.WriteByte(',')
		}
		fmt.Fprintf(&rows, "('%s','{PLAIN}%s')", harness.User(n), harness.Password)
	}
	server := harness.StartMariaDB(e, rows.String()+";", false)
	return e.databaseLogins(p, "sql", "driver = mysql\nconnect = host="+server.Socket+" dbname=mailserver user=dovecot password=dbpass\n"+
		"password_query = SELECT email AS user, password FROM users WHERE email = '%u'\n")
}

// databaseLogins is logins with a passdb whose settings are in a file of their own.
func (e *env) databaseLogins(p harness.Program, driver, settings string) []float64 {
	file := filepath.Join(harness.Dir(e), "passdb.conf.ext")
	harness.Write(e, file, settings)
	mb := harness.StartMailbox(e, p, harness.MailboxOptions{
		Users: users, SocketUser: "postfix", Extra: fastLogins,
		Passdb: "passdb {\n  driver = " + driver + "\n  args = " + file + "\n}",
	})
	return e.logInto(mb.IMAP, officeHours)
}
