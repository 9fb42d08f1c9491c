package tools

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// postfix runs postfix(1) of a site's program.
func (s *site) postfix(t *testing.T, args ...string) result {
	t.Helper()
	command := []string{"/usr/sbin/postfix"}
	if s.Program == harness.Dovetail {
		command = []string{harness.Binary(t), "postfix"}
	}
	command = append(append(command, "-c", s.Config), args...)
	cmd := exec.Command(command[0], command[1:]...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return result{s.normal(string(out)), cmd.ProcessState.ExitCode()}
}

var scriptLine = regexp.MustCompile(`(?m)^.* postfix/postfix-script\[\d+\]: (.*)$`)

// said returns what postfix(1) has logged since the last time, in order.
func (s *site) said(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(s.Log)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(s.Log, 0); err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, m := range scriptLine.FindAllStringSubmatch(string(text), -1) {
		said = append(said, s.normal(m[1]))
	}
	slices.Sort(said)
	return said
}

// "postfix check" finds what Postfix's finds, and "postfix set-permissions" mends it.
func TestCheckFinds(t *testing.T) {
	var sites [2]*site
	for i, p := range programs {
		s := newSite(t, p, "")
		s.Start(t)
		s.Stop()
		for _, name := range postfixQueues {
			dir := filepath.Join(s.Dir, "spool", name)
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			harness.Run(t, "", "chown", "postfix", dir)
		}
		sites[i] = s
	}
	for _, c := range []struct {
		name   string
		damage []string // shell commands in the site's directory
	}{
		{"nothing", nil},
		{"what set-permissions mends", []string{
			"chown nobody spool; chmod 777 spool", "chown nobody spool/pid; chmod g+w spool/pid",
			"chgrp root spool/maildrop", "chgrp root spool/public; chown root spool/public",
			"chown root spool/saved data; chmod 777 data",
		}},
		{"nothing any more", nil},
		{"files", []string{
			"chmod 666 etc/master.cf; touch etc/extra; chown nobody etc/extra; mkdir etc/sub; touch etc/sub/x; chmod 622 etc/sub/x",
			"ln -s /etc/passwd etc/outside; ln -s master.cf etc/inside", "touch data/x; chmod 666 data/x",
			"touch spool/trace/0123456789; chown nobody spool/trace/0123456789",
			"touch spool/corrupt/ABC123; chown postfix spool/corrupt/ABC123",
			"mkdir -p spool/etc; echo other >spool/etc/passwd; cp /etc/group spool/etc/group; touch spool/etc/mine; chown nobody spool/etc/mine",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var said [2][]string
			for i, s := range sites {
				harness.Run(t, "", "sh", "-c", "cd "+s.Dir+" && "+strings.Join(append(c.damage, "true"), " && "))
				s.said(t)
				if got := s.postfix(t, "check"); got.Status != 0 {
					t.Errorf("%v: %+v", s.Program, got)
				}
				said[i] = s.said(t)
				if got := s.postfix(t, "set-permissions"); got.Status != 0 {
					t.Errorf("%v: set-permissions: %+v", s.Program, got)
				}
			}
			if diff := cmp.Diff(said[0], said[1]); diff != "" {
				t.Errorf("Postfix (-), Dovetail (+):\n%s", diff)
			}
			if (len(said[0]) == 0) != strings.HasPrefix(c.name, "nothing") {
				t.Errorf("Postfix found: %q", said[0])
			}
		})
	}
}

var postfixQueues = []string{"active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "saved", "trace"}

// postdrop without the rights that it needs is found.
func TestCheckFindsPostdrop(t *testing.T) {
	s := newSite(t, harness.Dovetail, "")
	s.Start(t)
	s.Stop()
	drop := filepath.Join(s.sbin, "postdrop")
	for _, c := range []struct{ damage, want string }{
		{"chmod 755 " + drop, "warning: not set-gid or not owner+group+world executable: /usr/sbin/postdrop"},
		{"chgrp root " + drop + "; chmod 2755 " + drop, "warning: not owned by group postdrop: /usr/sbin/postdrop"},
		{"rm " + drop, "warning: no /usr/sbin/postdrop: users cannot submit mail with sendmail"},
	} {
		harness.Run(t, "", "sh", "-c", c.damage)
		s.said(t)
		s.postfix(t, "check")
		if got := s.said(t); !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s: %q", c.damage, got)
		}
	}
}

// "postfix logrotate" begins a new log file and packs the old one.
func TestLogrotate(t *testing.T) {
	for _, p := range programs {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, p, "")
			s.Start(t)
			if got := s.postfix(t, "logrotate", "extra"); got.Status != 1 {
				t.Errorf("with an argument: %+v", got)
			}
			if got := s.postfix(t, "logrotate"); got.Status != 0 {
				t.Fatalf("%+v", got)
			}
			packed, err := filepath.Glob(s.Log + ".*.gz")
			if err != nil || len(packed) != 1 {
				t.Fatalf("%v, %v", packed, err)
			}
			if old := harness.Run(t, "", "zcat", packed[0]); !strings.Contains(old, "daemon started") || !strings.Contains(old, "fatal: usage postfix logrotate (no arguments)") {
				t.Errorf("the old log:\n%s", old)
			}
			harness.Eventually(t, "lines in the new log", func() bool {
				c := harness.Connect(t, s.SMTP)
				c.Expect(t, "QUIT", "221")
				text, err := os.ReadFile(s.Log)
				return err == nil && strings.Contains(string(text), "disconnect from")
			})
		})
	}
}
