package accounts

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

var (
	combinations     = flag.Int("combinations", 8, "configurations that TestCombinations makes up")
	firstCombination = flag.Uint64("first-combination", 10, "number of the first of them, which is its seed")
)

// TestCombinations makes up passdbs and userdbs in sequence, with all that can be said of
// them, and puts the same requests to both programs: answers and log lines are the same.
func TestCombinations(t *testing.T) {
	t.Parallel()
	var compared atomic.Int32
	t.Cleanup(func() {
		if n := int(compared.Load()); 2*n < *combinations {
			t.Errorf("only %d of %d combinations could be compared", n, *combinations)
		}
	})
	for i := range uint64(*combinations) {
		seed := *firstCombination + i
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			g := &generator{rand.New(rand.NewPCG(seed, 5))} //nolint:gosec // the same each time
			files := g.files(t)
			theirs := combine(t, harness.Original, files)
			if slices.ContainsFunc(theirs[len(theirs)-1], func(line string) bool { return strings.Contains(line, " killed with signal ") }) {
				t.Log("the original has crashed")
				return
			}
			ours := combine(t, harness.Dovetail, files)
			compared.Add(1)
			var diff strings.Builder
			for i := range theirs {
				forgetLeaks(theirs[i], ours[i])
				only(&diff, "-", theirs[i], ours[i])
				only(&diff, "+", ours[i], theirs[i])
			}
			if diff.Len() > 0 {
				t.Errorf("(-Dovecot +Dovetail)\n%s\n%s", diff.String(), show(files))
			}
		})
	}
}

// leaking are fields with no meaning for who is refused.
var leaking = []string{"f", "g", "k", "x", "skip", "forward_a", "event_e", "tempfail", "pass", "master"}

// forgetLeaks removes from refusals of the original the fields of passdbs that refused:
// some of them stay there if an earlier passdb had fields of the same name.
func forgetLeaks(theirs, ours []string) {
	if len(theirs) != 2 || len(ours) != 2 || !strings.HasPrefix(theirs[1], "FAIL\t") {
		return
	}
	var rest []string
	mine := strings.Split(ours[1], "\t")
	for _, field := range strings.Split(theirs[1], "\t") {
		name, _, _ := strings.Cut(field, "=")
		if !slices.Contains(leaking, name) || (len(rest) < len(mine) && mine[len(rest)] == field) {
			rest = append(rest, field)
		}
	}
	theirs[1] = strings.Join(rest, "\t")
}

// only writes the lines of a list that are not in another one, behind the first, which
// says what they are about.
func only(b *strings.Builder, mark string, list, other []string) {
	rest := slices.Clone(other)
	for _, line := range list {
		if i := slices.Index(rest, line); i >= 0 {
			rest = slices.Delete(rest, i, i+1)
			continue
		}
		fmt.Fprintf(b, "%s %s: %s\n", mark, list[0], line)
	}
}

func show(files map[string]string) string {
	var b strings.Builder
	for _, name := range []string{"dovecot.conf", "users1", "users2", "sql.conf.ext"} {
		fmt.Fprintf(&b, "-- %s --\n%s", name, files[name])
	}
	return b.String()
}

// combine plays the requests, all at once, since Dovecot takes half a second for each
// failure; log lines come in any order then.
// It returns the answers to each, and then the log.
func combine(t *testing.T, program harness.Program, files map[string]string) [][]string {
	t.Helper()
	r := start(t, program, files)
	requests := strings.Split(files["requests"], "\n")
	lists := make([][]string, len(requests))
	var asking sync.WaitGroup
	for i, line := range requests {
		asking.Go(func() { lists[i] = tryAsk(r, i+1, line) })
	}
	asking.Wait()
	lists = append(lists, tryAsk(r, len(requests)+1, "LIST"))
	r.Stop()
	lines := authLines(t, r.dir)
	logins := strings.Contains(fmt.Sprint(files), "login_user=")
	for i, line := range lines {
		if logins { // which stays set in the original when the passdb that set it refuses
			line = strings.Replace(line, ",master", "", 1)
		}
		lines[i] = strings.TrimRight(unsure.ReplaceAllString(line, "$1$3"), " ")
	}
	denying := strings.Contains(files["dovecot.conf"], "deny = yes")
	lines = slices.DeleteFunc(lines, func(line string) bool {
		// Of a second passdb asked for its password; what is used is the same.
		return strings.HasSuffix(line, ": Multiple password values not supported") ||
			// The original's worker takes a passdb with deny for another one with the same args.
			denying && strings.Contains(line, ": sql(") && strings.Contains(line, ": Password mismatch")
	})
	slices.Sort(lines)
	return append(lists, append([]string{"log"}, lines...))
}

