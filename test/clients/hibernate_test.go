package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// hibernating has sessions hibernate after a second in IDLE. The services are as Dovecot's documentation has them for
// virtual users.
const hibernating = `
imap_hibernate_timeout = 1 s
imap_idle_notify_interval = 1 hours
mail_debug = yes
service imap {
  unix_listener imap-master {
    user = dovecot
  }
}
service imap-hibernate {
  unix_listener imap-hibernate {
    mode = 0666
  }
}
`

// sleepers counts the sessions with a mailbox that hibernate: of Dovecot by what its process watches, of Dovetail by the
// descriptors that processes wait for once.
func sleepers(mb *harness.Mailbox) (n int) {
	for _, pid := range harness.Descendants(mb.Cmd.Process.Pid) {
		if mb.Program == harness.Original {
			if harness.Title(pid) != "dovecot/imap-hibernate" {
				continue
			}
			files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
			for _, name := range files {
				if to, _ := os.Readlink(name); to == "anon_inode:inotify" {
					n++
				}
			}
			continue
		}
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
		for _, name := range files {
			b, _ := os.ReadFile(name) // it may have been closed
			n += len(waitedForOnce.FindAll(b, -1))
		}
	}
	return n
}

// waitedForOnce is a descriptor in an epoll set with EPOLLONESHOT.
var waitedForOnce = regexp.MustCompile(`(?m)^tfd: .* events: 4[0-9a-f]{7} `)

// asleep waits until n sessions hibernate.
func asleep(t *testing.T, mb *harness.Mailbox, n int) {
	t.Helper()
	harness.Eventually(t, fmt.Sprintf("%d sessions that hibernate", n), func() bool { return sleepers(mb) == n })
}

// TestHibernate lets a session hibernate and come back, again and again: because another one changes the mailbox, and
// because of DONE. It is told the same as one that stays awake, and its numbers mean the same. Where the client has
// enabled nothing it is told the same as by Dovecot, too, which forgets what was enabled.
func TestHibernate(t *testing.T) {
	for _, format := range []string{"sdbox", "maildir"} {
		for _, enable := range []string{"", "CONDSTORE", "QRESYNC"} {
			t.Run(format+enable, func(t *testing.T) {
				t.Parallel()
				play := func(p harness.Program, extra string, settle func(*harness.Mailbox)) []string {
					mb := harness.StartMailbox(t, p, harness.MailboxOptions{Extra: extra, Location: format + ":~/mail"})
					defer mb.Stop()
					return hibernate(t, mb, enable, settle)
				}
				settle := func(mb *harness.Mailbox) { asleep(t, mb, 1) }
				got := play(harness.Dovetail, hibernating, settle)
				want := play(harness.Dovetail, "", func(*harness.Mailbox) {})
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("a client that hibernated is told otherwise (-awake +hibernated):\n%s", diff)
				}
				if enable != "" || format != "sdbox" {
					return
				}
				// Dovecot tells flags that have not changed, too.
				unchanged := func(line string) bool { return strings.HasSuffix(line, " FETCH (FLAGS ())") }
				want = slices.DeleteFunc(play(harness.Original, hibernating, settle), unchanged)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("a client that hibernated is told otherwise (-Dovecot +Dovetail):\n%s", diff)
				}
			})
		}
	}
}

// hibernate plays the sessions and returns what the one is told that hibernates, for which settle waits.
func hibernate(t *testing.T, mb *harness.Mailbox, enable string, settle func(*harness.Mailbox)) (told []string) {
	other := harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX")
	for i := range 6 {
		other.Must(t, fmt.Sprintf("APPEND INBOX {14+}\r\nSubject: %d\r\n\r\n", i))
	}
	c := harness.Connect(t, mb.IMAP)
	if err := c.Login(0); err != nil {
		t.Fatal(err)
	}
	if enable != "" {
		c.Must(t, "ENABLE "+enable)
	}
	c.Must(t, "SELECT INBOX")
	c.Must(t, "SEARCH RETURN (SAVE) 2:3")
	c.Expect(t, "i IDLE", "+ idling")
	for _, step := range []struct{ command, until string }{
		{`STORE 2 +FLAGS (\Flagged)`, `\* 2 FETCH .*Flagged`},
		{`STORE 1,4 +FLAGS (\Deleted $Label)`, `\* 4 FETCH .*Deleted`},
		{`EXPUNGE`, `\* 1 EXPUNGE|VANISHED`},
		{"APPEND INBOX (\\Seen) {14+}\r\nSubject: n\r\n\r\n", "EXISTS"},
	} {
		settle(mb)
		other.Must(t, step.command)
		lines := readUntil(t, c, step.until)
		told = append(told, "other: "+strings.Fields(step.command)[0])
		told = append(told, lines...)
	}
	settle(mb)
	c.Put("DONE\r\n") //nolint:errcheck // the answer shows it
	untagged, ok, err := c.Responses("i ")
	if err != nil {
		t.Fatal(err)
	}
	told = append(append(told, steady(untagged)...), steady([]string{ok})...)
	for _, command := range []string{"FETCH 1:* (UID FLAGS)", "FETCH $ (UID FLAGS)", `STORE 1 +FLAGS (\Answered)`, "NOOP"} {
		untagged, ok := c.Must(t, command)
		told = append(append(told, "C: "+command), steady(untagged)...)
		told = append(told, steady([]string{ok})...)
	}
	return told
}

