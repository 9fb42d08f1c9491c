package imap

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// another returns a server of the same mailboxes that shares nothing with s but the files, as another
// process.
func (s *testServer) another(t *testing.T) *testServer {
	t.Helper()
	o := *s
	o.pool = mailbox.NewPool(s.log)
	t.Cleanup(func() { o.pool.Close() })
	var err error
	if o.srv, err = NewServer(Config{Dovecot: s.cfg, Pool: o.pool, Log: s.log}); err != nil {
		t.Fatal(err)
	}
	return &o
}

// TestNotifyOtherProcess has another process change mailboxes of every format that are watched.
func TestNotifyOtherProcess(t *testing.T) {
	for _, location := range []string{"sdbox:~/mail", "mdbox:~/mail", "maildir:~/Maildir", "mbox:~/mail:INBOX=~/inbox"} {
		t.Run(strings.SplitN(location, ":", 2)[0], func(t *testing.T) {
			t.Parallel()
			srv := newTestServer(t, map[string]string{"mail_location": location})
			c := srv.dial(t)
			r := bufio.NewReader(c)
			talk(t, c, r, "a CREATE one\r\n", "a ")
			talk(t, c, r, "b NOTIFY SET (PERSONAL (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange))\r\n", "b OK")
			o := srv.another(t)
			oc := o.dial(t)
			or := bufio.NewReader(oc)
			for _, step := range []struct{ do, told string }{
				{"APPEND one {7+}\r\nA: b\r\n\r\n", "* STATUS one (MESSAGES 1 UIDNEXT 2 UNSEEN 1)"},
				{"APPEND inbox {7+}\r\nA: b\r\n\r\n", "* STATUS INBOX (MESSAGES 1 UIDNEXT 2 UNSEEN 1)"},
				{"CREATE two", `* LIST (`},
				{"SUBSCRIBE one", `* LIST (\Subscribed `},
				{"DELETE two", `* LIST (\NonExistent) `},
				{"RENAME one three", `* LIST (`},
				{"APPEND three {7+}\r\nA: b\r\n\r\n", "* STATUS three (MESSAGES 2 UIDNEXT 3 UNSEEN 2)"},
			} {
				talk(t, oc, or, "a "+step.do+"\r\n", "a OK")
				talk(t, c, r, "", step.told)
			}
			if location == "maildir:~/Maildir" {
				path := filepath.Join(srv.home, "Maildir/new/1.x")
				if err := os.WriteFile(path, []byte("A: b\n\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				talk(t, c, r, "", "* STATUS INBOX (MESSAGES 2 UIDNEXT 3 UNSEEN 2)")
			}
		})
	}
}

// TestNotifyLogReplaced goes on watching a mailbox whose log was replaced.
func TestNotifyLogReplaced(t *testing.T) {
	srv := newTestServer(t, nil)
	c := srv.dial(t)
	r := bufio.NewReader(c)
	talk(t, c, r, "a CREATE one\r\n", "a ")
	talk(t, c, r, "b NOTIFY SET (PERSONAL (MessageNew))\r\n", "b OK")
	o := srv.another(t)
	oc := o.dial(t)
	or := bufio.NewReader(oc)
	log := filepath.Join(srv.home, "mail/mailboxes/one/dbox-Mails/dovecot.index.log")
	for n := 1; n <= 3; n++ {
		talk(t, oc, or, "a APPEND one {7+}\r\nA: b\r\n\r\n\r\n", "a OK")
		talk(t, c, r, "", fmt.Sprintf("* STATUS one (MESSAGES %d ", n))
		// As Dovecot does when a log is full: another file with the same content will do.
		data, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(log+".x", data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(log+".x", log); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNotifyMany watches many mailboxes with neither goroutines nor descriptors for each.
func TestNotifyMany(t *testing.T) {
	const boxes = 500
	srv := newTestServer(t, nil)
	user := srv.open(t)
	defer user.Close()
	for i := range boxes {
		if err := user.Create(srv.ctx, fmt.Sprint("box", i)); err != nil {
			t.Fatal(err)
		}
	}
	const sessions = 4
	before, descriptors := runtime.NumGoroutine(), inotifies(t)
	for range sessions {
		c := srv.dial(t)
		talk(t, c, bufio.NewReader(c), "a NOTIFY SET (PERSONAL (MessageNew MessageExpunge MailboxName))\r\n", "a OK")
	}
	if n := runtime.NumGoroutine() - before; n > 5*sessions+10 {
		t.Errorf("%d goroutines for %d sessions that watch %d mailboxes", n, sessions, boxes)
	}
	if n := inotifies(t) - descriptors; n > 2 {
		t.Errorf("%d inotify descriptors", n)
	}
	c := srv.dial(t)
	r := bufio.NewReader(c)
	talk(t, c, r, "a NOTIFY SET (MAILBOXES (box7) (MessageNew))\r\n", "a OK")
	talk(t, c, r, "b APPEND box7 {7+}\r\nA: b\r\n\r\n\r\n", "* STATUS box7 (MESSAGES 1 ")
}

// TestNotifyTooMuch refuses what costs too much.
func TestNotifyTooMuch(t *testing.T) {
	srv := newTestServer(t, nil)
	c := srv.dial(t)
	r := bufio.NewReader(c)
	names := ""
	for i := range maxNotifyNames + 1 {
		names += fmt.Sprint(" box", i)
	}
	got := talk(t, c, r, "a NOTIFY SET (MAILBOXES ("+names[1:]+") (MessageNew))\r\n", "a ")
	if !strings.Contains(got, "a NO [NOTIFICATIONOVERFLOW] Too many mailbox names (T).") {
		t.Error(got)
	}
}

// inotifies returns how many inotify descriptors the process has.
func inotifies(t *testing.T) (n int) {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if to, err := os.Readlink("/proc/self/fd/" + f.Name()); err == nil && to == "anon_inode:inotify" {
			n++
		}
	}
	return n
}
