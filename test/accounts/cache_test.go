package accounts

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

const cacheConfig = `auth_cache_size = 1M
auth_cache_ttl = @TTL@
auth_cache_negative_ttl = @TTL@
auth_verbose = yes
passdb {
  driver = sql
  args = @DIR@/sql.conf.ext
}
userdb {
  driver = sql
  args = @DIR@/sql.conf.ext
}
`

const cacheSQL = `driver = sqlite
connect = @DIR@/users.db
default_pass_scheme = PLAIN
password_query = SELECT password, nets AS allow_nets, '/srv/%n' AS userdb_home FROM users WHERE name = '%u'
user_query = SELECT home, 8 AS uid, 8 AS gid FROM users WHERE name = '%u'
`

// cacheSteps are requests, and what happens in between.
var cacheSteps = []string{
	"SQL CREATE TABLE users (name text, password text, home text, nets text)",
	"SQL INSERT INTO users VALUES ('alice', 'secret', '/home/alice', NULL), ('bob', '{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=', '/home/bob', '198.51.100.0/24')",
	"AUTH alice / secret",
	"SQL UPDATE users SET password = 'new', home = '/new/alice'",
	"AUTH alice / secret", // kept
	"AUTH alice / new",    // another password than the one that was right: asked again
	"AUTH alice / secret", // and so is this
	"AUTH alice / wrong",  // refused without asking: the last was wrong
	"AUTH alice / new",    // right
	"AUTH nosuch / x", "USER nosuch", "USER alice", "PASS alice", "PASS nosuch",
	"SQL INSERT INTO users VALUES ('nosuch', 'x', '/home/nosuch', NULL)",
	"SQL UPDATE users SET home = '/newer/alice' WHERE name = 'alice'",
	"AUTH nosuch / x", "USER nosuch", "USER alice", // kept, too
	"FLUSH nosuch", "AUTH nosuch / x", "USER nosuch", "USER alice",
	"FLUSH alice nosuch", "USER alice",
	"AUTH bob / new", "AUTH bob / new", // the field is kept, and has its effect
	"FLUSH", "FLUSH", "FLUSH bob",
	"AUTH alice / new", "AUTH alice / new", "AUTH nobody / x",
	"USR2", "USR2", "HUP", "HUP", "USR2",
}

// expirySteps go by entries that are too old, if there is nothing better.
var expirySteps = []string{
	"SQL CREATE TABLE users (name text, password text, home text, nets text)",
	"SQL INSERT INTO users VALUES ('alice', 'secret', '/home/alice', NULL)",
	"AUTH alice / secret", "USER alice", "AUTH nosuch / x", "USER nosuch",
	"WAIT",
	"SQL UPDATE users SET home = '/new/alice'",
	"USER alice",
	"SQL ALTER TABLE users RENAME TO gone",
	"AUTH alice / secret", "AUTH nosuch / x", "AUTH carol / x",
	"WAIT",
	"USER alice", "USER nosuch", "USER carol",
	"SQL ALTER TABLE gone RENAME TO users",
	"AUTH alice / secret", "AUTH alice / wrong",
}

// TestCache compares what auth answers and logs with auth_cache_size.
func TestCache(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		ttl   string
		steps []string
	}{
		"kept": {"1 hour", cacheSteps}, "expired": {"1 s", expirySteps},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"dovecot.conf": strings.ReplaceAll(cacheConfig, "@TTL@", tt.ttl), "sql.conf.ext": cacheSQL}
			theirs := playCache(t, harness.Original, "/usr/bin/doveadm", "", files, tt.steps)
			ours := playCache(t, harness.Dovetail, harness.Binary(t), "doveadm ", files, tt.steps)
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("(-Dovecot +Dovetail)\n%s", diff)
			}
		})
	}
}

func playCache(t *testing.T, program harness.Program, doveadm, name string, files map[string]string, steps []string) []string {
	t.Helper()
	r := start(t, program, files)
	db := openDatabase(t, filepath.Join(r.dir, "users.db"))
	auth := dialAuth(t, r.socket("auth-client"), "VERSION\t1\t2\nCPID\t4242\n", "MECH")
	pid := 0
	for line := ""; line != "DONE"; line = auth.line(t) {
		if number, ok := strings.CutPrefix(line, "SPID\t"); ok {
			pid, _ = strconv.Atoi(number)
		}
	}
	userdb := dialAuth(t, r.socket("auth-userdb"), "VERSION\t1\t1\n", "SPID")
	var answers []string
	for i, step := range steps {
		verb, rest, _ := strings.Cut(step, " ")
		answers = append(answers, step)
		switch verb {
		case "AUTH":
			user, password, _ := strings.Cut(rest, " / ")
			auth.put(t, request(i+1, user, password))
			answers = append(answers, auth.line(t))
		case "USER", "PASS":
			userdb.put(t, fmt.Sprintf("%s\t%d\t%s\tservice=lmtp", verb, i+1, rest))
			answers = append(answers, userdb.line(t))
		case "SQL":
			if _, err := db.ExecContext(context.Background(), rest); err != nil {
				t.Fatal(err)
			}
		case "FLUSH":
			answers = append(answers, fmt.Sprint(runDoveadm(t, r, doveadm, strings.TrimSpace(name+"auth cache flush "+rest))))
		case "WAIT":
			time.Sleep(2100 * time.Millisecond) // for an age of more than one second, in whole seconds
		case "HUP":
			signalAuth(t, r, pid, syscall.SIGHUP, "cache entries flushed")
		case "USR2":
			signalAuth(t, r, pid, syscall.SIGUSR2, "Authentication cache current size")
		}
	}
	r.Stop()
	return append(answers, cacheLines(t, r.dir)...)
}

func openDatabase(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(30000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := db.Ping(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	return db
}

// signalAuth sends a signal to auth and waits until one more line has the text.
func signalAuth(t *testing.T, r *running, pid int, sig syscall.Signal, text string) {
	t.Helper()
	count := func() int {
		log, err := os.ReadFile(filepath.Join(r.dir, "log"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(log), text)
	}
	before := count()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(60 * time.Second); count() == before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("auth did not log %q after signal %v", text, sig)
		}
	}
}

var (
	cacheBytes = regexp.MustCompile(`\d+ bytes( used of \d+ bytes \(\d+%\))?`)
	sqlErrors  = regexp.MustCompile(`(Password|User) query failed: .*`)
)

// cacheLines are the lines of auth without the sizes of entries and the words of the
// library about errors. They are sorted: Dovecot's come from several processes.
func cacheLines(t *testing.T, dir string) []string {
	var lines []string
	for _, line := range authLines(t, dir) {
		if strings.Contains(line, "Warning: sqlite: finalize failed") {
			continue // of the library, when the schema has changed
		}
		if strings.Contains(line, ",<S") && slices.Contains(lines, line) {
			continue // Dovecot's auth says of fields what its worker has said
		}
		lines = append(lines, sqlErrors.ReplaceAllString(cacheBytes.ReplaceAllString(line, "SIZE"), "$1 query failed"))
	}
	slices.Sort(lines)
	return lines
}
