package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// rawStamp is what stands before each line of a record.
var rawStamp = regexp.MustCompile(`(?m)^\d{10,}\.\d{6} `)

// record waits for a record in a directory that holds all of wants, and returns it without times.
func record(t *testing.T, dir, suffix string, wants ...string) string {
	t.Helper()
	var text string
	harness.Eventually(t, fmt.Sprintf("record in %s with %q", dir, wants), func() bool {
		files, _ := filepath.Glob(filepath.Join(dir, "*."+suffix))
		return slices.ContainsFunc(files, func(name string) bool {
			b, err := os.ReadFile(name)
			text = rawStamp.ReplaceAllString(string(b), "")
			return err == nil && !slices.ContainsFunc(wants, func(want string) bool { return !strings.Contains(text, want) })
		})
	})
	return text
}

// TestRawlog has sessions written down in a directory of each user, and of the address for LMTP.
func TestRawlog(t *testing.T) {
	results := map[harness.Program]map[string]string{}
	var mu sync.Mutex
	t.Run("sessions", func(t *testing.T) {
		both(t, func(t *testing.T, p harness.Program) {
			dir := harness.Dir(t)
			mb := harness.StartMailbox(t, p, harness.MailboxOptions{Extra: strings.ReplaceAll(`
lmtp_rawlog_dir = @DIR@/lmtp-%l-%s
protocol imap {
  rawlog_dir = @DIR@/imap/%n@%d
}
protocol pop3 {
  rawlog_dir = @DIR@/pop3-%r
}
`, "@DIR@", dir)})
			got := map[string]string{}
			for _, name := range []string{"lmtp-127.0.0.1-lmtp", "imap/user0@" + harness.Domain, "pop3-127.0.0.1"} {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(path, 0o777); err != nil {
					t.Fatal(err)
				}
				os.Chmod(path, 0o777)
			}
			lmtp := harness.Connect(t, mb.LMTP)
			lmtp.Expect(t, "LHLO client.example.test", "250")
			lmtp.Expect(t, "QUIT", "221")
			got["lmtp"] = record(t, filepath.Join(dir, "lmtp-127.0.0.1-lmtp"), "in", "QUIT\r\n")
			record(t, filepath.Join(dir, "lmtp-127.0.0.1-lmtp"), "out", "250-PIPELINING\r\n", "221 ")

			c := harness.Connect(t, mb.IMAP)
			if err := c.Login(0); err != nil {
				t.Fatal(err)
			}
			c.Must(t, "SELECT INBOX")
			c.Must(t, "APPEND INBOX {14+}\r\nSubject: x\r\n\r\n")
			c.Must(t, "LOGOUT")
			got["imap"] = record(t, filepath.Join(dir, "imap", "user0@"+harness.Domain), "in", "LOGOUT\r\n")
			record(t, filepath.Join(dir, "imap", "user0@"+harness.Domain), "out", "* 1 EXISTS\r\n", "* BYE Logging out\r\n")
			// Without a directory nothing is written, and nothing fails.
			other := harness.ConnectIMAP(t, mb.IMAP, 1, "INBOX")
			other.Must(t, "LOGOUT")

			pop := harness.Connect(t, mb.POP3)
			pop.Expect(t, "USER "+harness.User(1), "+OK")
			pop.Put("PASS " + harness.Password + "\r\nSTAT\r\nQUIT\r\n") //nolint:errcheck // the reply shows it
			for range 3 {
				pop.Expect(t, "", "+OK")
			}
			got["pop3"] = record(t, filepath.Join(dir, "pop3-127.0.0.1"), "in", "STAT\r\n", "QUIT\r\n")
			record(t, filepath.Join(dir, "pop3-127.0.0.1"), "out", "+OK 0 0\r\n", "+OK Logging out.\r\n")
			mu.Lock()
			defer mu.Unlock()
			results[p] = got
		})
	})
	for name, ours := range results[harness.Dovetail] {
		if theirs := results[harness.Original][name]; ours != theirs {
			t.Errorf("%s: %q was read, the original has %q", name, ours, theirs)
		}
	}
}
