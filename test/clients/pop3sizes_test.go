package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// TestPOP3SizesAreKept reads a Maildir whose names do not tell sizes, twice. The second time, after a restart, nothing is
// read of the messages: another program has made them longer meanwhile, which does not show.
func TestPOP3SizesAreKept(t *testing.T) {
	both(t, func(t *testing.T, p harness.Program) {
		mb := harness.StartMailbox(t, p, harness.MailboxOptions{Location: "maildir:~/Maildir"})
		list := func() string {
			c := harness.Connect(t, mb.POP3)
			c.Expect(t, "USER "+harness.User(0), "+OK")
			c.Expect(t, "PASS "+harness.Password, "+OK")
			stat := c.Expect(t, "STAT", "+OK")
			c.Expect(t, "QUIT", "+OK")
			return stat
		}
		list() // makes the mailbox
		cur := filepath.Join(mb.Mail, "user0", "Maildir", "cur")
		const messages = 10
		for i := range messages {
			path := filepath.Join(cur, fmt.Sprintf("17000000%02d.M1P1.host:2,S", i))
			harness.Write(t, path, "Subject: x\n\nbody\n")
			if err := os.Chown(path, 8, 8); err != nil {
				t.Fatal(err)
			}
		}
		want := fmt.Sprintf("+OK %d %d", messages, messages*len("Subject: x\r\n\r\nbody\r\n"))
		if got := list(); got != want {
			t.Errorf("%s: %s, want %s", p, got, want)
		}
		mb.Stop()
		files, _ := filepath.Glob(filepath.Join(cur, "*"))
		for _, name := range files {
			f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			f.WriteString(strings.Repeat("longer\n", 10)) //nolint:errcheck // would show nothing
			f.Close()
		}
		mb.Start(t)
		if got := list(); got != want {
			t.Errorf("%s: %s after messages were made longer, want %s", p, got, want)
		}
	})
}
