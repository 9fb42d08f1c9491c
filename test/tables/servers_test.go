package tables

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/table/postmap"
	"github.com/dovetail-mail/dovetail/test/harness"
)

func TestMain(m *testing.M) {
	// Postfix's programs wait for a second before they end with an error.
	flag.Set("test.parallel", "16") //nolint:errcheck // it exists
	status := m.Run()
	harness.CleanUp()
	os.Exit(status)
}

// answer is what a run of postmap shows.
type answer struct {
	out, err string
	status   int
}

// ours runs our postmap, theirs Postfix's.
func ours(args []string, stdin string) answer {
	var out, errs bytes.Buffer
	status := postmap.Main(args, strings.NewReader(stdin), &out, &errs)
	return answer{out.String(), tidy(errs.String()), status}
}

func theirs(t *testing.T, args []string, stdin string) answer {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command("/usr/sbin/postmap", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	if _, failed := err.(*exec.ExitError); err != nil && !failed {
		t.Fatalf("postmap: %v: run test/install-packages", err)
	}
	return answer{out.String(), tidy(errs.String()), cmd.ProcessState.ExitCode()}
}

// What follows "query error" is whatever was the last error of a system call in the
// original; client libraries have their own words for what is wrong with a connection.
var reasons = regexp.MustCompile(`(query error|delete error|connect to (?:my|pg)sql server [^ :]+(?::\S+?)*): .*|(SQL prepare failed|Can't contact LDAP server\)|query failed|fatal error from host \S+): ?.*`)

func tidy(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, "/main.cf, line ") && strings.Contains(line, ": overriding earlier entry: ") {
			continue // the variants do that
		}
		// Going on after a table's content was found unusable is Postfix's fatal error.
		line = strings.Replace(line, "postmap: fatal: dict_sqlite_lookup", "postmap: warning: dict_sqlite_lookup", 1)
		lines = append(lines, reasons.ReplaceAllString(strings.TrimSuffix(line, "\n"), "$1$2"))
	}
	return strings.Join(lines, "\n")
}

// A variant is one table's configuration and the keys that are looked up in it.
type variant struct {
	name, config string
	keys         []string
	// failure is that the lookup fails: then only that is compared, and the first warning.
	failure bool
}

// compare asks both programs for all keys of all variants, of a file and of parameters in main.cf.
func compare(t *testing.T, typ, common string, inOrder bool, variants []variant) {
	t.Helper()
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			if !inOrder {
				t.Parallel()
			}
			dir := t.TempDir()
			file := filepath.Join(dir, "client.cf")
			text := common + v.config + "\n"
			write(t, file, text)
			var main strings.Builder
			main.WriteString("smtputf8_enable = no\ncompatibility_level = 3.6\n")
			for line := range strings.Lines(text) {
				if strings.TrimSpace(line) != "" {
					main.WriteString("client_" + strings.ReplaceAll(line, "$", "$$"))
				}
			}
			write(t, filepath.Join(dir, "main.cf"), main.String())
			for _, spec := range []string{typ + ":" + file, typ + ":client"} {
				args := []string{"-c", dir, "-q", "-", spec}
				got, want := ours(args, strings.Join(v.keys, "\n")), theirs(t, args, strings.Join(v.keys, "\n"))
				if v.failure {
					got.err, _, _ = strings.Cut(got.err, "\n")
					want.err, _, _ = strings.Cut(want.err, "\n")
				}
				if got != want {
					t.Errorf("postmap -q - %s\n got %+v\nwant %+v", spec, got, want)
				}
			}
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	harness.Write(t, path, text)
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, past, past); err != nil {
		t.Fatal(err)
	}
}

var keys = []string{
	"alice@example.com", "ALICE@example.com", "alice", "@example.com", "x@nowhere.org", "al*@example.com", "a(b)@example.com",
	"x'y@example.com", `a\b@example.com`, `a"b@example.com`, "info@example.com", "empty@example.com", "null@example.com", "info@sub.example.com", "alice@",
}

