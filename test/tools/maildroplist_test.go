package tools

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// Mail in the maildrop is listed, shown and deleted by the tools of the queue.
func TestMaildropListed(t *testing.T) {
	var got [2][]result
	for i, p := range programs {
		s := newSite(t, p, "")
		s.Start(t)
		s.Stop()
		harness.Run(t, "", "chmod", "666", s.Log) // postsuper writes it as mail_owner
		s.sendmail(t, submitUser, "Subject: listed\n\nbody\n"+strings.Repeat("x", 3000)+"\n", "-f", "me@origin.test", "-V", "ident",
			"b@remote.test", "a@remote.test", "b@remote.test")
		files := s.maildrop(t)
		if len(files) != 1 {
			t.Fatalf("%d files in the maildrop", len(files))
		}
		id := files[0].Name()
		queued := filepath.Join(s.Dir, "spool", "maildrop", id)
		for _, args := range [][]string{
			{"postqueue", "-p"}, {"postqueue", "-j"}, {"postcat", "-q", id}, {"postcat", "-qod", id}, {"postcat", "-qho", id}, {"postcat", "-e", queued},
			{"postcat", "-obr", queued}, {"postcat", "-s", "1x", queued}, {"postcat", "-qs", "99999999", id},
			// Only mail that the mail system has taken can be requeued, held, or expired.
			{"postsuper", "-h", id}, {"postsuper", "-H", id}, {"postsuper", "-r", id}, {"postsuper", "-e", id}, {"postsuper", "-f", id},
			{"postsuper", "-r", "ALL", "-h", "ALL", "-H", "ALL", "-e", "ALL", "maildrop"}, {"postsuper", "-h", "ALL"}, {"postsuper", "-r", id, "-d", id, "deferred"},
			{"postqueue", "-p"}, {"postcat", "-q", id},
			{"postsuper", "-d", id, "hold"}, {"postsuper", "-d", id}, {"postcat", "-q", id}, {"postqueue", "-j"},
		} {
			got[i] = append(got[i], s.tool(t, id, args))
		}
		if n := len(s.maildrop(t)); n != 0 {
			t.Errorf("%v: %d files in the maildrop after postsuper -d", p, n)
		}
	}
	if diff := cmp.Diff(got[0], got[1]); diff != "" {
		t.Errorf("Postfix (-), Dovetail (+):\n%s", diff)
	}
}

// changing is what differs between two files of the maildrop: times, and with the digits of their
// microseconds sizes and offsets.
var changing = regexp.MustCompile(`(?m)(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \w{3} [ 0-9]\d \d\d:\d\d:\d\d( \d{4})?|"(arrival_time|message_size)": \d+|^ID +\d+|^ +\d+|service: .*\)`)

// tool runs a command of the queue as root.
func (s *site) tool(t *testing.T, id string, args []string) result {
	t.Helper()
	name := args[0]
	cmd := []string{"/usr/sbin/" + name}
	if s.Program == harness.Dovetail {
		cmd = []string{harness.Binary(t), name}
	}
	r := s.as(t, "root", "", append(cmd, args[1:]...)...)
	r.Output = changing.ReplaceAllString(strings.NewReplacer(id, "ID", "/usr/sbin/", "").Replace(r.Output), "X")
	return r
}
