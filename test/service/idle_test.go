package service

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// idleSessions is how many clients wait in IDLE: some thousands.
const idleSessions = 3000

// Thousands of idle sessions outlive reloads. What these take in time and memory
// is logged; memory must not grow with each.
func TestReloadWithThousandsOfIdleSessions(t *testing.T) {
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{Users: 100, Extra: "mail_max_userip_connections = 0\n"})
	sessions := make([]*harness.Client, idleSessions)
	var work sync.WaitGroup
	for w := range 20 {
		work.Go(func() {
			for n := w; n < len(sessions); n += 20 {
				c, err := harness.Dial(mb.IMAP)
				if err == nil {
					sessions[n] = c
					err = idle(c, n%100)
				}
				if err != nil {
					t.Errorf("session %d: %v", n, err)
					return
				}
			}
		})
	}
	work.Wait()
	t.Cleanup(func() {
		for _, c := range sessions {
			if c != nil {
				c.Close()
			}
		}
	})
	if t.Failed() {
		return
	}
	pid := mb.Child(t, "dovecot/lmtp") // the process of the uid that owns all mail
	files := openFiles(t, pid)
	before, loginBefore := settled(pid), settled(mb.Child(t, "dovecot/imap-login"))
	const reloads = 10
	var longest, all time.Duration
	for n := range reloads {
		if n == 0 {
			add(t, mb.Config, "login_greeting = number 0\n")
		} else {
			edit(t, mb.Config, fmt.Sprintf("number %d\n", n-1), fmt.Sprintf("number %d\n", n))
		}
		start := time.Now()
		doveadm(t, mb, "reload")
		greets(t, mb.IMAP, fmt.Sprintf("number %d", n))
		took := time.Since(start)
		longest, all = max(longest, took), all+took
	}
	after, loginAfter := settled(pid), settled(mb.Child(t, "dovecot/imap-login"))
	t.Logf("%d idle sessions, %d reloads: new sessions have the new settings after %v, at most %v; "+
		"memory of the mail process %d KB before, %d KB after; of the login process %d KB, %d KB",
		idleSessions, reloads, all/reloads, longest, before, after, loginBefore, loginAfter)
	if after > before+before/2+16<<10 {
		t.Errorf("the mail process grows from %d KB to %d KB", before, after)
	}
	if now := openFiles(t, pid); now > files+2*reloads {
		t.Errorf("the mail process has %d open files, before %d", now, files)
	}
	for n, c := range sessions {
		c.Put("DONE\r\n")
		if _, _, err := c.Responses("i "); err != nil {
			t.Fatalf("session %d: %v", n, err)
		}
	}
}

// idle logs in and waits for news.
func idle(c *harness.Client, user int) error {
	if err := c.Login(user); err != nil {
		return err
	}
	if _, _, err := c.IMAP("SELECT INBOX"); err != nil {
		return err
	}
	reply, err := c.Ask("i IDLE")
	if err == nil && !strings.HasPrefix(reply, "+") {
		err = fmt.Errorf("IDLE: %s", reply)
	}
	return err
}

// settled is the memory of a process in KB when it no longer shrinks.
func settled(pid int) int {
	rss := func() int {
		text, _, _ := strings.Cut(harness.Status(pid, "VmRSS"), " ")
		n, _ := strconv.Atoi(text) //nolint:errcheck // 0 shows
		return n
	}
	least := rss()
	for quiet := 0; quiet < 20; quiet++ {
		time.Sleep(200 * time.Millisecond)
		if now := rss(); now < least-least/100 {
			least, quiet = now, 0
		}
	}
	return least
}

func openFiles(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
