package crash

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// Mail that was acknowledged, and of which a power failure left only what the journal has, is
// there when the server has started again, for Dovecot, too.
func TestJournalAfterPowerFailure(t *testing.T) {
	for name, location := range map[string]string{"sdbox": "sdbox:~/mail", "mdbox": "mdbox:~/mail"} {
		t.Run(name, func(t *testing.T) {
			const users, messages = 10, 6
			mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{Users: users, Location: location, Mail: localDisk(t)})
			for user := range users { // another if the file system was flushed meanwhile, as it is every few seconds
				home, _, _ := strings.Cut(harness.User(user), "@")
				if losePower(t, mb, user, filepath.Join(mb.Mail, home), mb.Mail, messages) {
					mb.Start(t)
					checkRecovered(t, mb, user, messages)
					if got := strings.Fields(mb.Doveadm(t, user, "search", "mailbox", "INBOX", "all")); len(got) != 2*messages {
						t.Errorf("doveadm finds %q", got)
					}
					return
				}
				mb.Start(t)
			}
			t.Fatalf("the journal was empty %d times", users)
		})
	}
}

// The first to look at such mail may be somebody with another uid, to whom it is shared. It has to be there for
// him, too, and he must not do anything to it that keeps it from coming back.
func TestJournalOfAnotherUser(t *testing.T) {
	byIMAP := func(t *testing.T, mb *harness.Mailbox, user int, box string) string {
		c := harness.ConnectIMAP(t, mb.IMAP, user, box)
		defer c.Close()
		rows, _ := c.Must(t, "FETCH 1:* (BODY.PEEK[])")
		return strings.Join(rows, "")
	}
	byDoveadm := func(t *testing.T, mb *harness.Mailbox, user int, box string) string {
		text := harness.Run(t, "", harness.Binary(t), "doveadm", "-c", mb.Config, "fetch", "-u", harness.User(user), "text", "mailbox", box, "all")
		return strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
	}
	for _, test := range []struct {
		name, format string
		read         func(t *testing.T, mb *harness.Mailbox, user int, box string) string
	}{
		{"sdbox", "sdbox", byIMAP},
		{"mdbox", "mdbox", byIMAP},
		{"doveadm", "mdbox", byDoveadm},
	} {
		t.Run(test.name, func(t *testing.T) {
			format := test.format
			const users, messages = 10, 6
			disk := localDisk(t)
			mb := harness.NewMailbox(t, harness.Dovetail, harness.MailboxOptions{Users: users, Location: format + ":~/mail", Mail: disk, Extra: `
namespace inbox {
  inbox = yes
  separator = /
}
namespace shared {
  type = shared
  prefix = shared/%%u/
  separator = /
  location = ` + format + `:%%h/mail
  list = no
}
service auth {
  unix_listener auth-userdb {
    mode = 0660
    group = mail
  }
}
`})
			giveUIDs(t, mb, users)
			mb.Start(t)
			for user := range users - 1 {
				if !losePower(t, mb, user, filepath.Join(homeOf(mb, user), "mail"), homeOf(mb, user), messages) {
					mb.Start(t)
					continue
				}
				mb.Start(t)
				got := test.read(t, mb, user+1, fmt.Sprintf("shared/%s/INBOX", harness.User(user)))
				for n := range messages {
					if id := fmt.Sprint("journal-", n); !strings.Contains(got, letter(id)) {
						t.Errorf("%s is lost for another user:\n%.2000q", id, got)
					}
				}
				checkThere(t, mb, user, messages)
				return
			}
			t.Fatalf("the journal was empty %d times", users)
		})
	}
}

func homeOf(mb *harness.Mailbox, user int) string {
	return filepath.Join(mb.Mail, fmt.Sprint("home-", user))
}

// giveUIDs gives each user an own uid and a home that the group may use, too.
func giveUIDs(t *testing.T, mb *harness.Mailbox, users int) {
	t.Helper()
	if err := os.Chmod(mb.Mail, 0o711); err != nil {
		t.Fatal(err)
	}
	const mailGID = 8
	var lines strings.Builder
	for n := range users {
		home, uid := homeOf(mb, n), 20000+n
		fmt.Fprintf(&lines, "%s:{PLAIN}%s:%d:%d::%s\n", harness.User(n), harness.Password, uid, mailGID, home)
		for _, dir := range []string{home, filepath.Join(home, "mail")} {
			if err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, uid, mailGID), os.Chmod(dir, os.ModeSetgid|0o770)); err != nil {
				t.Fatal(err)
			}
		}
	}
	mb.SetUsers(t, lines.String())
}