const directory = `dn: dc=example,dc=com
objectClass: domain
dc: example

dn: ou=people,dc=example,dc=com
objectClass: organizationalUnit
ou: people

dn: uid=alice,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: A
mail: alice@example.com
mail: alice2@example.com
userPassword: alicepass

dn: uid=bob,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: B
mail: bob@example.com

dn: uid=odd\2C one,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: odd, one
cn: Odd
sn: O
mail: a(b)@example.com

dn: cn=staff,ou=people,dc=example,dc=com
objectClass: groupOfNames
cn: staff
member: uid=alice,ou=people,dc=example,dc=com
member: uid=bob,ou=people,dc=example,dc=com
description: extra@example.net

dn: cn=all,ou=people,dc=example,dc=com
objectClass: groupOfNames
cn: all
member: cn=staff,ou=people,dc=example,dc=com
member: uid=odd\2C one,ou=people,dc=example,dc=com

dn: cn=broken,ou=people,dc=example,dc=com
objectClass: groupOfNames
cn: broken
member: uid=gone,ou=people,dc=example,dc=com
member: uid=bob,ou=people,dc=example,dc=com

dn: cn=url,ou=people,dc=example,dc=com
objectClass: groupOfNames
objectClass: labeledURIObject
cn: url
member: uid=bob,ou=people,dc=example,dc=com
labeledURI: ldap:///ou=people,dc=example,dc=com?mail?sub?(uid=alice)
labeledURI: ldap:///ou=people,dc=example,dc=com?telephoneNumber?sub?(uid=bob)
`

