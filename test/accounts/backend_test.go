package accounts

import (
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// A mortal is a database server behind a relay.
type mortal struct {
	name           string
	relay          *relay
	passdb         string
	files          map[string]string
	user, password string
	course         []treatment

	mail *mailService
	smtp string // address
}

func startMortals(t *testing.T) []*mortal {
	t.Helper()
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	slapd := strings.TrimPrefix(harness.StartSlapd(t, read("directory.ldif")).URI, "ldap://")
	mysql := startRelay(t, fmt.Sprintf("127.0.0.1:%d", harness.StartMariaDB(t, read("database.sql"), false).Port))
	pgsql := startRelay(t, fmt.Sprintf("127.0.0.1:%d", harness.StartPostgreSQL(t, read("database.sql")).Port))
	const directory = "uris = ldap://127.0.0.1:%d\nldaprc_path = @DIR@/ldaprc\ndn = cn=dovecot,dc=example,dc=com\ndnpass = dovesecret\nbase = dc=example,dc=com\n"
	query := "default_pass_scheme = SHA512-CRYPT\npassword_query = SELECT email AS \"user\", password FROM virtual_users WHERE email = '%u'\n"
	sqlFile := func(driver, connect string, port int) map[string]string {
		return map[string]string{driver + ".conf.ext": fmt.Sprintf("driver = %s\nconnect = host=127.0.0.1 port=%d dbname=mailserver user=dovecot password=dbpass %s\n", driver, port, connect) + query}
	}
	passdb := func(driver, file string) string {
		return fmt.Sprintf("passdb {\n  driver = %s\n  args = @DIR@/%s.conf.ext\n  username_filter = %%s\n}\n", driver, file)
	}
	course := []treatment{hangs, passes, resets, passes, slows}
	ldap := func(name, text string) *mortal {
		r := startRelay(t, slapd)
		return &mortal{
			name: "LDAP, " + name, relay: r, passdb: passdb("ldap", "ldap"), user: "luser1", password: "ldappass", course: course,
			files: map[string]string{"ldaprc": "TIMEOUT 2\n", "ldap.conf.ext": fmt.Sprintf(directory, r.port()) + text},
		}
	}
	return []*mortal{
		ldap("bind", "auth_bind = yes\npass_filter = (uid=%u)\n"),
		ldap("compared", "pass_filter = (uid=%u)\npass_attrs = userPassword=password\n"),
		{name: "MariaDB", relay: mysql, passdb: passdb("sql", "mysql"), files: sqlFile("mysql", "connect_timeout=2 read_timeout=2", mysql.port()), user: "suser1@example.com", password: "sqlpass", course: course},
		{name: "PostgreSQL", relay: pgsql, passdb: passdb("sql", "pgsql"), files: sqlFile("pgsql", "connect_timeout=2 sslmode=require", pgsql.port()), user: "suser1@example.com", password: "sqlpass",
			// It has no setting of how long a query may take, so it hangs where there are no connections.
			course: []treatment{resets, hangs, passes, slows}},
	}
}

// A database that dies and comes back: the login gets a temporary failure in the words of
// its protocol, within bounded time, whatever the password; users of another database log
// in meanwhile, and those of this one again when it is back, without a restart.
func TestBackendDies(t *testing.T) {
	t.Parallel()
	for _, b := range startMortals(t) {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			b.start(t)
			b.admitted(t)
			for _, now := range b.course {
				b.relay.become(now)
				switch now {
				case hangs, resets:
					b.dead(t)
				default:
					harness.Eventually(t, "logins after the failure", func() bool {
						return strings.HasPrefix(b.imap(b.user, b.password), "a OK ")
					})
					b.admitted(t)
				}
			}
		})
	}
}

// start starts both servers. The users here are in a database of their own, for which
// others wait as well.
func (b *mortal) start(t *testing.T) {
	t.Helper()
	files := map[string]string{"here.conf.ext": "driver = sqlite\nconnect = " + sqliteFile(t, "CREATE TABLE users (name text, password text);\n"+
		"INSERT INTO users VALUES ('local@here', '{PLAIN}secret');") + "\npassword_query = SELECT password FROM users WHERE name = '%u'\n"}
	for name, text := range b.files {
		files[name] = text
	}
	b.mail = startMail(t, harness.Dovetail, "mail_location = maildir:@DIR@/mail/%u\n"+noPenalties+strings.Replace(b.passdb, "%s", "!*@here", 1)+
		"passdb {\n  driver = sql\n  args = @DIR@/here.conf.ext\n}\n"+
		"userdb {\n  driver = static\n  args = uid=mail gid=mail home=@DIR@/mail/%n allow_all_users=yes\n}\n"+
		"service auth {\n  unix_listener auth-client {\n    mode = 0666\n  }\n}\n", files)
	b.smtp = harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{
		Auth: "unix:" + filepath.Join(b.mail.dir, "run", "auth-client"), Main: "smtpd_sasl_security_options =\n",
	}).Submission
}

