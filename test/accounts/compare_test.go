package accounts

import (
	"bufio"
	"database/sql"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	_ "modernc.org/sqlite"

	"github.com/dovetail-mail/dovetail/internal/sasl"
	"github.com/dovetail-mail/dovetail/test/harness"
)

// TestSameAnswers plays the scenarios in testdata: passdbs and userdbs, the files they
// name, and requests:
//
//	AUTH USER / PASSWORD   a login with PLAIN
//	SCRAM-SHA-256 USER / PASSWORD, and so with other mechanisms
//	LOGIN-AND-REQUEST USER / PASSWORD   the same as from a login process, and what the
//	                       mail process is told
//	USER NAME, PASS NAME   lookups on the auth-userdb socket
//	LIST                   all users
func TestSameAnswers(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no scenarios", err)
	}
	servers := startServers(t)
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files := map[string]string{}
			for _, f := range archive.Files {
				files[f.Name] = servers.Replace(string(f.Data))
			}
			theirs := play(t, harness.Original, files)
			ours := play(t, harness.Dovetail, files)
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("(-Dovecot +Dovetail)\n%s", diff)
			}
		})
	}
}

// startServers starts the databases and returns what names them in the scenarios.
func startServers(t *testing.T) *strings.Replacer {
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	ldap := harness.StartSlapd(t, read("directory.ldif"))
	mariadb := harness.StartMariaDB(t, read("database.sql"), false)
	postgres := harness.StartPostgreSQL(t, read("database.sql"))
	return strings.NewReplacer(
		"@LDAP@", ldap.URI, "@LDAPPORT@", ldap.URI[strings.LastIndexByte(ldap.URI, ':')+1:], "@SQLITE@", sqliteFile(t, read("database.sql")),
		"@LDAPS@", ldap.SecureURI, "@CA@", ldap.CA,
		"@MARIADB@", fmt.Sprint(mariadb.Port), "@POSTGRES@", fmt.Sprint(postgres.Port), "@POSTGRESDIR@", postgres.Socket,
	)
}

// sqliteFile makes a database of statements.
func sqliteFile(t *testing.T, statements string) string {
	t.Helper()
	path := filepath.Join(harness.Dir(t), "users.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statements); err != nil {
		t.Fatal(err)
	}
	return path
}

const baseConfig = `base_dir = @DIR@/run
state_dir = @DIR@/state
log_path = @DIR@/log
protocols = pop3
listen = 127.0.0.1
ssl = no
mail_location = maildir:~/mail
auth_failure_delay = 0
service pop3-login {
  inet_listener pop3 {
    port = @PORT@
  }
  inet_listener pop3s {
    port = 0
  }
}
`

// A running is a program at work.
type running struct {
	*harness.Process
	dir  string
	port int // of POP3
}

func (r *running) socket(name string) string { return filepath.Join(r.dir, "run", name) }

