package service

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// account returns uid and primary gid of a system user.
func account(t *testing.T, name string) (uid, gid string) {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return u.Uid, u.Gid
}

// runsAs checks that a process is nobody but the user: no other id, group or
// capability, and no way to another root directory.
func runsAs(t *testing.T, pid int, name, root string) {
	t.Helper()
	title := harness.Title(pid)
	uid, gid := account(t, name)
	for field, want := range map[string]string{
		"Uid": strings.Join([]string{uid, uid, uid, uid}, " "), "Gid": strings.Join([]string{gid, gid, gid, gid}, " "),
		"Groups": gid, "CapEff": "0000000000000000", "CapPrm": "0000000000000000",
	} {
		if got := harness.Status(pid, field); got != want {
			t.Errorf("%s: %s is %q, want %q", title, field, got, want)
		}
	}
	// Each thread has its own credentials as far as the kernel is concerned.
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, task := range tasks {
		var st syscall.Stat_t
		if err := syscall.Stat(task, &st); err == nil && strconv.Itoa(int(st.Uid)) != uid {
			t.Errorf("%s: thread %s belongs to uid %d", title, filepath.Base(task), st.Uid)
		}
	}
	if got, err := os.Readlink(fmt.Sprintf("/proc/%d/root", pid)); err != nil || got != root {
		t.Errorf("%s: root directory %q, want %q (%v)", title, got, root, err)
	}
}

// Every process is who the configuration says.
func TestProcessesHaveNoMorePrivilegesThanTheyNeed(t *testing.T) {
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{SocketUser: "postfix"})
	tr := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{})
	login := filepath.Join(mb.Dir, "run", "login")
	for _, p := range []struct {
		of               *harness.Process
		title, who, root string
	}{
		{mb.Process, "dovecot/auth", "dovecot", "/"},
		{mb.Process, "dovecot/imap-login", "dovenull", login},
		{mb.Process, "dovecot/pop3-login", "dovenull", login},
		{mb.Process, "dovecot/lmtp", "mail", "/"},
		{tr.Process, "postfix/mta", "postfix", "/"},
	} {
		runsAs(t, p.of.Child(t, p.title), p.who, p.root)
	}
	for _, p := range []*harness.Process{mb.Process, tr.Process} {
		for _, pid := range harness.Descendants(p.Cmd.Process.Pid) {
			if harness.Title(pid) == "postfix/local" {
				continue // starts what delivers as its recipient
			}
			if uid := harness.Status(pid, "Uid"); strings.HasPrefix(uid, "0 ") {
				t.Errorf("%s runs as root", harness.Title(pid))
			}
		}
	}
	owned(t, filepath.Join(tr.Dir, "spool", "tools", "control"), "srw-rw-rw-", "postfix", "")
	owned(t, filepath.Join(tr.Dir, "spool", "private", "asuser"), "srw-------", "postfix", "")
	owned(t, filepath.Join(tr.Dir, "spool", "segments"), "drwx------", "postfix", "")
}

// owned checks mode, user and, if named, group of a file.
func owned(t *testing.T, path, mode, owner, group string) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Error(err)
		return
	}
	st := info.Sys().(*syscall.Stat_t)
	if got := strings.Replace(info.Mode().String(), "S", "s", 1); got != mode {
		t.Errorf("%s has mode %s, want %s", path, got, mode)
	}
	if uid, _ := account(t, owner); strconv.Itoa(int(st.Uid)) != uid {
		t.Errorf("%s belongs to uid %d, want %s", path, st.Uid, owner)
	}
	if group == "" {
		return
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		t.Fatal(err)
	}
	if strconv.Itoa(int(st.Gid)) != g.Gid {
		t.Errorf("%s belongs to gid %d, want %s", path, st.Gid, group)
	}
}

