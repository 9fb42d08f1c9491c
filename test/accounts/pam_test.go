package accounts

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// pamService makes a PAM service of the users of the machine, and returns its name.
func pamService(t *testing.T, name string) string {
	t.Helper()
	name = fmt.Sprintf("dovetail-%s-%d", name, os.Getpid())
	path := filepath.Join("/etc/pam.d", name)
	harness.Write(t, path, "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n")
	t.Cleanup(func() { os.Remove(path) })
	return name
}

// TestSystemMailboxes is procedure 1.1.4 from end to end, in the form that the procedure
// has (one owner of all mail) and with mail of each user's own: below the home
// directory, and as mbox in a spool that a group owns. Two users get a message by LMTP,
// read it by IMAP after logging in by PAM, and cannot read the other's.
func TestSystemMailboxes(t *testing.T) {
	t.Parallel()
	const spool = "/var/mail" // where the group mail may make lock files
	users := []string{"dvtlone", "dvtltwo"}
	homes := harness.Dir(t)
	for i, user := range users {
		home := filepath.Join(homes, user)
		systemUser(t, user, user+"-secret", "-u", fmt.Sprint(21030+i), "-d", home)
		harness.Run(t, "", "install", "-d", "-m", "0700", "-o", user, "-g", user, home)
		box := filepath.Join(spool, user)
		os.Remove(box)
		t.Cleanup(func() { os.Remove(box) })
	}
	service := pamService(t, "mail")
	passdb := "disable_plaintext_auth = no\nfirst_valid_uid = 8\nlmtp_save_to_detail_mailbox = no\nauth_username_format = %Ln\n" +
		"passdb {\n  driver = pam\n  args = " + service + "\n}\n"
	for name, config := range map[string]string{
		"one owner": "mail_location = sdbox:~/\n" +
			"userdb {\n  driver = passwd\n  override_fields = uid=mail gid=mail home=@DIR@/mail/%n/\n}\n",
		"home": "mail_location = maildir:~/Maildir\nuserdb {\n  driver = passwd\n}\n",
		"spool": "mail_location = mbox:~/folders:INBOX=" + spool + "/%u\nmail_privileged_group = mail\n" +
			"userdb {\n  driver = passwd\n}\n",
	} {
		t.Run(name, func(t *testing.T) { // one after the other: they share the homes
			for _, program := range []harness.Program{harness.Original, harness.Dovetail} {
				for _, user := range users {
					os.RemoveAll(filepath.Join(homes, user, "Maildir"))
					os.RemoveAll(filepath.Join(homes, user, "folders"))
					os.Remove(filepath.Join(spool, user))
				}
				m := startMail(t, program, passdb+config, nil)
				for _, user := range users {
					deliver(t, m, user, "Subject: for "+user+"\r\n\r\nhello "+user+"\r\n")
				}
				for _, user := range users {
					want := []string{"for " + user}
					if got := subjects(t, m, user, user+"-secret"); !cmp.Equal(got, want) {
						t.Errorf("%v: mail of %s: %q, want %q", program, user, got, want)
					}
				}
				if answer := imapAnswer(t, m, "LOGIN "+users[0]+" "+users[1]+"-secret"); !strings.HasPrefix(answer, "a NO [AUTHENTICATIONFAILED]") {
					t.Errorf("%v: %s", program, answer)
				}
				m.Stop()
				if name != "one owner" {
					checkOwners(t, program, name, homes, spool, users)
				}
			}
		})
	}
}

// checkOwners wants all that was made for a user to be the user's, and not readable by
// others.
func checkOwners(t *testing.T, program harness.Program, name, homes, spool string, users []string) {
	t.Helper()
	for i, user := range users {
		root := filepath.Join(homes, user)
		paths := []string{root}
		if name == "spool" {
			paths = append(paths, filepath.Join(spool, user))
		}
		for _, top := range paths {
			filepath.Walk(top, func(path string, info os.FileInfo, err error) error {
				if err != nil {
					t.Error(err)
					return nil
				}
				if uid := info.Sys().(*syscall.Stat_t).Uid; int(uid) != 21030+i {
					t.Errorf("%v: %s belongs to uid %d", program, path, uid)
				}
				return nil
			})
			// The other user, asked by the kernel.
			other := users[1-i]
			if out, err := harness.Try("", "runuser", "-u", other, "--", "grep", "-r", "hello", top); err == nil {
				t.Errorf("%v: %s can read the mail of %s:\n%s", program, other, user, out)
			}
		}
	}
}

