package procedures

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot/ext"
)

// The files of databases that the document has the administrator write are
// understood.
func TestDatabaseFiles(t *testing.T) {
	load := func(number, file string) (files ext.Files, path string, warn func(string)) {
		i := slices.IndexFunc(dovecotProcedures, func(p procedure) bool { return p.number == number })
		etc := install(t)
		follow(t, dovecotProcedures, dovecotProcedures[i], etc)
		return nil, filepath.Join(etc, "dovecot", file), func(text string) { t.Errorf("procedure %s: %s", number, text) }
	}
	search, err := ext.LoadLDAP(load("1.2-ldap-search", "dovecot-ldap.conf.ext"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, map[string]string{
		*search.URIs:           "ldaps://LDAP-srv.example.com",
		search.DN:              "cn=dovecot_LDAP,dc=example,dc=com",
		search.DNPass:          "password",
		search.PassFilter:      "(&(objectClass=posixAccount)(uid=%n))",
		*search.TLSRequireCert: "hard",
		*search.Base:           "ou=People,dc=example,dc=com",
		search.Scope:           "onelevel",
	})
	if !search.AuthBind {
		t.Error("auth_bind is not set")
	}
	template, err := ext.LoadLDAP(load("1.2-ldap-template", "dovecot-ldap.conf.ext"))
	if err != nil {
		t.Fatal(err)
	}
	if template.AuthBindUserDN != "cn=%n,ou=People,dc=example,dc=com" || !template.TLS || template.Scope != "subtree" {
		t.Errorf("%+v", template)
	}
	sql, err := ext.LoadSQL(load("1.3-mariadb", "dovecot-sql.conf.ext"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, map[string]string{
		*sql.Driver:           "mysql",
		*sql.Connect:          "host=mariadb_srv.example.com dbname=dovecotDB user=dovecot password=dovecotPW ssl_ca=/etc/pki/tls/certs/ca.crt",
		sql.DefaultPassScheme: "SHA512-CRYPT",
		sql.PasswordQuery:     "SELECT username AS user, password FROM users WHERE username='%u';",
		sql.UserQuery:         "SELECT username FROM users WHERE username='%u';",
		sql.IterateQuery:      "SELECT username FROM users;",
	})
}

func equal(t *testing.T, values map[string]string) {
	t.Helper()
	for got, want := range values {
		if got != want {
			t.Errorf("%q, should be %q", got, want)
		}
	}
}

// The examples among the documents are understood, with what must be set.
func TestExampleDatabaseFiles(t *testing.T) {
	dir := filepath.Join(filepath.Dir(install(t)), "usr/share/doc/dovecot/example-config")
	warn := func(text string) { t.Error(text) }
	for _, e := range []edit{
		uncommentAs("dovecot-sql.conf.ext", "#driver =", "driver = mysql"),
		uncommentAs("dovecot-sql.conf.ext", "#connect =", "connect = host=db.example.com"),
		uncommentAs("dovecot-ldap.conf.ext", "#uris =", "uris = ldaps://ldap.example.com"),
		uncommentAs("dovecot-dict-auth.conf.ext", "#uri =", "uri = redis:host=127.0.0.1"),
		uncommentAs("dovecot-dict-sql.conf.ext", "#connect = host=localhost dbname=mails user=testuser password=pass", "connect = host=localhost"),
	} {
		if err := e.apply(dir); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ext.LoadSQL(nil, filepath.Join(dir, "dovecot-sql.conf.ext"), warn); err != nil {
		t.Error(err)
	}
	if _, err := ext.LoadLDAP(nil, filepath.Join(dir, "dovecot-ldap.conf.ext"), warn); err != nil {
		t.Error(err)
	}
	if _, err := ext.LoadDict(nil, filepath.Join(dir, "dovecot-dict-auth.conf.ext"), warn); err != nil {
		t.Error(err)
	}
	if _, err := ext.LoadDictSQL(nil, filepath.Join(dir, "dovecot-dict-sql.conf.ext"), warn); err != nil {
		t.Error(err)
	}
}

// uncommentAs puts a line in the place of one that is commented out.
func uncommentAs(file, line, as string) edit {
	return edit{file, func(lines []string) ([]string, error) {
		i := slices.Index(lines, line)
		if i < 0 {
			return nil, fmt.Errorf("there is no line %s", line)
		}
		lines[i] = as
		return lines, nil
	}}
}
