package plugins

import (
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// lazyConfig keeps what is expunged in a mailbox.
const lazyConfig = `
mail_plugins = $mail_plugins lazy_expunge
plugin {
  lazy_expunge = EXPUNGED
}
`

// TestLazyExpungeKilled kills the process of the mail in the middle of EXPUNGE, again and again: of each message that
// was there one copy at least is left, in INBOX or where expunged ones are kept, and none that was expunged before is gone.
func TestLazyExpungeKilled(t *testing.T) {
	const rounds, messages = 5, 30
	for _, format := range []string{"sdbox", "mdbox", "maildir"} {
		t.Run(format, func(t *testing.T) {
			mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{Location: format + ":~/mail", Extra: lazyConfig})
			want := map[string]bool{}
			for round := range rounds {
				c := harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX")
				for n := range messages {
					subject := fmt.Sprintf("m%d-%d-", round, n)
					want[subject] = true
					text := "Subject: " + subject + "\r\n\r\nbody\r\n"
					c.Must(t, fmt.Sprintf("APPEND INBOX {%d+}\r\n%s", len(text), text))
				}
				c.Must(t, `STORE 1:* +FLAGS.SILENT (\Deleted)`)
				pid := mb.Child(t, "dovecot/lmtp") // which owns all mail, and serves IMAP
				killed := make(chan error)
				go func() {
					time.Sleep(time.Duration(round) * time.Millisecond) // a little later each time
					killed <- syscall.Kill(pid, syscall.SIGKILL)
				}()
				c.IMAP("EXPUNGE") //nolint:errcheck // it may have been done, or not
				if err := <-killed; err != nil {
					t.Fatal(err)
				}
				c.Close()
				harness.Eventually(t, "the end of the process", func() bool { return harness.Gone(pid) })
				left := subjects(t, mb)
				t.Logf("round %d: copies of messages in INBOX and EXPUNGED: %v", round, copies(left))
				for subject := range want {
					if left[subject] == "" {
						t.Fatalf("round %d: %s is lost", round, subject)
					}
				}
			}
		})
	}
}

var subjectLine = regexp.MustCompile(`m\d+-\d+-`)

// copies counts messages by where they are.
func copies(left map[string]string) map[string]int {
	count := map[string]int{}
	for _, boxes := range left {
		count[boxes]++
	}
	return count
}

// subjects returns those of all messages that a user has, with the mailboxes that they are in.
func subjects(t *testing.T, mb *harness.Mailbox) map[string]string {
	t.Helper()
	found := map[string]string{}
	var c *harness.Client
	harness.Eventually(t, "a new session", func() bool {
		c = harness.Connect(t, mb.IMAP)
		_, _, err := c.IMAP("LOGIN " + harness.User(0) + " " + harness.Password)
		return err == nil
	})
	defer c.Close()
	for _, box := range []string{"INBOX", "EXPUNGED"} {
		rows, _, err := c.IMAP("SELECT " + box)
		if err != nil || strings.Contains(strings.Join(rows, "\n"), "* 0 EXISTS") {
			continue // there is none yet, or it is empty
		}
		rows, _ = c.Must(t, "FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
		for _, subject := range subjectLine.FindAllString(strings.Join(rows, "\n"), -1) {
			found[subject] += box + " "
		}
	}
	return found
}
