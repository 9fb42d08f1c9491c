package accounts

import (
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// hostileNames are names that mean something to directories, databases, file names and
// protocols.
var hostileNames = []string{
	"*", "*)(uid=*", "luser1)(|(uid=luser2", "luser1)(objectClass=*))(|(uid=*", `luser1\2a`, `\`, `\6cuser1`, "luser1,ou=People,dc=example,dc=com", "luser1+uid=luser2",
	"#luser1", `"luser1"`, "luser1;", "<luser1>", "uid=luser1", "(uid=luser1)", "|", "&", "!(uid=x)",
	"suser1@example.com' OR '1'='1", "' OR 1=1 -- ", "suser1@example.com'; DROP TABLE virtual_users; -- ", `suser1@example.com\' OR 1=1 #`, `\'; SELECT 1; --`,
	"x' UNION SELECT 'x' -- ", `" OR ""="`, "suser1@example.com\\", "%u", "%{passdb:password}", "%%", "$(id)", "`id`", "../../../etc/passwd", "a/b",
	"suser1@example.com'/**/OR/**/1=1", "\u2019 OR 1=1 -- ", "\xbf' OR 1=1 -- ", "\xef\xbc\x87 OR 1=1 -- ", strings.Repeat("a", 4000), "luser1\x7f",
}

// controlBytes are put into names and passwords.
var controlBytes = []string{"\x01", "\t", "\n", "\r", "\r\n", "\x00", "\x1b[31m", "\x01t", "\x01n"}

// No name logs anybody in who has not its password, nor stops the server from letting
// those in who have.
func TestHostileNames(t *testing.T) {
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
	mariadb := harness.StartMariaDB(t, string(database), false)
	search := "uris = " + ldap.URI + "\ndn = cn=dovecot,dc=example,dc=com\ndnpass = dovesecret\nbase = dc=example,dc=com\n"
	mysql := fmt.Sprintf("driver = mysql\nconnect = host=127.0.0.1 port=%d dbname=mailserver user=dovecot password=dbpass\n", mariadb.Port)
	for name, tt := range map[string]struct {
		passdb, file, text string
		user, password     string
	}{
		"LDAP, search and bind": {ldapPassdb, "ldap.conf.ext", search + "auth_bind = yes\npass_filter = (uid=%u)\n", "luser1", "ldappass"},
		"LDAP, DN template": {ldapPassdb, "ldap.conf.ext", search + "auth_bind = yes\nauth_bind_userdn = uid=%u,ou=People,dc=example,dc=com\n",
			"luser1", "ldappass"},
		"LDAP, compared": {ldapPassdb, "ldap.conf.ext", search + "pass_filter = (uid=%u)\npass_attrs = uid=user,userPassword=password\n", "luser1", "ldappass"},
		"SQL": {sqlPassdb, "sql.conf.ext", mysql + "default_pass_scheme = SHA512-CRYPT\npassword_query = SELECT email AS user, password FROM virtual_users WHERE email = '%u'\n",
			"suser1@example.com", "sqlpass"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, harness.Dovetail, map[string]string{
				"dovecot.conf": "auth_username_chars =\nauth_username_format =\nauth_cache_size = 1M\nauth_verbose = yes\n" + tt.passdb, tt.file: tt.text,
			})
			a := &attacker{t: t, s: s, c: dialAuth(t, s.socket("auth-client"), "VERSION\t1\t2\nCPID\t9\n", "DONE")}
			a.admitted(tt.user, tt.password)
			for _, name := range hostileNames {
				for _, password := range []string{tt.password, "", "x"} {
					a.refused(name, password)
				}
			}
			for _, c := range controlBytes {
				a.refused(tt.user+c, tt.password)
				a.refused(c+tt.user, tt.password)
				a.refused(tt.user, tt.password+c)
				a.refused(tt.user, c)
			}
			a.refused(tt.user, "")
			a.admitted(tt.user, tt.password)
		})
	}
}

// An attacker tries logins, each from another address.
type attacker struct {
	t *testing.T
	s *running
	c *authConn
	n int
}

func (a *attacker) try(user, password string) string {
	a.t.Helper()
	a.n++
	resp := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	a.c.put(a.t, fmt.Sprintf("AUTH\t%d\tPLAIN\tservice=imap\trip=10.0.%d.%d\tresp=%s", a.n, a.n/256, a.n%256, resp))
	return a.c.line(a.t)
}

func (a *attacker) admitted(user, password string) {
	a.t.Helper()
	if answer := a.try(user, password); !strings.HasPrefix(answer, "OK\t") {
		a.t.Errorf("%q with %q: %q", user, password, answer)
	}
}

// refused expects a failure for good: nothing of this is the server's fault, except where
// a database cannot compare a name with what it has, in another character set.
func (a *attacker) refused(user, password string) {
	a.t.Helper()
	foreign := strings.ContainsFunc(user, func(c rune) bool { return c >= 0x80 })
	if answer := a.try(user, password); !strings.HasPrefix(answer, "FAIL\t") || strings.Contains(answer, "temp_fail") && !foreign {
		a.t.Errorf("%q with %q: %q", user, password, answer)
	}
}

// A thousand logins that fail, all of them waiting for their answers, do not keep a good
// one from being answered.
func TestGoodAmongBad(t *testing.T) {
	t.Parallel()
	s := start(t, harness.Dovetail, map[string]string{
		"dovecot.conf": "auth_failure_delay = 1 hour\npassdb {\n  driver = passwd-file\n  args = @DIR@/users\n}\n",
		"users":        "good:{PLAIN}secret\nbad:{PLAIN}secret\n",
	})
	bad := dialAuth(t, s.socket("auth-client"), "VERSION\t1\t2\nCPID\t8\n", "DONE")
	answered := make(chan string, 1)
	var writing sync.WaitGroup
	writing.Go(func() {
		for id := range 1000 {
			bad.put(t, request(id+1, "bad", "wrong"))
		}
	})
	go func() {
		line, _ := bad.r.ReadString('\n')
		answered <- line
	}()
	writing.Wait()
	good := &attacker{t: t, s: s, c: dialAuth(t, s.socket("auth-client"), "VERSION\t1\t2\nCPID\t9\n", "DONE")}
	for range 20 {
		good.admitted("good", "secret")
	}
	select {
	case line := <-answered:
		t.Errorf("a failure was told: %q", line)
	default:
	}
}

// A policy server that is dead refuses nobody, or everybody, as the settings say; the
// password still counts.
func TestDeadPolicyServer(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	ports := deadServers(t)
	ports["no answer"] = fmt.Sprint(silent.Addr().(*net.TCPAddr).Port)
	for name, port := range ports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, strict := range []bool{false, true} {
				config := "auth_policy_server_url = http://127.0.0.1:" + port + "/\nauth_policy_hash_nonce = x\nauth_policy_server_timeout_msecs = 200\n"
				if strict {
					config += "auth_policy_reject_on_fail = yes\n"
				}
				answers := play(t, harness.Dovetail, map[string]string{
					"dovecot.conf": config + "passdb {\n  driver = passwd-file\n  args = @DIR@/users\n}\n", "users": "alice:{PLAIN}secret\n",
					"requests": "AUTH alice / secret\nAUTH alice / wrong\nAUTH nobody / x\n",
				})
				if ok := strings.HasPrefix(answers[1], "OK\t"); ok == strict || strings.HasPrefix(answers[3], "OK\t") || strings.HasPrefix(answers[5], "OK\t") {
					t.Errorf("reject_on_fail %v: %q", strict, answers)
				}
			}
		})
	}
}