// steady leaves out what depends on time, and whose the recent messages are.
func steady(lines []string) []string {
	lines = slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return strings.HasSuffix(line, " RECENT") })
	for i := range lines {
		lines[i] = recent.ReplaceAllString(modSeqs.ReplaceAllString(times.ReplaceAllString(lines[i], "."), "$1 N"), "")
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

var (
	times   = regexp.MustCompile(` \([0-9.]+ \+ [0-9.]+( \+ [0-9.]+)? secs\)\.`)
	recent  = regexp.MustCompile(` ?\\Recent`)
	modSeqs = regexp.MustCompile(`(HIGHESTMODSEQ|MODSEQ) \(?[0-9]+\)?`)
)

// readUntil reads what a client is told unasked, up to a line that matches.
func readUntil(t *testing.T, c *harness.Client, last string) (lines []string) {
	t.Helper()
	re := regexp.MustCompile(last)
	for {
		line, err := c.Line()
		if err != nil {
			t.Fatalf("%q is not told, but %q: %v", last, lines, err)
		}
		lines = append(lines, line)
		if re.MatchString(line) {
			return steady(lines)
		}
	}
}

// TestHibernationEnds ends sessions that hibernate: by input that is not DONE, by the client's going, by doveadm kick, by
// a reload, which does not, by the deletion of the mailbox, and by the server's end.
func TestHibernationEnds(t *testing.T) {
	t.Parallel()
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{Extra: hibernating})
	sleeper := func(box string) *harness.Client {
		c := harness.ConnectIMAP(t, mb.IMAP, 0, box)
		c.Expect(t, "i IDLE", "+ idling")
		asleep(t, mb, 1)
		return c
	}
	ends := func(c *harness.Client, says, log string) {
		t.Helper()
		readUntil(t, c, says)
		if line, err := c.Line(); err == nil {
			t.Errorf("goes on with %q", line)
		}
		wantLog(t, mb, log)
		asleep(t, mb, 0)
	}
	c := sleeper("INBOX")
	// Dovecot answers "BAD Idle completed.", and then takes the line for a command.
	c.Expect(t, "nonsense", "i BAD Expected DONE")
	c.Must(t, "LOGOUT")

	c = sleeper("INBOX")
	c.Close()
	wantLog(t, mb, ": Info: Disconnected: Connection closed in=")
	asleep(t, mb, 0)

	c = sleeper("INBOX")
	doveadm := func(args ...string) {
		t.Helper()
		harness.Run(t, "", harness.Binary(t), append([]string{"doveadm", "-c", mb.Config}, args...)...)
	}
	doveadm("reload")
	c.Put("DONE\r\nn NOOP\r\n") //nolint:errcheck // the answer shows it
	c.Expect(t, "", "i OK Idle completed")
	c.Expect(t, "", "n OK NOOP completed")
	c.Must(t, "LOGOUT")

	c = sleeper("INBOX")
	doveadm("kick", harness.User(0))
	ends(c, "BYE Server shutting down.", "imap-hibernate("+harness.User(0)+")")

	other := harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX")
	other.Must(t, "CREATE Gone")
	c = sleeper("Gone")
	other.Must(t, "DELETE Gone")
	ends(c, "BYE Selected mailbox was deleted, have to disconnect.", "Info: Disconnected: Selected mailbox was deleted")
	other.Must(t, "LOGOUT")

	// What watches more than its mailbox stays awake.
	c = harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX")
	c.Must(t, "SEARCH RETURN (UPDATE) ALL")
	c.Expect(t, "i IDLE", "+ idling")
	c = sleeper("INBOX") // and is the only one

	tls := sleeperTLS(t, mb)
	asleep(t, mb, 2)
	tls.Expect(t, "DONE", "i OK Idle completed")
	tls.Must(t, "LOGOUT")

	mb.Stop()
	ends(c, "BYE Server shutting down.", "Server shutting down. in=")
}

// sleeperTLS is a session of another user whose TLS ends in the login process.
func sleeperTLS(t *testing.T, mb *harness.Mailbox) *harness.Client {
	c, err := harness.DialTLS(mb.IMAPS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Login(1); err != nil {
		t.Fatal(err)
	}
	c.Must(t, "SELECT INBOX")
	c.Expect(t, "i IDLE", "+ idling")
	return c
}
