package accounts

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// TestDebugLines compares what auth logs with auth_debug and auth_debug_passwords: what is
// said on its sockets, and each step of a request in each kind of database.
func TestDebugLines(t *testing.T) {
	t.Parallel()
	directory := harness.StartSlapd(t, readFile(t, "testdata/directory.ldif"))
	names := strings.NewReplacer("@LDAP@", directory.URI, "@SQLITE@", sqliteFile(t, readFile(t, "testdata/database.sql")))
	paths, err := filepath.Glob("testdata/debug/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files := map[string]string{}
			for _, f := range archive.Files {
				files[f.Name] = names.Replace(string(f.Data))
			}
			theirs := playDebug(t, harness.Original, files)
			ours := playDebug(t, harness.Dovetail, files)
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("(-Dovecot +Dovetail)\n%s", diff)
			}
		})
	}
}

// playDebug puts the requests to a program and returns what it logs: in order, but for the
// lines about sql, which with Dovecot are those of two processes.
func playDebug(t *testing.T, program harness.Program, files map[string]string) []string {
	t.Helper()
	r := start(t, program, files)
	answers := ask(t, r, files["requests"])
	last := answers[len(answers)-1]
	harness.Eventually(t, "the line about "+last, func() bool {
		return strings.Contains(readFile(t, filepath.Join(r.dir, "log")), "out: "+last)
	})
	r.Stop()
	var lines, sql []string
	for line := range strings.Lines(readFile(t, filepath.Join(r.dir, "log"))) {
		line = strings.ReplaceAll(strings.TrimSuffix(line, "\n"), r.dir, "DIR")
		fromWorker := strings.Contains(line, "auth-worker")
		line = workerPrefix.ReplaceAllString(line[min(16, len(line)):], "auth: $1: ")
		switch {
		case !strings.HasPrefix(line, "auth: ") || isOfStart.MatchString(line) || fromWorker && isOfWorker.MatchString(line):
		case strings.Contains(line, ": sql("):
			sql = append(sql, plainDebug(line))
		default:
			lines = append(lines, plainDebug(line))
		}
	}
	slices.Sort(sql)
	return append(lines, sql...)
}

var (
	// isOfStart matches what is about programs and files, not requests.
	isOfStart = regexp.MustCompile(`: (auth client connected \(pid=[1-9]|Loading modules|Module loaded|Wrote new auth token|passwd-file .*:Read |ldap\(.*LDAP init|sqlite: )`)

	// isOfWorker matches what workers log besides what auth logs about the same.
	isOfWorker = regexp.MustCompile(`Handling |: Finished|Performing |Finished .* lookup|Server accepted|Sending version|Disconnected`)
)

// plainDebug replaces what is never the same.
func plainDebug(line string) string {
	for _, v := range []struct{ re, with string }{
		{`(REQUEST(\t\d+){3}\t)[0-9a-f]{32}`, "${1}COOKIE"},
		{`(CONT\t\d+\t)\S{17,}`, "${1}CHALLENGE"},
		{`(client in: CONT\t\d+\t)\S{17,}`, "${1}RESPONSE"},
		{`; [A-Za-z,]+ unused$`, ""},
		{`\t+$`, ""},
	} {
		line = regexp.MustCompile(v.re).ReplaceAllString(line, v.with)
	}
	return line
}