// unsure is before texts for which the original's log prefix depends on what was before.
var unsure = regexp.MustCompile(`^(auth: Info: )(.*): (User found from deny passdb|Master user logging in as .*)$`)

// tryAsk puts one request. What goes wrong is its answer: the original may crash.
func tryAsk(r *running, id int, line string) (answers []string) {
	t := &trial{}
	defer func() {
		for _, f := range t.cleanups {
			f()
		}
		if v := recover(); v != nil {
			if v != t { //nolint:errorlint // it is no error
				panic(v)
			}
			answers = []string{line, t.said}
		}
	}()
	return newAsker(t, r).ask(t, id, line)
}

// A trial is a test whose failure is a result.
type trial struct {
	testing.TB
	said     string
	cleanups []func()
}

// Helper implements [testing.TB].
func (*trial) Helper() {}

// Cleanup implements [testing.TB].
func (t *trial) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

// Fatal implements [testing.TB].
func (t *trial) Fatal(args ...any) {
	t.said = fmt.Sprint(args...)
	panic(t)
}

// Fatalf implements [testing.TB].
func (t *trial) Fatalf(format string, args ...any) { t.Fatal(fmt.Sprintf(format, args...)) }

// A generator makes up configurations.
type generator struct{ *rand.Rand }

func (g *generator) one(from ...string) string { return from[g.IntN(len(from))] }

// maybe returns a text in one of n cases.
func (g *generator) maybe(n int, text string) string {
	if g.IntN(n) > 0 {
		return ""
	}
	return text
}

// some returns up to n of the words.
func (g *generator) some(n int, words ...string) string {
	var chosen []string
	for range g.IntN(n + 1) {
		if w := g.one(words...); !slices.Contains(chosen, w) {
			chosen = append(chosen, w)
		}
	}
	return strings.Join(chosen, " ")
}

var (
	combinedNames     = []string{"alice", "bob", "carol", "dave@example.com", "erin@example.com", "alice@example.com", "bob@example.net", "master"}
	combinedPasswords = []string{"one", "two"}
	combinedFields    = []string{
		"f=1", "f=2", "g=%u", "nodelay", "nologin", "reason=Go away", "user=carol", "user=bob@example.com", "username=carol", "domain=example.org", "nopassword",
		"allow_nets=192.0.2.0/25", "allow_nets=198.51.100.1", "userdb_f=3", "userdb_home=/srv/%n", "userdb_uid=9", "userdb_gid=9", "userdb_user=dave@example.com",
		"proxy", "host=192.0.2.77", "port=1143", "destuser=z", "noauthenticate", "login_user=bob", "fail", "k=a:b", "userdb_quota_rule=*:bytes=1", "f:protected=9",
		"forward_a=1", "event_e=1", "original_user=q", "master=m", "pass=p", "x", "userdb_mail=maildir:/x", "skip=y", "tempfail",
	}
)

