package tools

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// The users of doveadm's tests: each another uid and format. The last may not read
// mail, since first_valid_uid is higher.
var doveadmUsers = []struct {
	name, fields string
	uid          int
}{
	{"alice", "", 20001},
	{"bob", "userdb_mail=mdbox:~/mdbox", 20002},
	{"carol@example.test", "userdb_mail=maildir:~/Maildir", 20003},
	{"low", "", 5},
}

const doveadmConf = `
first_valid_uid = 20000
userdb {
  driver = passwd-file
  args = %[1]s/doveadm-users
}
service auth {
  unix_listener auth-userdb {
    mode = 0600
  }
}
`

// startDoveadmService starts a mailbox service whose users have different uids, and
// returns it.
func startDoveadmService(t *testing.T, p harness.Program) *harness.Mailbox {
	t.Helper()
	m := harness.NewMailbox(t, p, harness.MailboxOptions{})
	text, err := os.ReadFile(m.Config)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(text), "userdb {")
	_, after, _ := strings.Cut(rest, "}\n")
	before = strings.Replace(before, "first_valid_uid = 1\n", "", 1)
	harness.Write(t, m.Config, before+fmt.Sprintf(doveadmConf, m.Dir)+after)
	var lines strings.Builder
	for _, u := range doveadmUsers {
		home := filepath.Join(m.Dir, "homes", u.name)
		fmt.Fprintf(&lines, "%s:{PLAIN}pass:%d:%d::%s::%s\n", u.name, u.uid, u.uid, home, u.fields)
		if err := os.MkdirAll(home, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(home, u.uid, u.uid); err != nil {
			t.Fatal(err)
		}
	}
	harness.Write(t, filepath.Join(m.Dir, "doveadm-users"), lines.String())
	for _, dir := range []string{m.Dir, filepath.Join(m.Dir, "homes")} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.Start(t)
	return m
}

// A doveadmResult is what a command said.
type doveadmResult struct {
	Out, Err string
	Code     int
}

var doveadmSession = regexp.MustCompile(`<\d+><[^>]*>`)

func runDoveadm(t *testing.T, program []string, m *harness.Mailbox, stdin string, args ...string) doveadmResult {
	t.Helper()
	args = slices.Concat(program[1:], []string{"-c", m.Config}, args)
	cmd := exec.Command(program[0], args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/root"}
	cmd.Dir = "/"
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	lines := func(s string) string {
		list := strings.SplitAfter(s, "\n")
		slices.Sort(list) // the order of mailboxes and users is not ours to choose
		return strings.Join(list, "")
	}
	return doveadmResult{lines(out.String()), lines(doveadmSession.ReplaceAllString(errs.String(), "")), cmd.ProcessState.ExitCode()}
}

// TestDoveadmUsers runs both programs as root beside either service, which tells them
// of the users.
func TestDoveadmUsers(t *testing.T) {
	ours, original := []string{harness.Binary(t), "doveadm"}, []string{"/usr/bin/doveadm"}
	for _, p := range programs {
		t.Run(fmt.Sprint(p), func(t *testing.T) {
			m := startDoveadmService(t, p)
			list := filepath.Join(m.Dir, "list")
			harness.Write(t, list, "alice\nnosuch\nbob\n")
			for _, u := range doveadmUsers[:3] {
				message := "Subject: to " + u.name + "\n\ntext\n"
				if r := runDoveadm(t, ours, m, message, "save", "-u", u.name); r.Code != 0 || r.Err != "" {
					t.Fatalf("save for %s: %+v", u.name, r)
				}
			}
			for _, args := range [][]string{
				{"mailbox", "list", "-u", "alice"}, {"mailbox", "list", "-u", "nosuch"}, {"mailbox", "list", "-u", "low"}, {"mailbox", "list"},
				{"mailbox", "list", "-u", "a*"}, {"mailbox", "list", "-u", "?OB"}, {"mailbox", "list", "-u", "nosuch*"},
				{"mailbox", "list", "-F", list, "INBOX"}, {"mailbox", "list", "-F", "/nonexistent", "INBOX"},
				{"-f", "json", "mailbox", "list", "-u", "c*", "INBOX"}, {"-f", "tab", "mailbox", "list", "-u", "c*", "INBOX"},
				{"-f", "table", "mailbox", "list", "-u", "c*", "INBOX"}, {"-f", "pager", "mailbox", "list", "-u", "c*", "INBOX"},
				{"fetch", "-u", "alice", "user hdr.subject", "all"}, {"-f", "tab", "fetch", "-u", "*b*", "user mailbox hdr.subject refcount", "all"},
				{"mailbox", "status", "-u", "carol@example.test", "all", "INBOX"}, {"mailbox", "status", "-u", "*b", "-t", "all", "*"},
				{"search", "-u", "bob", "all"}, {"mailbox", "path", "-u", "bob", "INBOX"}, {"mailbox", "path", "-u", "carol*", "INBOX"},
			} {
				if diff := cmp.Diff(runDoveadm(t, original, m, "", args...), runDoveadm(t, ours, m, "", args...)); diff != "" {
					t.Errorf("doveadm %q (-original +ours):\n%s", args, diff)
				}
			}
			// The original ends with 0 if the user that cannot be served is not the last.
			want := runDoveadm(t, original, m, "", "mailbox", "list", "-A", "INBOX")
			got := runDoveadm(t, ours, m, "", "mailbox", "list", "-A", "INBOX")
			want.Code = 75
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("doveadm mailbox list -A (-original +ours):\n%s", diff)
			}
			checkOwners(t, m)
		})
	}
}

// checkOwners makes sure that all mail belongs to its user.
func checkOwners(t *testing.T, m *harness.Mailbox) {
	t.Helper()
	for _, u := range doveadmUsers {
		home := filepath.Join(m.Dir, "homes", u.name)
		err := filepath.WalkDir(home, func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			st, err := d.Info()
			if err != nil {
				return err
			}
			if owner := st.Sys().(*syscall.Stat_t); int(owner.Uid) != u.uid || int(owner.Gid) != u.uid {
				t.Errorf("%s belongs to %d:%d, want %d", path, owner.Uid, owner.Gid, u.uid)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestDoveadmWithoutAuth looks users up while no service runs.
func TestDoveadmWithoutAuth(t *testing.T) {
	m := harness.NewMailbox(t, harness.Original, harness.MailboxOptions{})
	ours, original := []string{harness.Binary(t), "doveadm"}, []string{"/usr/bin/doveadm"}
	args := []string{"mailbox", "list", "-u", "alice"}
	if diff := cmp.Diff(runDoveadm(t, original, m, "", args...), runDoveadm(t, ours, m, "", args...)); diff != "" {
		t.Errorf("doveadm %q (-original +ours):\n%s", args, diff)
	}
	// The original crashes with -A.
	r := runDoveadm(t, ours, m, "", "mailbox", "list", "-A")
	want := "doveadm: Error: Failed to iterate through some users"
	if r.Code != 75 || !strings.Contains(r.Err, want) || !strings.Contains(r.Err, "auth-userdb) failed: No such file or directory") {
		t.Errorf("-A without service: %+v", r)
	}
}