// The real slapd is asked in all the ways that ldap_table(5) has.
func TestLDAP(t *testing.T) {
	t.Parallel()
	s := harness.StartSlapd(t, directory)
	base := "search_base = dc=example,dc=com\n"
	group := base + "query_filter = (cn=%u)\nresult_attribute = mail, description\n"
	groups := []string{"staff", "staff@example.com", "all@example.com", "broken@example.com", "url@example.com", "none@example.com"}
	compare(t, "ldap", "server_host = "+s.URI+"\nversion = 3\nbind = no\n", false, []variant{
		{"simple", base + "query_filter = (mail=%s)\nresult_attribute = uid", keys, false},
		{"default attribute", base + "query_filter = (mail=%s)", keys[:3], false},
		{"result format", base + "query_filter = (mail=%s)\nresult_attribute = mail\nresult_format = {%u|%d|%s|%1|%U|%D|%S|%%}", keys, false},
		{"user and domain", base + "query_filter = (&(uid=%u)(mail=*@%d))\nresult_attribute = mail", keys, false},
		{"labels", "search_base = dc=%2,dc=%1\nquery_filter = (mail=%s)\nresult_attribute = uid", keys, false},
		{"domain list", base + "query_filter = (mail=%s)\nresult_attribute = uid\ndomain = example.org, inline:{example.net=1}", keys, false},
		{"in the domain list", base + "query_filter = (mail=%s)\nresult_attribute = uid\ndomain = example.com", keys, false},
		{"scope one", "search_base = ou=people,dc=example,dc=com\nscope = one\nquery_filter = (uid=%u)\nresult_attribute = mail", keys[:4], false},
		{"scope base", "search_base = uid=%u,ou=people,dc=example,dc=com\nscope = base\nquery_filter = (uid=%u)\nresult_attribute = mail", append(keys[:4:4], `odd, one@x`), false},
		{"scope unknown", base + "scope = onelevel\nquery_filter = (uid=%u)\nresult_attribute = mail", keys[:2], false},
		{"groups", group + "special_result_attribute = member", groups, false},
		{"leaf attribute", base + "query_filter = (cn=%u)\nresult_attribute =\nleaf_result_attribute = mail, cn\nspecial_result_attribute = member", groups, false},
		{"terminal attribute", group + "terminal_result_attribute = description\nspecial_result_attribute = member", groups[:2], false},
		{"urls", group + "special_result_attribute = labeledURI", groups, false},
		{"recursion limit", group + "special_result_attribute = member\nrecursion_limit = 1", groups[:2], true},
		{"recursion limit reached later", group + "special_result_attribute = member\nrecursion_limit = 2", groups[2:3], true},
		{"expansion limit", group + "special_result_attribute = member\nexpansion_limit = 2", groups[:1], true},
		{"expansion limit not reached", group + "special_result_attribute = member\nexpansion_limit = 20", groups, false},
		{"size limit", base + "query_filter = (objectClass=inetOrgPerson)\nresult_attribute = mail\nsize_limit = 1", keys[:1], true},
		{"fixed filter", base + "query_filter = (uid=bob)\nresult_attribute = mail", keys[:2], false},
		{"no such base", "search_base = dc=nowhere\nquery_filter = (mail=%s)", keys[:1], true},
		{"bad filter", base + "query_filter = ((mail=%s)", keys[:1], true},
		{"bad password", base + "query_filter = (mail=%s)\nbind = yes\nbind_dn = cn=admin,dc=example,dc=com\nbind_pw = wrong", keys[:1], true},
		{"password", base + "query_filter = (mail=%s)\nresult_attribute = uid\nbind = yes\nbind_dn = cn=admin,dc=example,dc=com\nbind_pw = adminsecret", keys[:3], false},
		{"bad template", base + "query_filter = (mail=%x)", keys[:1], false},
		{"bad number", base + "timeout = 10s", keys[:1], false},
		{"bad bind", base + "bind = maybe", keys[:1], false},
		{"start tls", base + "query_filter = (mail=%s)\nresult_attribute = uid\nstart_tls = yes\ntls_ca_cert_file = " + s.CA, keys[:2], false},
		{"start tls, wrong CA", "server_host = " + strings.Replace(s.URI, "127.0.0.1", "localhost", 1) + "\n" + base + "query_filter = (mail=%s)\nresult_attribute = uid\nstart_tls = yes\ntls_require_cert = yes\ntls_ca_cert_file = " + "/etc/ssl/certs/ca-certificates.crt", keys[:1], true},
		{"ldaps", "server_host = " + s.SecureURI + "\n" + base + "query_filter = (mail=%s)\nresult_attribute = uid", keys[:2], false},
		{"second server", "server_host = ldap://127.0.0.1:1, " + s.URI + "\n" + base + "query_filter = (mail=%s)\nresult_attribute = uid", keys[:2], false},
		{"server down", "server_host = ldap://127.0.0.1:1\n" + base + "query_filter = (mail=%s)", keys[:1], true},
		{"host and port", "server_host = " + strings.TrimPrefix(s.URI, "ldap://") + "\n" + base + "query_filter = (mail=%s)\nresult_attribute = uid", keys[:2], false},
	})
}

const rows = `CREATE TABLE v (k VARCHAR(80), v VARCHAR(80), w VARCHAR(80));
INSERT INTO v VALUES ('alice@example.com', 'alice', 'a2'), ('info@example.com', 'alice', 'w1'), ('info@example.com', 'bob@x.org', NULL),
 ('empty@example.com', '', ''), ('null@example.com', NULL, NULL), ('x''y@example.com', 'quote', 'q'), ('@example.com', 'catchall', 'c'), ('alice', 'local', 'l');
`

