package tools

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// maildrop lists the files in the maildrop queue.
func (s *site) maildrop(t *testing.T) []fs.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.Dir, "spool", "maildrop"))
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// Mail that is submitted while the mail system is down waits in the maildrop, in the
// form that Postfix gives it, and is sent by whichever of the two starts next.
func TestMaildropWaits(t *testing.T) {
	for _, from := range programs {
		for _, to := range programs {
			t.Run(fmt.Sprintf("%v to %v", from, to), func(t *testing.T) {
				t.Parallel()
				s := newSite(t, to, "")
				other := newSite(t, from, "") // its commands, for the first one's queue
				s.Start(t)
				s.Stop()
				s.sbin, other.sbin = other.sbin, s.sbin
				for n := range 3 {
					got := s.sendmail(t, submitUser, fmt.Sprintf("Subject: %d\n\nbody\n.\n", n), "-f", "me@origin.test", fmt.Sprintf("rcpt%d@remote.test", n))
					if got.Status != 0 || got.Output != "" {
						t.Fatalf("sendmail: %+v", got)
					}
				}
				files := s.maildrop(t)
				if len(files) != 3 {
					t.Fatalf("%d files in the maildrop", len(files))
				}
				for _, f := range files {
					info, err := f.Info()
					if err != nil {
						t.Fatal(err)
					}
					if mode := info.Mode(); mode != 0o744 {
						t.Errorf("mode of %s is %v", f.Name(), mode)
					}
					if uid := info.Sys().(*syscall.Stat_t).Uid; uid != 65534 {
						t.Errorf("owner of %s is %d", f.Name(), uid)
					}
				}
				s.Start(t)
				letters := s.hop.collect(t, 3)
				for n, l := range letters {
					if !strings.Contains(l, fmt.Sprintf("Subject: %d\n", n)) || !strings.Contains(l, "from userid 65534)") {
						t.Errorf("letter %d:\n%s", n, l)
					}
				}
				harness.Eventually(t, "empty maildrop", func() bool { return len(s.maildrop(t)) == 0 })
				if n := s.hop.pending(); n != 0 {
					t.Errorf("%d letters too many", n)
				}
			})
		}
	}
}

// The files of the maildrop are the same, record by record.
func TestMaildropFiles(t *testing.T) {
	var sites [2]*site
	for i, p := range programs {
		sites[i] = newSite(t, p, "")
		sites[i].Start(t)
		sites[i].Stop()
	}
	when := regexp.MustCompile(`^T.[0-9]+ [0-9]+`)
	for _, c := range submittings {
		if c.letters == 0 {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			var files [2]string
			for i, s := range sites {
				s.sendmail(t, submitUser, c.stdin, c.args...)
				entries := s.maildrop(t)
				if len(entries) != 1 {
					t.Fatalf("%d files", len(entries))
				}
				path := filepath.Join(s.Dir, "spool", "maildrop", entries[0].Name())
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				files[i] = when.ReplaceAllString(string(b), "T")
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(files[0], files[1]); diff != "" {
				t.Errorf("Postfix (-), Dovetail (+):\n%s", diff)
			}
		})
	}
}

// Who may not submit mail is told so.
func TestSubmitAccess(t *testing.T) {
	var sites [2]*site
	var plain [2]string
	for i, p := range programs {
		sites[i] = newSite(t, p, "")
		sites[i].Start(t)
		sites[i].Stop()
		text, err := os.ReadFile(filepath.Join(sites[i].Config, "main.cf"))
		if err != nil {
			t.Fatal(err)
		}
		plain[i] = string(text)
	}
	for _, c := range []struct {
		name, main string
		sender     string
		want       string // of sendmail; nothing if mail is taken
	}{
		{"everybody", "", "me@origin.test", ""},
		{"others", "authorized_submit_users = !nobody, static:all", "me@origin.test", "User nobody(65534) is not allowed to submit mail"},
		{"he", "authorized_submit_users = root, nobody", "me@origin.test", ""},
		{"table", "authorized_submit_users = inline:{root=x}", "me@origin.test", "User nobody(65534) is not allowed to submit mail"},
		{"own address", "local_login_sender_maps = inline:{nobody=me@origin.test}, static:*", "me@origin.test", ""},
		{"extension", "recipient_delimiter = +\nlocal_login_sender_maps = inline:{nobody=me@origin.test}", "me+ext@origin.test", ""},
		{"domain", "local_login_sender_maps = inline:{{nobody=x@y.test, @origin.test}}", "any@origin.test", ""},
		{"other address", "local_login_sender_maps = inline:{nobody=me@origin.test}", "other@origin.test", "not authorized to use sender='other@origin.test'"},
		{"null sender", "local_login_sender_maps = inline:{nobody=<>}", "<>", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got [2]result
			for i, s := range sites {
				harness.Write(t, filepath.Join(s.Config, "main.cf"), plain[i]+c.main+"\n")
				got[i] = s.sendmail(t, submitUser, "Subject: x\n\n", "-f", c.sender, "one@remote.test")
				if (got[i].Status == 0) != (c.want == "") || !strings.Contains(got[i].Output, c.want) {
					t.Errorf("%v: %+v", s.Program, got[i])
				}
				files := s.maildrop(t)
				// Postfix leaves an unfinished file of mail that it refuses.
				if (len(files) == 1) != (c.want == "") && s.Program == harness.Dovetail {
					t.Errorf("%d files in the maildrop", len(files))
				}
				for _, f := range files {
					if err := os.Remove(filepath.Join(s.Dir, "spool", "maildrop", f.Name())); err != nil {
						t.Fatal(err)
					}
				}
			}
			if diff := cmp.Diff(got[0], got[1]); diff != "" {
				t.Errorf("Postfix (-), Dovetail (+):\n%s", diff)
			}
		})
	}
}

