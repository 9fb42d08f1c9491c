package tools

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// traces are messages of sendmail(1) and what becomes of them: what it says, the
// letters that the next hop gets, and the lines of the log about recipients.
var traces = []struct {
	name    string
	args    []string
	stdin   string
	letters int
}{
	{"would be delivered", []string{"-bv", "-f", "sender@origin.test", "good@remote.test"}, "", 1},
	{"would bounce, some", []string{"-bv", "-f", "sender@origin.test", "good@remote.test", "r550@remote.test"}, "", 1},
	{"would be discarded", []string{"-bv", "-f", "sender@origin.test", "user0@example.test"}, "", 1},
	{"would be deferred", []string{"-bv", "-f", "sender@origin.test", "busy@remote.test"}, "", 1},
	{"delivered, with a report", []string{"-v", "-f", "sender@origin.test", "good@remote.test"}, plainLetter, 2},
	{"some bounce, with a report", []string{"-v", "-f", "sender@origin.test", "good@remote.test", "r550@remote.test"}, plainLetter, 3},
	{"bounces, with a report", []string{"-v", "-f", "sender@origin.test", "r550@remote.test"}, plainLetter, 2},
	{"success is reported", []string{"-f", "sender@origin.test", "-N", "success", "-V", "id+1", "user0@example.test"}, plainLetter, 1},
	{"VERP", []string{"-XV", "-f", "list@origin.test", "good@remote.test", "other@remote.test", "r550@remote.test", "r550@third.test"}, plainLetter, 4},
	{"VERP with delimiters", []string{"-XV-=", "-f", "list@origin.test", "good@remote.test", "r550@remote.test"}, plainLetter, 2},
	{"VERP of an alias", []string{"-XV", "-f", "list@origin.test", "one@alias.test", "many@alias.test"}, plainLetter, 3},
	{"success of aliases", []string{"-f", "sender@origin.test", "-N", "success,failure", "many@alias.test"}, plainLetter, 3},
	{"success only, of an alias", []string{"-f", "sender@origin.test", "-N", "success", "one@alias.test"}, plainLetter, 2},
	{"would go to the members of an alias", []string{"-bv", "-f", "sender@origin.test", "many@alias.test"}, "", 1},
}

// Reports of the trace service, VERP and their log lines are Postfix's.
func TestTraces(t *testing.T) {
	var sites [2]*site
	for i, p := range programs {
		sites[i] = newTraceSite(t, p)
	}
	for _, c := range traces {
		t.Run(c.name, func(t *testing.T) {
			var said [2]result
			var letters, logs [2][]string
			var before [2]int
			for i, s := range sites {
				before[i] = len(s.fate(t))
				said[i] = s.sendmail(t, "root", strings.ReplaceAll(c.stdin, "\r\n", "\n"), c.args...)
				letters[i] = s.hop.collect(t, c.letters)
				s.Empty(t)
				if more := s.hop.pending(); more > 0 {
					t.Errorf("%v: %d letters more than expected", programs[i], more)
				}
			}
			// The last lines may come after the queue is empty.
			for range 600 {
				for i, s := range sites {
					logs[i] = s.fate(t)[before[i]:]
					slices.Sort(logs[i])
				}
				if slices.Equal(logs[0], logs[1]) {
					break
				}
				time.Sleep(100 * time.Millisecond)
			}
			if diff := cmp.Diff(said[0], said[1]); diff != "" {
				t.Errorf("sendmail: Postfix (-), Dovetail (+):\n%s", diff)
			}
			if diff := cmp.Diff(lines(letters[0]), lines(letters[1])); diff != "" {
				t.Errorf("letters: Postfix (-), Dovetail (+):\n%s", diff)
			}
			if diff := cmp.Diff(logs[0], logs[1]); diff != "" {
				t.Errorf("log: Postfix (-), Dovetail (+):\n%s", diff)
			}
		})
	}
}

// newTraceSite starts a site whose next hop refuses some recipients.
func newTraceSite(t *testing.T, p harness.Program) *site {
	s := newSite(t, p, "virtual_alias_domains = alias.test\nvirtual_alias_maps = inline:{{one@alias.test=good@remote.test},"+
		"{many@alias.test=other@remote.test r550@remote.test}}\nmaximal_queue_lifetime = 0\nbounce_queue_lifetime = 0\n")
	s.hop.Script = refusals
	// Postfix's pickup may miss a message while it is busy with another.
	path := filepath.Join(s.Config, "master.cf")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	harness.Write(t, path, strings.Replace(string(text), "pickup unix n - n 60 ", "pickup unix n - n 1 ", 1))
	s.Start(t)
	return s
}

var (
	fateLine = regexp.MustCompile(`postfix/[a-z]+\[[0-9]+\]: (([0-9A-F]{10,12}: (to=|sender |postmaster |removed)|.*warning: [0-9A-F]{10,12}: ).*)`)
	delays   = regexp.MustCompile(`delay=[0-9.]+, delays=[0-9./]+`)
	uses     = regexp.MustCompile(`conn_use=[0-9]+, `) // Postfix keeps connections only under load
)

// fate returns the lines of the log about what became of recipients.
func (s *site) fate(t *testing.T) []string {
	t.Helper()
	log, err := os.ReadFile(s.Log)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range fateLine.FindAllStringSubmatch(string(log), -1) {
		line := regexp.MustCompile(`\[[0-9]+\]:`).ReplaceAllString(m[0], ":")
		found = append(found, normal(delays.ReplaceAllString(uses.ReplaceAllString(line, ""), "DELAYS")))
	}
	return found
}