// files are the configuration, what it names, and the requests.
func (g *generator) files(t *testing.T) map[string]string {
	files := map[string]string{"users1": g.users(), "users2": g.users(), "sql.conf.ext": g.database(t)}
	var b strings.Builder
	b.WriteString("auth_mechanisms = plain login cram-md5 scram-sha-256\nauth_verbose = yes\n")
	b.WriteString(g.maybe(2, "auth_username_chars = "+g.one("", "abcdefghijklmnopqrstuvwxyz@.ABC*")+"\n"))
	b.WriteString(g.maybe(2, "auth_username_format = "+g.one("", "%u", "%Ln", "%n", "%{domain}+%n")+"\n"))
	b.WriteString(g.maybe(4, "auth_username_translation = "+g.one("ae", "#@", "AaBb")+"\n"))
	realm := g.maybe(3, "auth_default_realm = "+g.one("example.com", "example.net")+"\n")
	b.WriteString(realm)
	b.WriteString(g.maybe(2, "auth_master_user_separator = *\n"))
	b.WriteString(g.maybe(3, "auth_verbose_passwords = "+g.one("plain", "sha1", "plain:1", "sha1:6", "yes")+"\n"))
	b.WriteString(g.maybe(8, "auth_anonymous_username = carol\n"))
	master := g.IntN(2) == 0
	for i := range 1 + g.IntN(4) {
		b.WriteString(g.passdb(master && i == 0))
	}
	b.WriteString("passdb {\n  driver = passwd-file\n  args = @DIR@/users2\n}\n")
	for range g.IntN(4) {
		b.WriteString(g.userdb())
	}
	files["dovecot.conf"] = b.String()
	// Left out is what differs for a reason: no name with a realm, passwords that are none,
	// lookups of several passdbs that have to have the same scheme.
	conf := files["dovecot.conf"]
	any := strings.Contains(conf+files["users1"]+files["users2"], "nopassword")
	passwords := []string{"one", "two", "", "wrong"}
	if strings.Contains(conf, "scheme=PLAIN") { // the empty ones would be right in the original
		passwords[2] = "wrong"
	}
	files["requests"] = g.requests(passwords, realm == "" && !strings.Contains(conf, "}+%n"), !any, !strings.Contains(conf, "result_success = continue"))
	return files
}

func (g *generator) users() string {
	var b strings.Builder
	for _, name := range combinedNames {
		if g.IntN(3) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s:%s:%s:%s::%s::%s\n", name, g.password(), g.one("8", "8", "9", ""), g.one("8", "8", ""), g.one("/srv/"+name, ""), g.some(2, combinedFields...))
	}
	return b.String()
}

func (g *generator) password() string {
	return g.one("{PLAIN}one", "{PLAIN}one", "{PLAIN}two", "one", "", "{SHA}", "{SHA}/gXB8skkL6Bn1ZfJ8UlkxQ6kNA4=", "{PLAIN-MD5}f97c5d29941bfb1b2fdab0874906ab82", "{NONSENSE}x")
}

// database is a table of users in SQLite.
func (g *generator) database(t *testing.T) string {
	statements := "CREATE TABLE users (name text, password text, f text, uid int);\n"
	for _, name := range combinedNames {
		if g.IntN(3) > 0 {
			statements += fmt.Sprintf("INSERT INTO users VALUES ('%s', %s, %s, %d);\n", name, g.one("NULL", "'{PLAIN}one'", "'{PLAIN}two'", "'{PLAIN}two'"), g.one("NULL", "'3'"), 8+g.IntN(2))
		}
	}
	return "driver = sqlite\nconnect = " + sqliteFile(t, statements) + "\ndefault_pass_scheme = PLAIN\n" +
		"password_query = SELECT password, f, uid AS userdb_uid" + g.maybe(3, ", name || '@example.com' AS user") + " FROM users WHERE name = '%" + g.one("u", "n") + "'\n" +
		"user_query = SELECT uid, 8 AS gid, '/srv/%n' AS home, f FROM users WHERE name = '%u'\niterate_query = SELECT name AS user FROM users\n"
}

// section is what passdbs and userdbs share.
func (g *generator) section(success, failure []string) string {
	fields := slices.DeleteFunc(slices.Clone(combinedFields), func(f string) bool { return f == "nopassword" })
	return g.maybe(4, "  default_fields = "+g.some(2, fields...)+"\n") + g.maybe(4, "  override_fields = "+g.some(2, fields...)+"\n") +
		g.maybe(3, "  result_success = "+g.one(success...)+"\n") + g.maybe(3, "  result_failure = "+g.one(failure...)+"\n") +
		g.maybe(4, "  result_internalfail = "+g.one(failure...)+"\n")
}