// sockets describes the sockets below a directory: mode, uid, gid by path.
func sockets(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type() != fs.ModeSocket {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		name, _ := filepath.Rel(dir, path)
		found[name] = fmt.Sprintf("mode %v, uid %d, gid %d", info.Mode().Perm(), st.Uid, st.Gid)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Sockets have the modes and owners that Dovecot gives them.
func TestSocketsAreAsDovecotMakesThem(t *testing.T) {
	const extra = `
service auth {
  unix_listener extra-client {
    mode = 0640
    user = mail
    group = postfix
  }
  unix_listener auth-userdb {
    mode = 0600
    user = vmail
  }
}
service lmtp {
  unix_listener lmtp-everybody {
    mode = 0666
  }
}
default_internal_group = dovecot
`
	opt := harness.MailboxOptions{SocketUser: "postfix", Extra: strings.Replace(extra, "vmail", "mail", 1)}
	ours := sockets(t, harness.StartMailbox(t, harness.Dovetail, opt).Dir)
	dovecot := harness.StartMailbox(t, harness.Original, opt)
	harness.Connect(t, dovecot.IMAP) // processes start when all sockets are made
	theirs := sockets(t, dovecot.Dir)
	for _, name := range []string{"lmtp", "auth", "run/extra-client", "run/auth-userdb", "run/auth-client", "run/login/login", "run/lmtp-everybody"} {
		if ours[name] == "" || theirs[name] == "" {
			t.Errorf("%s: ours %q, theirs %q", name, ours[name], theirs[name])
		}
	}
	for name, is := range ours {
		if want, ok := theirs[name]; ok && is != want {
			t.Errorf("%s has %s, Dovecot's has %s", name, is, want)
		}
	}
}

// systemUsers gives user0 and user1 uids of their own, and user2 one that mail
// may not be accessed with.
func systemUsers(t *testing.T, p harness.Program) *harness.Mailbox {
	t.Helper()
	mb := harness.NewMailbox(t, p, harness.MailboxOptions{Users: 3, Extra: "first_valid_uid = 60000\nfirst_valid_gid = 60000\n"})
	homes := filepath.Join(mb.Dir, "homes")
	var lines strings.Builder
	for n, id := range []int{uidOfUser0, uidOfUser0 + 1, 101} {
		home := filepath.Join(homes, strconv.Itoa(n))
		if err := os.MkdirAll(home, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(home, id, id); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&lines, "%s:{PLAIN}%s:%d:%d::%s\n", harness.User(n), harness.Password, id, id, home)
	}
	harness.Write(t, filepath.Join(mb.Dir, "users"), lines.String())
	edit(t, mb.Config, "first_valid_uid = 1\n", "", "  driver = static\n  args = uid=8 gid=8 home="+mb.Dir+"/mail/%n\n",
		"  driver = passwd-file\n  args = "+mb.Dir+"/users\n")
	mb.Start(t)
	return mb
}

const uidOfUser0 = 61000

// Each user's mail is touched by processes of that user only.
func TestMailOfSystemUsers(t *testing.T) {
	mb := systemUsers(t, harness.Dovetail)
	c := harness.Connect(t, mb.LMTP)
	c.Expect(t, "LHLO client.example.org", "250")
	c.Expect(t, "MAIL FROM:<sender@example.org>", "250")
	c.Expect(t, "RCPT TO:<"+harness.User(0)+">", "250")
	c.Expect(t, "RCPT TO:<"+harness.User(1)+">", "250")
	c.Expect(t, "DATA", "354")
	c.Put("Subject: for both\r\n\r\ntext\r\n.\r\n")
	c.Expect(t, "", "250 2.0.0 <"+harness.User(0)+">")
	c.Expect(t, "", "250 2.0.0 <"+harness.User(1)+">")
	processes := make(map[string]bool)
	for _, pid := range mb.Children("dovecot/mail") {
		processes[harness.Status(pid, "Uid")+", groups "+harness.Status(pid, "Groups")] = true
	}
	for n := range 2 {
		uid := uidOfUser0 + n
		if want := fmt.Sprintf("%[1]d %[1]d %[1]d %[1]d, groups %[1]d", uid); !processes[want] {
			t.Errorf("no mail process with uid %s: %v", want, processes)
		}
		session := harness.ConnectIMAP(t, mb.IMAP, n, "INBOX")
		if untagged, _ := session.Must(t, "FETCH 1 BODY.PEEK[TEXT]"); !strings.Contains(strings.Join(untagged, ""), "text\r\n") {
			t.Errorf("FETCH: %q", untagged)
		}
		files := 0
		filepath.WalkDir(filepath.Join(mb.Dir, "homes", strconv.Itoa(n)), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				t.Fatal(err)
			}
			info, err := d.Info()
			if err != nil {
				return nil // renamed meanwhile
			}
			files++
			if st := info.Sys().(*syscall.Stat_t); int(st.Uid) != uid || int(st.Gid) != uid {
				t.Errorf("%s belongs to %d:%d, want %d", path, st.Uid, st.Gid, uid)
			}
			// Dovecot's file of the last UIDVALIDITY is one that nobody writes.
			if d.Type().IsRegular() && info.Mode().Perm()&0o077 != 0 && !strings.HasPrefix(d.Name(), "dovecot-uidvalidity.") {
				t.Errorf("%s has mode %v", path, info.Mode())
			}
			return nil
		})
		if files < 5 {
			t.Errorf("%s has %d files", harness.User(n), files)
		}
	}
	// The process that takes the mail belongs to nobody whose mail it is.
	runsAs(t, mb.Child(t, "dovecot/lmtp"), "dovecot", "/")
}

// A uid below first_valid_uid is refused, in Dovecot's words.
func TestInvalidUIDs(t *testing.T) {
	answers := make(map[harness.Program][]string)
	for _, p := range []harness.Program{harness.Dovetail, harness.Original} {
		mb := systemUsers(t, p)
		imap := harness.Connect(t, mb.IMAP)
		imap.Login(2) // Dovecot's login process says OK before its mail process knows better
		if _, _, err := imap.IMAP("SELECT INBOX"); err == nil {
			t.Errorf("%v: a user with an invalid uid can read mail", p)
		}
		lmtp := harness.Connect(t, mb.LMTP)
		lmtp.Expect(t, "LHLO client.example.org", "250")
		lmtp.Expect(t, "MAIL FROM:<sender@example.org>", "250")
		reply, err := lmtp.Ask("RCPT TO:<" + harness.User(2) + ">")
		if err != nil {
			t.Errorf("%v: RCPT: %v", p, err)
		}
		if strings.HasPrefix(reply, "250") {
			lmtp.Expect(t, "DATA", "354")
			reply, err = lmtp.Ask("Subject: x\r\n\r\n.")
			if err != nil {
				t.Errorf("%v: DATA: %v", p, err)
			}
		}
		// Without the time that Dovecot puts behind.
		reply, _, _ = strings.Cut(reply, " [")
		answers[p] = append(answers[p], reply)
		logged(t, mb.Log, "Mail access for users with UID 101 not permitted (see first_valid_uid in config file, uid from userdb lookup).", 0)
	}
	for i, ours := range answers[harness.Dovetail] {
		if theirs := answers[harness.Original][i]; ours != theirs {
			t.Errorf("Dovetail answers %q, Dovecot %q", ours, theirs)
		}
	}
}