// localDisk returns a directory for mail on an ext4 of its own: there are journals on local file systems
// only, and what else is flushed on a shared one is not known.
func localDisk(t *testing.T) string {
	t.Helper()
	dir := harness.Dir(t)
	image, mount := filepath.Join(dir, "image"), filepath.Join(dir, "disk")
	for _, args := range [][]string{
		{"truncate", "-s", "256M", image}, {"mkfs.ext4", "-q", "-F", image}, {"mkdir", mount}, {"mount", "-o", "loop", image, mount},
	} {
		harness.Run(t, "", args[0], args[1:]...)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(mount, syscall.MNT_DETACH); err != nil {
			t.Errorf("umount %s: %v", mount, err)
		}
	})
	mail := filepath.Join(mount, "mail")
	harness.Run(t, "", "install", "-d", "-m", "700", "-o", "mail", "-g", "mail", mail)
	return mail
}

// losePower delivers messages to a user, kills the server and takes away what was not flushed of all but the
// first, in dir. It reports whether the journal, which lies in top, still had it.
func losePower(t *testing.T, mb *harness.Mailbox, user int, dir, top string, messages int) bool {
	c := harness.Connect(t, mb.LMTP)
	c.Expect(t, "LHLO client.example.org", "250")
	durable := make(map[string]int64)
	for n := range messages {
		c.Expect(t, "MAIL FROM:<sender@example.org>", "250")
		c.Expect(t, "RCPT TO:<"+harness.User(user)+">", "250")
		c.Expect(t, "DATA", "354")
		c.Expect(t, letter(fmt.Sprint("journal-", n))+".", "250")
		if n == 0 {
			each(t, dir, func(path string, size int64) { durable[path] = size })
		}
	}
	mb.Process.KillAll()
	if !restarted(t, filepath.Join(top, ".dovetail-journal")) {
		return false
	}
	lost := 0
	each(t, dir, func(path string, size int64) {
		was, ok := durable[path]
		var err error
		switch {
		case !ok:
			err = os.Remove(path)
		case size > was:
			err = os.Truncate(path, was)
		default:
			return
		}
		if lost++; err != nil {
			t.Fatal(err)
		}
	})
	if lost == 0 {
		t.Fatal("nothing could be lost")
	}
	return true
}

// each calls fn for the files below a directory.
func each(t *testing.T, dir string, fn func(path string, size int64)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			fn(path, info.Size())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// restarted has the journals in a directory say that the computer was restarted since. It reports whether
// there was one in use, and none had been used before.
func restarted(t *testing.T, dir string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.[01]"))
	if err != nil {
		t.Fatal(err)
	}
	used := 0
	for _, name := range files {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 44)
		_, err = f.ReadAt(b, 0)
		if err == nil && binary.LittleEndian.Uint64(b[8:]) > 0 {
			used++
			b[24]++ // of the boot's id
			binary.LittleEndian.PutUint32(b[40:], crc32.Checksum(b[:40], crc32.MakeTable(crc32.Castagnoli)))
			_, err = f.WriteAt(b, 0)
		}
		if err := errors.Join(err, f.Close()); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	return used == 1
}

// checkThere looks whether the owner has all messages.
func checkThere(t *testing.T, mb *harness.Mailbox, user, messages int) {
	c := harness.ConnectIMAP(t, mb.IMAP, user, "INBOX")
	untagged, _ := c.Must(t, "UID FETCH 1:* BODY.PEEK[]")
	got := strings.Join(untagged, "\n")
	for n := range messages {
		if id := fmt.Sprint("journal-", n); strings.Count(got, letter(id)[:40]) == 0 || !strings.Contains(got, id) {
			t.Errorf("message %s is not there", id)
		}
	}
	if len(untagged) != messages {
		t.Errorf("%d messages, want %d", len(untagged), messages)
	}
	c.Must(t, "LOGOUT")
}

// checkRecovered does that, and looks for the server's word on it.
func checkRecovered(t *testing.T, mb *harness.Mailbox, user, messages int) {
	checkThere(t, mb, user, messages)
	log, err := os.ReadFile(mb.Log)
	if err != nil || !strings.Contains(string(log), "Recovered mail in "+mb.Mail) {
		t.Errorf("the log does not say that mail was recovered: %v", err)
	}
}
