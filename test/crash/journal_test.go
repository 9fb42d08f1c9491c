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
				if losePower(t, mb, user, messages) {
					mb.Start(t)
					checkRecovered(t, mb, user, messages)
					return
				}
				mb.Start(t)
			}
			t.Fatalf("the journal was empty %d times", users)
		})
	}
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
// first. It reports whether the journal still had it.
func losePower(t *testing.T, mb *harness.Mailbox, user, messages int) bool {
	c := harness.Connect(t, mb.LMTP)
	c.Expect(t, "LHLO client.example.org", "250")
	home, _, _ := strings.Cut(harness.User(user), "@")
	home = filepath.Join(mb.Mail, home)
	durable := make(map[string]int64)
	for n := range messages {
		c.Expect(t, "MAIL FROM:<sender@example.org>", "250")
		c.Expect(t, "RCPT TO:<"+harness.User(user)+">", "250")
		c.Expect(t, "DATA", "354")
		c.Expect(t, letter(fmt.Sprint("journal-", n))+".", "250")
		if n == 0 {
			each(t, home, func(path string, size int64) { durable[path] = size })
		}
	}
	mb.Process.KillAll()
	if !restarted(t, filepath.Join(mb.Mail, ".dovetail-journal")) {
		return false
	}
	lost := 0
	each(t, home, func(path string, size int64) {
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

func checkRecovered(t *testing.T, mb *harness.Mailbox, user, messages int) {
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
	log, err := os.ReadFile(mb.Log)
	if err != nil || !strings.Contains(string(log), "Recovered mail in "+mb.Mail) {
		t.Errorf("the log does not say that mail was recovered: %v", err)
	}
	if got := strings.Fields(mb.Doveadm(t, user, "search", "mailbox", "INBOX", "all")); len(got) != 2*messages {
		t.Errorf("doveadm finds %q", got)
	}
}