// converse connects, sends lines, each after an answer, and returns the last answer.
func converse(address string, lines ...[2]string) string {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	c := newLineConn(conn)
	c.until("")
	answer := ""
	for _, l := range lines {
		answer = c.ask(l[0], l[1])
	}
	return answer
}

func (b *mortal) imap(user, password string) string {
	return converse(b.mail.addr("IMAP"), [2]string{fmt.Sprintf("a LOGIN %q %q", user, password), "a "})
}

func (b *mortal) smtpAuth(user, password string) string {
	return converse(b.smtp, [2]string{"EHLO client.example", "250 "}, [2]string{"AUTH PLAIN " + encode("", user, password), ""})
}

// admitted expects that the password counts, in both protocols.
func (b *mortal) admitted(t *testing.T) {
	t.Helper()
	if answer := b.imap(b.user, b.password); !strings.HasPrefix(answer, "a OK ") {
		t.Errorf("IMAP: %q", answer)
	}
	if answer := b.imap(b.user, "wrong"); !strings.HasPrefix(answer, "a NO [AUTHENTICATIONFAILED] ") {
		t.Errorf("IMAP, wrong password: %q", answer)
	}
	if answer := b.smtpAuth(b.user, b.password); !strings.HasPrefix(answer, "235 ") {
		t.Errorf("SMTP: %q", answer)
	}
	if answer := b.smtpAuth(b.user, "wrong"); !strings.HasPrefix(answer, "535 ") {
		t.Errorf("SMTP, wrong password: %q", answer)
	}
}

// pending is how many logins of each protocol wait for the dead database: together they
// are more than may ask a database at a time.
const pending = 20

// dead expects temporary failures, and that they do not hold up others.
func (b *mortal) dead(t *testing.T) {
	t.Helper()
	answers := make(chan string, 2*pending) // so that none waits for this test
	for i := range pending {
		password := b.password
		if i%2 == 1 {
			password = "wrong"
		}
		go func() { answers <- b.imap(b.user, password) }()
		go func() { answers <- b.smtpAuth(b.user, password) }()
	}
	for range 3 {
		if answer := b.imap("local@here", "secret"); !strings.HasPrefix(answer, "a OK ") {
			t.Errorf("another user: %q", answer)
		}
		if answer := b.smtpAuth("local@here", "wrong"); !strings.HasPrefix(answer, "535 ") {
			t.Errorf("another user with a wrong password: %q", answer)
		}
	}
	for range 2 * pending {
		if answer := <-answers; !strings.HasPrefix(answer, "a NO [UNAVAILABLE] ") && !strings.HasPrefix(answer, "454 4.7.0 ") {
			t.Errorf("%q", answer)
		}
	}
}

// A server of tokens that hangs keeps the logins that need it, and no others.
func TestHangingOAuth2(t *testing.T) {
	t.Parallel()
	r := startRelay(t, "127.0.0.1:9")
	r.become(hangs)
	s := start(t, harness.Dovetail, map[string]string{
		"dovecot.conf": "auth_mechanisms = plain xoauth2\n" +
			"passdb {\n  driver = oauth2\n  mechanisms = xoauth2\n  args = @DIR@/oauth2.conf.ext\n}\n" +
			"passdb {\n  driver = sql\n  mechanisms = plain\n  args = @DIR@/sql.conf.ext\n}\n",
		"oauth2.conf.ext": fmt.Sprintf("tokeninfo_url = http://127.0.0.1:%d/?t=\nmax_parallel_connections = 100\nusername_attribute = email\n", r.port()),
		"sql.conf.ext": "driver = sqlite\nconnect = " + sqliteFile(t, "CREATE TABLE users (name text, password text);\nINSERT INTO users VALUES ('alice', '{PLAIN}secret');") +
			"\npassword_query = SELECT password FROM users WHERE name = '%u'\n",
	})
	bearers := dialAuth(t, s.socket("auth-client"), "VERSION\t1\t2\nCPID\t8\n", "DONE")
	const waiting = 50
	for id := range waiting {
		token := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "user=user%d\x01auth=Bearer token\x01\x01", id))
		bearers.put(t, fmt.Sprintf("AUTH\t%d\tXOAUTH2\tservice=imap\trip=192.0.2.%d\tsecured\tresp=%s", id+1, id+1, token))
	}
	harness.Eventually(t, "connections to the server of tokens", func() bool { return r.connections() >= 10 })
	answered := make(chan string, waiting)
	go func() {
		for range waiting {
			line, err := bearers.r.ReadString('\n')
			if err != nil {
				line = err.Error()
			}
			answered <- line
		}
	}()
	a := &attacker{t: t, s: s, c: dialAuth(t, s.socket("auth-client"), "VERSION\t1\t2\nCPID\t9\n", "DONE")}
	for range 10 {
		a.admitted("alice", "secret")
	}
	if len(answered) > 0 {
		t.Errorf("a login with a token was answered: %q", <-answered)
	}
	r.become(resets)
	for range waiting {
		if line := <-answered; !strings.HasPrefix(line, "FAIL\t") || !strings.Contains(line, "\tcode=temp_fail") {
			t.Errorf("%q", line)
		}
	}
}