// sqlVariants are what is the same for all databases.
var sqlVariants = []variant{
	{"query", "query = SELECT v FROM v WHERE k='%s'", keys, false},
	{"several columns", "query = SELECT v, w FROM v WHERE k='%s'", keys, false},
	{"parts", "query = SELECT v FROM v WHERE k='%u@%d'", keys, false},
	{"labels", "query = SELECT v FROM v WHERE k='%u@%2.%1'", keys, false},
	{"result format", "query = SELECT v FROM v WHERE k='%s'\nresult_format = <%s>(%U,%D)", keys, false},
	{"result domain", "query = SELECT v FROM v WHERE k='%s'\nresult_format = %u at %d", keys, false},
	{"old form", "table = v\nselect_field = v\nwhere_field = k\nadditional_conditions = AND v <> 'alice'", keys, false},
	{"domain", "query = SELECT v FROM v WHERE k='%s'\ndomain = example.com", keys, false},
	{"expansion limit", "query = SELECT v FROM v WHERE k='%s'\nexpansion_limit = 1", []string{"alice@example.com", "info@example.com"}, false},
	{"like", "query = SELECT v FROM v WHERE k LIKE '%%@%d' AND v = 'catchall'", keys[:6], false},
	{"nothing", "query = SELECT v FROM v WHERE k='%s' AND 1=0", keys[:2], false},
	{"bad query", "query = SELECT nope FROM v WHERE k='%s'", keys[:1], true},
	{"bad template", "query = SELECT v FROM v WHERE k='%x'", keys[:1], false},
	{"no query", "table = v", keys[:1], false},
	{"bad number", "query = SELECT 1\nexpansion_limit = many", keys[:1], false},
	{"bad least", "query = SELECT 1\nexpansion_limit = -1", keys[:1], false},
}

// The real MariaDB is asked in all the ways that mysql_table(5) has.
func TestMySQL(t *testing.T) {
	t.Parallel()
	s := harness.StartMariaDB(t, rows+"CREATE PROCEDURE p(IN x VARCHAR(80)) SELECT v FROM v WHERE k = x;\nGRANT EXECUTE ON mailserver.* TO dovecot@'127.0.0.1';\n", false)
	login := "user = dovecot\npassword = dbpass\ndbname = mailserver\n"
	tcp := fmt.Sprintf("hosts = inet:127.0.0.1:%d\n", s.Port)
	variants := append(sqlVariants[:len(sqlVariants):len(sqlVariants)], []variant{
		{"socket", "hosts = unix:" + s.Socket + "\nquery = SELECT v FROM v WHERE k='%s'", keys[:3], false},
		{"without inet", strings.Replace(tcp, "inet:", "", 1) + "query = SELECT v FROM v WHERE k='%s'", keys[:3], false},
		{"procedure", "query = CALL p('%s')", keys[:4], false},
		{"no database", "dbname =\nquery = SELECT 1", keys[:1], false},
		{"bad password", "password = wrong\nquery = SELECT v FROM v WHERE k='%s'", keys[:1], true},
		{"server down", "hosts = inet:127.0.0.1:1\nquery = SELECT v FROM v WHERE k='%s'", keys[:1], true},
		{"TLS", "query = SELECT v FROM v WHERE k='%s'\ntls_CAfile = " + s.CA, keys[:2], false},
	}...)
	compare(t, "mysql", tcp+login, false, variants)
	t.Run("second server", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "client.cf")
		write(t, file, login+fmt.Sprintf("hosts = inet:127.0.0.1:1 inet:127.0.0.1:%d\n", s.Port)+"query = SELECT v FROM v WHERE k='%s'\n")
		got := ours([]string{"-q", "-", "mysql:" + file}, strings.Repeat("alice@example.com\n", 10))
		if strings.Count(got.out, "\talice\n") != 10 || got.status != 0 {
			t.Errorf("got %+v", got)
		}
		if n := strings.Count(got.err, "connect to"); n > 1 {
			t.Errorf("a server that is down was tried %d times", n)
		}
	})
}