var combinedRules = []string{"return-ok", "return", "return-fail", "continue", "continue-ok", "continue-fail"}

var defaultFields = regexp.MustCompile(`(?m)^  default_fields = .*\n`)

func (g *generator) passdb(master bool) string {
	text := "passdb {\n"
	inWorker := false
	switch g.IntN(6) {
	case 0:
		text += "  driver = static\n  args = " + g.one("password=one", "nopassword=y", "password={PLAIN}two") + " " + g.some(2, combinedFields...) + "\n"
	case 1:
		// The original does not give default_fields to databases that it asks in a worker,
		// and takes a master passdb there for another one with the same args.
		text += "  driver = sql\n  args = @DIR@/sql.conf.ext\n"
		inWorker = true
	default:
		text += "  driver = passwd-file\n  args = " + g.maybe(3, "username_format=%n ") + g.maybe(3, "scheme=PLAIN ") + "@DIR@/users" + g.one("1", "2") + "\n"
	}
	section := g.section(combinedRules, combinedRules)
	if inWorker {
		section = defaultFields.ReplaceAllString(section, "")
	}
	text += section
	text += g.maybe(4, "  skip = "+g.one("authenticated", "unauthenticated")+"\n") + g.maybe(4, "  mechanisms = "+g.some(2, "plain", "cram-md5", "login", "none")+"\n") +
		g.maybe(4, "  username_filter = "+g.some(2, "*@example.com", "!bob*", "a*", "*", "!*@example.net", "?????")+"\n") + g.maybe(8, "  name = db"+fmt.Sprint(g.IntN(9))+"\n")
	switch {
	case master && !inWorker:
		text += "  master = yes\n"
	case master:
	case g.IntN(6) == 0:
		text += "  deny = yes\n"
	}
	return text + "}\n"
}

func (g *generator) userdb() string {
	text := "userdb {\n"
	switch g.IntN(5) {
	case 0:
		text += "  driver = static\n  args = uid=8 gid=8 home=/srv/%u " + g.maybe(2, "allow_all_users=yes") + "\n"
	case 1:
		text += "  driver = prefetch\n"
	case 2:
		text += "  driver = sql\n  args = @DIR@/sql.conf.ext\n"
	default:
		text += "  driver = passwd-file\n  args = @DIR@/users" + g.one("1", "2") + "\n"
	}
	return text + g.section(combinedRules, combinedRules) + g.maybe(4, "  skip = "+g.one("found", "notfound")+"\n") + "}\n"
}

func (g *generator) requests(passwords []string, noName, proofs, lookups bool) string {
	var b strings.Builder
	name := func() string {
		n := g.one(append([]string{"nobody", "Alice", "a b", "bob#x", "", "alice@EXAMPLE.com"}, combinedNames...)...)
		if n == "" && !noName {
			n = "nobody"
		}
		if g.IntN(6) == 0 {
			n += "*" + g.one(combinedNames...)
		}
		return n
	}
	target := func() string { // names for whose lookup the original's auth process crashes are not among them
		return g.one(append([]string{"nobody", "Alice"}, combinedNames...)...)
	}
	for range 60 {
		kind := g.IntN(10)
		if kind == 4 && !proofs {
			kind++
		}
		if (kind == 2 || kind == 3) && !lookups {
			kind = 0
		}
		switch kind {
		case 0, 1:
			fmt.Fprintf(&b, "USER %s\n", target())
		case 2, 3:
			fmt.Fprintf(&b, "PASS %s\n", target())
		case 4:
			fmt.Fprintf(&b, "%s %s / %s\n", g.one("CRAM-MD5", "SCRAM-SHA-256"), g.one(combinedNames...), g.one(combinedPasswords...))
		case 5, 6, 7:
			fmt.Fprintf(&b, "LOGIN-AND-REQUEST %s / %s\n", name(), g.one(passwords...))
		default:
			fmt.Fprintf(&b, "AUTH %s / %s\n", name(), g.one(passwords...))
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}