// start starts a program with a configuration and the files it names.
func start(t *testing.T, program harness.Program, files map[string]string) *running {
	t.Helper()
	dir := harness.Dir(t)
	port := harness.FreePort(t)
	here := strings.NewReplacer("@DIR@", dir, "@PORT@", fmt.Sprint(port))
	config := filepath.Join(dir, "dovecot.conf")
	for name, text := range files {
		if name == "dovecot.conf" {
			text = baseConfig + text
		}
		path := filepath.Join(dir, name)
		harness.Write(t, path, here.Replace(text))
		if strings.HasSuffix(name, ".ext") { // only for root, as their passwords ask for
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	log := filepath.Join(dir, "log")
	harness.Write(t, log, "")
	if err := os.Chmod(log, 0o666); err != nil {
		t.Fatal(err)
	}
	command := []string{"/usr/sbin/dovecot"}
	if program == harness.Dovetail {
		command = []string{harness.Binary(t), "dovecot"}
	}
	r := &running{harness.Start(t, nil, command[0], append(command[1:], "-F", "-c", config)...), dir, port}
	harness.WaitTCP(t, r.Process, fmt.Sprintf("127.0.0.1:%d", port))
	harness.WaitSocket(t, r.Process, r.socket("auth-client"))
	harness.WaitSocket(t, r.Process, r.socket("auth-userdb"))
	return r
}

// play starts a program and puts the requests to it. It returns the answers and the
// lines that auth logs.
func play(t *testing.T, program harness.Program, files map[string]string) []string {
	t.Helper()
	r := start(t, program, files)
	answers := ask(t, r, files["requests"])
	r.Stop()
	return append(answers, authLines(t, r.dir)...)
}

// request is a login with PLAIN, each from an address of its own.
func request(id int, user, password string) string {
	resp := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	return fmt.Sprintf("AUTH\t%d\tPLAIN\tservice=imap\trip=192.0.2.%d\tsession=S%d\tsecured\tresp=%s", id, id, id, resp)
}

// ask puts the requests and returns what is answered to each.
func ask(t *testing.T, r *running, requests string) []string {
	t.Helper()
	a := newAsker(t, r)
	var answers []string
	for i, line := range strings.Split(strings.TrimSuffix(requests, "\n"), "\n") {
		answers = append(answers, a.ask(t, i+1, line)...)
	}
	return answers
}

// An asker has connections to put requests.
type asker struct {
	r              *running
	client, userdb *authConn
	login          loginProcess
}

func newAsker(t testing.TB, r *running) *asker {
	return &asker{
		r:      r,
		client: dialAuth(t, r.socket("auth-client"), "VERSION\t1\t2\nCPID\t4242\n", "DONE"),
		userdb: dialAuth(t, r.socket("auth-userdb"), "VERSION\t1\t1\n", "SPID"),
	}
}

// ask puts one request and returns it and its answers.
func (a *asker) ask(t testing.TB, id int, line string) []string {
	t.Helper()
	answers := []string{line}
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "AUTH":
		user, password, _ := strings.Cut(rest, " / ")
		a.client.put(t, request(id, user, password))
		return append(answers, a.client.line(t))
	case "LOGIN-AND-REQUEST":
		user, password, _ := strings.Cut(rest, " / ")
		return append(answers, a.login.ask(t, a.r, id, request(id, user, password))...)
	case "USER", "PASS":
		a.userdb.put(t, fmt.Sprintf("%s\t%d\t%s\tservice=lmtp", verb, id, rest))
		return append(answers, a.userdb.line(t))
	case "LIST":
		a.userdb.put(t, fmt.Sprintf("LIST\t%d\tservice=lmtp", id))
		for {
			answer := a.userdb.line(t)
			answers = append(answers, answer)
			if !strings.HasPrefix(answer, "LIST\t") {
				return answers
			}
		}
	}
	user, password, _ := strings.Cut(rest, " / ")
	return append(answers, exchange(t, a.client, id, verb, user, password))
}

// A loginProcess speaks as login processes and the mail processes after them do.
type loginProcess struct {
	login, master *authConn
	pid           int
	cookie        string
}

const firstLoginPID = 5_000_000

func (l *loginProcess) ask(t testing.TB, r *running, id int, request string) []string {
	t.Helper()
	if l.login == nil {
		harness.WaitSocket(t, r.Process, r.socket("login/login"))
		harness.WaitSocket(t, r.Process, r.socket("auth-master"))
		l.pid = firstLoginPID + id
		l.login = dialAuth(t, r.socket("login/login"), fmt.Sprintf("VERSION\t1\t2\nCPID\t%d\n", l.pid), "COOKIE")
		l.cookie, _ = strings.CutPrefix(l.login.last, "COOKIE\t")
		l.login.line(t)
		l.master = dialAuth(t, r.socket("auth-master"), "VERSION\t1\t1\n", "SPID")
	}
	l.login.put(t, request)
	answer := l.login.line(t)
	if !strings.HasPrefix(answer, "OK\t") || strings.Contains(answer, "\tnologin") || strings.Contains(answer, "\tproxy") {
		return []string{answer}
	}
	l.master.put(t, fmt.Sprintf("REQUEST\t%d\t%d\t%d\t%s", id, l.pid, id, l.cookie))
	return []string{answer, l.master.line(t)}
}

// exchange logs in with a mechanism, every other time with data in the success, and
// returns the last answer.
func exchange(t testing.TB, c *authConn, id int, mechanism, user, password string) string {
	t.Helper()
	m, ok := sasl.Lookup(mechanism)
	if !ok {
		t.Fatalf("unknown request %s", mechanism)
	}
	client := m.NewClient(sasl.Credentials{Username: user, Password: password})
	message, err := client.Start()
	if err != nil {
		t.Fatal(err)
	}
	options := ""
	if id%2 == 0 {
		options = "\tfinal-resp-ok"
	}
	if message != nil {
		options += "\tresp=" + base64.StdEncoding.EncodeToString(message)
	}
	c.put(t, fmt.Sprintf("AUTH\t%d\t%s\tservice=imap\trip=192.0.2.%d\tsession=S%d\tsecured%s", id, mechanism, id, id, options))
	for {
		answer := c.line(t)
		data, ok := strings.CutPrefix(answer, fmt.Sprintf("CONT\t%d\t", id))
		if !ok {
			return proof.ReplaceAllString(answer, "resp=PROOF")
		}
		challenge, err := base64.StdEncoding.DecodeString(data)
		if err == nil {
			message, err = client.Next(challenge)
		}
		if err != nil {
			t.Fatal(err)
		}
		c.put(t, fmt.Sprintf("CONT\t%d\t%s", id, base64.StdEncoding.EncodeToString(message)))
	}
}

// proof is data with a success, which is never the same.
var proof = regexp.MustCompile(`resp=[A-Za-z0-9+/=]+`)

// An authConn is a connection to an auth socket.
type authConn struct {
	conn net.Conn
	r    *bufio.Reader
	last string // line
}

// dialAuth does the handshake, up to a line that begins with last.
func dialAuth(t testing.TB, path, hello, last string) *authConn {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &authConn{conn: conn, r: bufio.NewReader(conn)}
	fmt.Fprint(conn, hello)
	for !strings.HasPrefix(c.line(t), last) {
	}
	return c
}

func (c *authConn) put(t testing.TB, line string) {
	t.Helper()
	if _, err := fmt.Fprintln(c.conn, line); err != nil {
		t.Fatal(err)
	}
}

func (c *authConn) line(t testing.TB) string {
	t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(60 * time.Second))
	line, err := c.r.ReadString('\n')
	if err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	c.last = strings.TrimSuffix(line, "\n")
	return c.last
}

// workerPrefix is what Dovecot has before the lines of blocking databases.
var workerPrefix = regexp.MustCompile(`^auth-worker\(\d+\): (\w+): (conn unix:auth-worker \(pid=\d+,uid=\d+\): auth-worker<\d+>: )?`)

// ages are those of a connection.
var ages = regexp.MustCompile(`created \d+ msecs ago, handshake \d+ msecs ago`)

// authLines returns the lines of auth in a log, without what varies.
func authLines(t *testing.T, dir string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, line := range strings.Split(string(text), "\n") {
		if len(line) < 16 {
			continue
		}
		line = strings.ReplaceAll(line[16:], dir, "DIR") // without the time
		line = ages.ReplaceAllString(line, "")
		line = workerPrefix.ReplaceAllString(line, "auth: $1: ")
		if strings.HasPrefix(line, "auth: ") && !strings.Contains(line, ": Query failed, retrying: ") {
			lines = append(lines, line)
		}
	}
	return lines
}