// deliver sends a message by LMTP.
func deliver(t *testing.T, m *mailService, user, text string) {
	t.Helper()
	c := harness.Connect(t, m.addr("LMTP"))
	defer c.Close()
	c.Expect(t, "LHLO client.example", "250")
	c.Expect(t, "MAIL FROM:<>", "250")
	c.Expect(t, "RCPT TO:<"+user+"@example.com>", "250")
	c.Expect(t, "DATA", "354")
	c.Expect(t, text+".", "250")
}

// subjects logs in and returns the subjects of INBOX.
func subjects(t *testing.T, m *mailService, user, password string) []string {
	t.Helper()
	c := harness.Connect(t, m.addr("IMAP"))
	defer c.Close()
	c.Must(t, "LOGIN "+user+" "+password)
	c.Must(t, "SELECT INBOX")
	untagged, _ := c.Must(t, "FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]")
	var all []string
	for _, line := range untagged {
		if _, subject, ok := strings.Cut(line, "Subject: "); ok {
			subject, _, _ = strings.Cut(subject, "\r")
			all = append(all, subject)
		}
	}
	return all
}

// imapAnswer returns the tagged answer to a command of a new session.
func imapAnswer(t *testing.T, m *mailService, command string) string {
	t.Helper()
	c, err := dialFrom("127.0.0.1", m.addr("IMAP"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.until("* OK")
	return c.ask("a "+command, "a ")
}

// TestNameServiceSwitch finds users in a database of the name service switch that is not
// /etc/passwd, as those of SSSD are: the place of its module is taken by libnss-extrausers.
func TestNameServiceSwitch(t *testing.T) {
	t.Parallel()
	if found, _ := filepath.Glob("/usr/lib/libnss_extrausers.so.2"); len(found) == 0 {
		t.Fatal("libnss-extrausers is not installed: run test/install-packages")
	}
	// The configuration of the switch is the machine's: it is put back whatever happens.
	const database, config = "/var/lib/extrausers/passwd", "/etc/nsswitch.conf"
	before := readFile(t, config)
	old, oldErr := os.ReadFile(database)
	t.Cleanup(func() {
		replaceFile(config, before)
		if oldErr != nil {
			os.Remove(database)
			return
		}
		os.WriteFile(database, old, 0o644)
	})
	harness.Write(t, database, string(old)+"dvtlextra:x:21040:21040:Extra:/srv/extra:/usr/sbin/nologin\n")
	var lines []string
	for line := range strings.Lines(before) {
		if strings.HasPrefix(line, "passwd:") && !strings.Contains(line, "extrausers") {
			line = strings.TrimRight(line, "\n") + " extrausers\n"
		}
		lines = append(lines, line)
	}
	if err := replaceFile(config, strings.Join(lines, "")); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"dovecot.conf": "auth_verbose = yes\npassdb {\n  driver = static\n  args = password=x\n}\nuserdb {\n  driver = passwd\n}\n",
		"requests":     "AUTH dvtlextra / x\nUSER dvtlextra\nUSER nosuch\n",
	}
	theirs, ours := play(t, harness.Original, files), play(t, harness.Dovetail, files)
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("(-Dovecot +Dovetail)\n%s", diff)
	}
	if want := "USER\t2\tdvtlextra\tsystem_groups_user=dvtlextra\tuid=21040\tgid=21040\thome=/srv/extra"; !strings.Contains(strings.Join(ours, "\n"), want) {
		t.Errorf("%q, want %q", ours, want)
	}
}

// replaceFile replaces a file of the machine at once: others may be reading it.
func replaceFile(path, text string) error {
	if err := os.WriteFile(path+".dovetail-test", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".dovetail-test", path)
}