// What has got into the maildrop is judged once more, and what is no mail does not
// stay there.
func TestMaildropJudged(t *testing.T) {
	s := newSite(t, harness.Dovetail, "authorized_submit_users = !nobody, static:all\nhopcount_limit = 3\n")
	s.Start(t)
	s.Stop()
	drop := func(name, content string, uid int, mode fs.FileMode) {
		path := filepath.Join(s.Dir, "spool", "maildrop", name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{os.Chown(path, uid, -1), os.Chmod(path, mode)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	record := func(typ byte, text string) string { return string([]byte{typ, byte(len(text))}) + text }
	mail := func(sender, rcpt, content string) string {
		text := record('S', sender) + record('R', rcpt) + record('M', "")
		for l := range strings.Lines(content) {
			text += record('N', strings.TrimSuffix(l, "\n"))
		}
		return text + record('X', "") + record('E', "")
	}
	drop("AAAAA1", mail("me@origin.test", "denied@remote.test", "Subject: no\n"), 65534, 0o744)
	drop("AAAAA2", "no records", 0, 0o744)
	drop("AAAAA3", record('S', "x")+record('M', ""), 0, 0o744) // cut off
	drop("AAAAA4", strings.Replace(mail("me@origin.test", "x@remote.test", "Subject: no\n"), "R\x0dx@remote.test", "", 1), 0, 0o744)
	drop("AAAAA5", mail("me@origin.test", "loops@remote.test", strings.Repeat("Received: x\n", 4)), 0, 0o744)
	drop("AAAAA6", mail("me@origin.test", "good@remote.test", "Subject: yes\n"), 0, 0o744)
	drop("AAAAA7", mail("me@origin.test", "unfinished@remote.test", "Subject: no\n"), 0, 0o644)
	if err := os.Symlink("/etc/passwd", filepath.Join(s.Dir, "spool", "maildrop", "AAAAA8")); err != nil {
		t.Fatal(err)
	}
	s.Start(t)
	letters := s.hop.collect(t, 2)
	if !strings.Contains(letters[0], "<good@remote.test>") && !strings.Contains(letters[1], "<good@remote.test>") {
		t.Errorf("the good mail did not come:\n%s", strings.Join(letters, "\n"))
	}
	if !strings.Contains(letters[0], "too many hops") && !strings.Contains(letters[1], "too many hops") {
		t.Errorf("the mail that loops was not returned:\n%s", strings.Join(letters, "\n"))
	}
	harness.Eventually(t, "only what is no file, or unfinished", func() bool {
		var names []string
		for _, e := range s.maildrop(t) {
			names = append(names, e.Name())
		}
		return slices.Equal(names, []string{"AAAAA7", "AAAAA8"})
	})
	text, err := os.ReadFile(s.Log)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"maildrop/AAAAA1: uid=65534: User nobody(65534) is not allowed to submit mail",
		"maildrop/AAAAA2: uid=0: unexpected or malformed record",
		"maildrop/AAAAA3: uid=0: unexpected or malformed record",
		"maildrop/AAAAA4: uid=0: no recipients specified",
		"maildrop/AAAAA8: uid 0: not a regular file",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the log lacks %q:\n%s", want, text)
		}
	}
}

// "mail -s" works for users, with the system's mail program.
func TestMailCommand(t *testing.T) {
	for _, p := range programs {
		t.Run(p.String(), func(t *testing.T) {
			s := newSite(t, p, "")
			s.Start(t)
			if p == harness.Dovetail {
				// The program runs /usr/sbin/sendmail.
				s.mounts = [][2]string{{harness.Binary(t), "/usr/sbin/sendmail"}}
			}
			got := s.as(t, submitUser, "the text\n", "mail", "-s", "the subject", "one@remote.test")
			if got.Status != 0 || got.Output != "" {
				t.Fatalf("mail: %+v", got)
			}
			letter := s.hop.collect(t, 1)[0]
			for _, want := range []string{"RCPT TO:<one@remote.test>", "Subject: the subject\n", "To: one@remote.test\n", "\n\nthe text\n", "from userid 65534)", "From: nobody <nobody@mail.example.test>\n"} {
				if !strings.Contains(letter, want) {
					t.Errorf("the letter lacks %q:\n%s", want, letter)
				}
			}
		})
	}
}
