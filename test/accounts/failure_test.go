package accounts

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

const ldapPassdb = `passdb {
  driver = ldap
  args = @DIR@/ldap.conf.ext
}
userdb {
  driver = static
  args = uid=8 gid=8 home=/srv/%n
}
`

const sqlPassdb = `passdb {
  driver = sql
  args = @DIR@/sql.conf.ext
}
userdb {
  driver = static
  args = uid=8 gid=8 home=/srv/%n
}
`

// A server whose certificate is not of the authority, or for another name, is not
// believed: nobody logs in, and nobody is told that his password is wrong.
func TestWrongCertificate(t *testing.T) {
	t.Parallel()
	directory, err := os.ReadFile("testdata/directory.ldif")
	if err != nil {
		t.Fatal(err)
	}
	database, err := os.ReadFile("testdata/database.sql")
	if err != nil {
		t.Fatal(err)
	}
	ldap := harness.StartSlapd(t, string(directory))
	mariadb := harness.StartMariaDB(t, string(database), true)
	other := filepath.Join(harness.Dir(t), "other.pem")
	harness.Run(t, "", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
		"-subj", "/CN=Other CA", "-keyout", other+".key", "-out", other)
	wrongName := strings.Replace(ldap.SecureURI, "127.0.0.1", "[::ffff:127.0.0.2]", 1)
	bind := "auth_bind = yes\nauth_bind_userdn = uid=%n,ou=People,dc=example,dc=com\nbase = dc=example,dc=com\n"
	mysql := fmt.Sprintf("driver = mysql\ndefault_pass_scheme = SHA512-CRYPT\npassword_query = SELECT password FROM virtual_users WHERE email = '%%u'\n"+
		"connect = host=127.0.0.1 port=%d dbname=mailserver user=dovecot password=dbpass ", mariadb.Port)
	for _, tt := range []struct {
		name, passdb, file, text, user string
		good                           bool
	}{
		{"ldaps", ldapPassdb, "ldap.conf.ext", "uris = " + ldap.SecureURI + "\ntls_ca_cert_file = " + ldap.CA + "\n" + bind, "luser1 / ldappass", true},
		{"ldaps, other CA", ldapPassdb, "ldap.conf.ext", "uris = " + ldap.SecureURI + "\ntls_ca_cert_file = " + other + "\n" + bind, "luser1 / ldappass", false},
		{"ldaps, no CA", ldapPassdb, "ldap.conf.ext", "uris = " + ldap.SecureURI + "\n" + bind, "luser1 / ldappass", false},
		{"ldaps, other name", ldapPassdb, "ldap.conf.ext", "uris = " + wrongName + "\ntls_ca_cert_file = " + ldap.CA + "\n" + bind, "luser1 / ldappass", false},
		{"StartTLS, other CA", ldapPassdb, "ldap.conf.ext", "uris = " + ldap.URI + "\ntls = yes\ntls_ca_cert_file = " + other + "\n" + bind, "luser1 / ldappass", false},
		{"StartTLS, never", ldapPassdb, "ldap.conf.ext", "uris = " + ldap.URI + "\ntls = yes\ntls_require_cert = never\n" + bind, "luser1 / ldappass", true},
		{"MariaDB", sqlPassdb, "sql.conf.ext", mysql + "ssl_ca=" + mariadb.CA + " ssl_verify_server_cert=yes", "suser1@example.com / sqlpass", true},
		{"MariaDB, other CA", sqlPassdb, "sql.conf.ext", mysql + "ssl_ca=" + other, "suser1@example.com / sqlpass", false},
		{"MariaDB, no TLS", sqlPassdb, "sql.conf.ext", mysql, "suser1@example.com / sqlpass", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, program := range []harness.Program{harness.Original, harness.Dovetail} {
				answers := play(t, program, map[string]string{
					"dovecot.conf": tt.passdb, tt.file: tt.text, "requests": "AUTH " + tt.user + "\n",
				})
				if ok := strings.HasPrefix(answers[1], "OK\t"); ok != tt.good {
					t.Errorf("%v: %q", program, answers)
				}
				if !tt.good && !strings.HasSuffix(answers[1], "\tcode=temp_fail") {
					t.Errorf("%v: no temporary failure: %q", program, answers)
				}
			}
		})
	}
}

