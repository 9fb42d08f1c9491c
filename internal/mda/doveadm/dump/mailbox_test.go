package dump

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// mailUID owns the mail of tests if they run as root, as whom Dovecot reads no mail.
const mailUID = 8

// A maker changes mailboxes with the original program.
type maker struct {
	t    *testing.T
	home string
	conf string
	rnd  *rand.Rand
}

func newMaker(t *testing.T, location string, rnd *rand.Rand) *maker {
	t.Helper()
	home, err := os.MkdirTemp("", "dump")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	m := &maker{t: t, home: home, conf: filepath.Join(home, "dovecot.conf"), rnd: rnd}
	text := "base_dir = " + home + "/run\nlog_path = /dev/stderr\nfirst_valid_uid = 0\nssl = no\nmail_location = " + location + "\n" +
		"mail_index_log_rotate_min_size = 2k\nmail_index_log_rotate_min_age = 0\nmail_index_log_rotate_max_size = 6k\n" +
		"mail_cache_purge_min_size = 1k\nmail_cache_purge_delete_percentage = 10\nmail_cache_purge_continued_percentage = 50\n" +
		"namespace inbox {\n  inbox = yes\n  separator = /\n}\n"
	if rnd.IntN(2) == 0 { // the snapshot is often in the middle of a log
		text += "mail_index_rewrite_min_log_bytes = 100\nmail_index_rewrite_max_log_bytes = 300\n"
	}
	if err := os.WriteFile(m.conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(home, mailUID, mailUID); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m *maker) run(stdin string, args ...string) {
	m.t.Helper()
	if r := m.try(stdin, args...); r.Code != 0 {
		m.t.Fatalf("doveadm %s: exit %d\n%s", strings.Join(args, " "), r.Code, r.Err)
	}
}

func (m *maker) try(stdin string, args ...string) result {
	m.t.Helper()
	cmd := exec.Command(doveadm(m.t), append([]string{"-c", m.conf}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+m.home, "USER=tester")
	cmd.Dir = m.home
	cmd.Stdin = strings.NewReader(stdin)
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: mailUID, Gid: mailUID}}
	}
	return run(m.t, cmd)
}

// step does something at random.
func (m *maker) step(n int) {
	m.t.Helper()
	box := []string{"INBOX", "Work", "Folder/Entwürfe"}[m.rnd.IntN(3)]
	uid := fmt.Sprint(1 + m.rnd.IntN(12))
	flag := []string{`\Seen`, `\Flagged`, `\Deleted`, `\Seen \Answered`, "$Label1", "Custom", "$Forwarded NonJunk", fmt.Sprint("kw", m.rnd.IntN(30))}[m.rnd.IntN(8)]
	switch m.rnd.IntN(14) {
	case 0, 1, 2, 3:
		m.run(m.mail(n), "save", "-m", box)
	case 4, 5:
		m.run("", "flags", "add", flag, "mailbox", box, "uid", uid+":*")
	case 6:
		m.run("", "flags", "remove", flag, "mailbox", box, "uid", uid)
	case 7:
		m.run("", "flags", "replace", flag, "mailbox", box, "uid", "1:"+uid)
	case 8:
		m.run("", "expunge", "mailbox", box, "uid", uid)
	case 9:
		m.run("", "copy", "Work", "mailbox", box, "uid", uid)
	case 10:
		// The original panics on some messages in mbox; the cache may be filled all the same.
		m.try("", "fetch", "uid modseq imap.envelope imap.bodystructure date.saved size.virtual body.preview hdr.x-test", "mailbox", box, "all")
	case 11:
		m.run("", "mailbox", "status", "all", "*")
	case 12:
		m.run("", "force-resync", box)
	case 13:
		m.run("", "index", box)
		m.run("", "purge")
	}
}

func (m *maker) mail(n int) string {
	text := fmt.Sprintf("From: A <a@example.org>\nTo: b@example.org\nSubject: mail %d\nDate: Mon, 1 Jan 2024 10:00:%02d +0200\nMessage-ID: <m%d@example.org>\nX-Test: one\nX-Test: two\n\tthree\n", n, n%60, n)
	if n%3 == 0 {
		return text + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/plain; charset=utf-8\n\nGrüße\n--x\nContent-Type: message/rfc822\n\nSubject: inner\n\ntext\n--x--\n"
	}
	return text + "\n" + strings.Repeat("line\n", n%7)
}

func TestThreads(t *testing.T) {
	m := newMaker(t, "sdbox:~/mail", rand.New(rand.NewPCG(1, 1)))
	for n := range 20 {
		references := ""
		for k := range n % 5 {
			references += fmt.Sprintf(" <m%d@example.org>", k)
		}
		m.run(fmt.Sprintf("References:%s\nIn-Reply-To: <m%d@example.org>\n", references, n/2)+m.mail(n), "save", "-m", "INBOX")
	}
	m.run("1 SELECT INBOX\r\n2 THREAD REFERENCES UTF-8 ALL\r\n3 LOGOUT\r\n", "exec", "imap")
	file := filepath.Join(m.home, "mail/mailboxes/INBOX/dbox-Mails/dovecot.index.thread")
	if got := ours(file); !strings.Contains(got.Out, "references[2]") {
		t.Errorf("dump of the thread index: %+v", got)
	}
	compareTree(t, m.home)
}

func TestMailboxesMadeByTheOriginal(t *testing.T) {
	for _, location := range []string{"sdbox:~/mail", "mdbox:~/mail", "maildir:~/Maildir", "mbox:~/mail:INBOX=~/inbox", "sdbox:~/mail:LAYOUT=index", "sdbox:~/mail:INDEX=~/index"} {
		t.Run(location, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			m := newMaker(t, location, rand.New(rand.NewPCG(seed, 0)))
			for _, box := range []string{"Work", "Folder/Entwürfe"} {
				m.run("", "mailbox", "create", "-s", box)
			}
			for n := range 60 {
				m.step(n)
				if n%12 == 11 {
					compareTree(t, m.home)
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}