// The real PostgreSQL is asked in all the ways that pgsql_table(5) has.
func TestPgSQL(t *testing.T) {
	t.Parallel()
	s := harness.StartPostgreSQL(t, strings.ReplaceAll(rows, "CREATE TABLE", "CREATE TABLE")+"CREATE FUNCTION f(TEXT) RETURNS SETOF VARCHAR AS 'SELECT v FROM v WHERE k = $1' LANGUAGE SQL;")
	login := "user = dovecot\npassword = dbpass\ndbname = mailserver\n"
	tcp := fmt.Sprintf("hosts = inet:localhost:%d\n", s.Port)
	var variants []variant
	for _, v := range sqlVariants {
		if v.name != "no query" && v.name != "bad query" {
			variants = append(variants, v)
		}
	}
	compare(t, "pgsql", tcp+login, false, append(variants, []variant{
		{"function", "select_function = f", keys, false},
		{"URI", fmt.Sprintf("hosts = postgresql://dovecot:dbpass@localhost:%d/mailserver\nquery = SELECT v FROM v WHERE k='%%s'", s.Port), keys[:3], false},
		{"no database", "dbname =\nquery = SELECT 1", keys[:1], false},
	}...))
}

// SQLite is asked in all the ways that sqlite_table(5) has.
func TestSQLite(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "db")
	harness.Run(t, "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\nc.executescript('''"+strings.ReplaceAll(rows, "'''", `"'"`)+"''')\n", "python3", "-", file)
	compare(t, "sqlite", "dbpath = "+file+"\n", false, append(sqlVariants[:len(sqlVariants):len(sqlVariants)], []variant{
		{"no path", "dbpath =\nquery = SELECT 1", keys[:1], false},
	}...))
	// A file that is missing is not made, and a lookup fails.
	client := filepath.Join(t.TempDir(), "client.cf")
	write(t, client, "dbpath = "+file+".missing\nquery = SELECT 1\n")
	if got := ours([]string{"-q", "a", "sqlite:" + client}, ""); got.status != 1 || !strings.Contains(got.err, "query error") {
		t.Errorf("got %+v", got)
	}
	if _, err := os.Stat(file + ".missing"); err == nil {
		t.Error("the database was made")
	}
}

// The real memcached, alone and in front of another table.
func TestMemcache(t *testing.T) {
	t.Parallel()
	port := harness.FreePort(t)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	p := harness.Start(t, nil, "/usr/bin/memcached", "-u", "nobody", "-l", "127.0.0.1", "-p", fmt.Sprint(port))
	harness.WaitTCP(t, p, addr)
	at := "memcache = inet:" + addr + "\n"
	compare(t, "memcache", at, true, []variant{
		{"nothing there", "", keys[:3], false},
		{"backup", "backup = inline:{alice@example.com=a, {x = y z}}\nkey_format = b.%s", append(keys[:3:3], "x", "two words"), false},
		{"backup again", "backup = inline:{}\nkey_format = b.%s", keys[:1], false},
		{"without backup", "key_format = b.%s", keys[:3], false},
		{"domain", "key_format = b.%s\ndomain = example.org", keys[:3], false},
		{"bad template", "key_format = %x", keys[:1], false},
		{"bad number", "ttl = 1h", keys[:1], false},
		{"down, backup", "memcache = inet:127.0.0.1:1\nmax_try = 1\nbackup = inline:{alice@example.com=a}", keys[:3], false},
		{"down", "memcache = inet:127.0.0.1:1\nmax_try = 1", keys[:1], false},
	})
	client := filepath.Join(t.TempDir(), "client.cf")
	write(t, client, at+"key_format = b.%s\n")
	for _, args := range []string{"-q alice@example.com", "-d alice@example.com", "-d alice@example.com", "-q alice@example.com", "-s", "-i"} {
		words := append(strings.Fields(args), "memcache:"+client)
		got := ours(words, "")
		if args == "-d alice@example.com" && got.status == 0 { // it is gone for Postfix, too
			ours([]string{"-q", "alice@example.com", "memcache:" + client}, "")
			continue
		}
		if want := theirs(t, words, ""); got != want {
			t.Errorf("postmap %s\n got %+v\nwant %+v", args, got, want)
		}
	}
}