// deadServers are backends that do not answer.
func deadServers(t *testing.T) map[string]string {
	listen := func(serve func(net.Conn)) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go serve(conn)
			}
		}()
		return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	}
	return map[string]string{
		"nobody listens": fmt.Sprint(harness.FreePort(t)),
		"resets":         listen(func(c net.Conn) { c.(*net.TCPConn).SetLinger(0); c.Close() }),
		"garbage":        listen(func(c net.Conn) { fmt.Fprintf(c, "%s\n", strings.Repeat("\x30\x84\xff", 4096)); c.Close() }),
	}
}

// A dead database is a temporary failure, never a login and never a wrong password; users of
// another database do not notice.
func TestDeadBackend(t *testing.T) {
	t.Parallel()
	for name, port := range deadServers(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answers := play(t, harness.Dovetail, map[string]string{
				"dovecot.conf": "passdb {\n  driver = passwd-file\n  args = @DIR@/users\n}\n" + strings.Replace(sqlPassdb, "userdb", "passdb {\n  driver = ldap\n  args = @DIR@/ldap.conf.ext\n}\nuserdb", 1),
				"users":        "local:{PLAIN}pass\n",
				"sql.conf.ext": "driver = mysql\nconnect = host=127.0.0.1 port=" + port + " connect_timeout=2 read_timeout=2\n",
				"ldap.conf.ext": "uris = ldap://127.0.0.1:" + port + "\nbase = dc=example\nauth_bind = yes\n" +
					"auth_bind_userdn = uid=%n,dc=example\n",
				"requests": "AUTH local / pass\nAUTH nobody / x\nAUTH local / pass\nAUTH nobody / y\nAUTH local / wrong\n",
			})
			for _, i := range []int{1, 5} {
				if !strings.HasPrefix(answers[i], "OK\t") {
					t.Errorf("%q", answers)
				}
			}
			for _, i := range []int{3, 7, 9} {
				if !strings.HasPrefix(answers[i], "FAIL\t") || !strings.HasSuffix(answers[i], "\tcode=temp_fail") {
					t.Errorf("%q", answers)
				}
			}
		})
	}
}

// A good login is not held up by a thousand that fail.
func TestManyFailures(t *testing.T) {
	t.Parallel()
	directory, err := os.ReadFile("testdata/directory.ldif")
	if err != nil {
		t.Fatal(err)
	}
	ldap := harness.StartSlapd(t, string(directory))
	s := start(t, harness.Dovetail, map[string]string{
		"dovecot.conf":  ldapPassdb,
		"ldap.conf.ext": "uris = " + ldap.URI + "\ndn = cn=dovecot,dc=example,dc=com\ndnpass = dovesecret\nbase = dc=example,dc=com\nauth_bind = yes\n",
	})
	var failing sync.WaitGroup
	for i := range 10 {
		failing.Go(func() {
			c := dialAuth(t, s.socket("auth-client"), fmt.Sprintf("VERSION\t1\t2\nCPID\t%d\n", 100+i), "DONE")
			for id := range 100 {
				c.put(t, request(id+1, fmt.Sprintf("luser%d", id%3+1), "wrong"))
			}
			for range 100 {
				if answer := c.line(t); !strings.HasPrefix(answer, "FAIL\t") || strings.Contains(answer, "temp_fail") {
					t.Errorf("%q", answer)
				}
			}
		})
	}
	good := dialAuth(t, s.socket("auth-client"), "VERSION\t1\t2\nCPID\t1\n", "DONE")
	begin := time.Now()
	good.put(t, request(1, "luser1", "ldappass"))
	if answer := good.line(t); answer != "OK\t1\tuser=luser1\t" {
		t.Errorf("%q", answer)
	}
	t.Logf("logged in after %v", time.Since(begin))
	failing.Wait()
}
