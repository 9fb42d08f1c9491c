package interop

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// oddNames are names of mailboxes that are more than that to file systems.
var oddNames = []string{
	"..", "../x", "../../../../tmp/dovetail-odd-name", "a/..", "a/../b", "a/../../b", ".", "./a", "a/.", "a/./b", "/", "/a", "//", "a//b", "a/", "a//", "/etc/passwd",
	"~", "~/a", "~root", "~root/a", "a/~", "a\x00b", "\x00", "a/\x00", "a\nb", "a\rb", "a\tb", "a\x7fb", "\xff", "&", "&-", "&AAA-", "&ACAAIA-", "&AC8-", "&ADs",
	".hidden", "a/.hidden", "..a", "a..", "...", " ", "a b", `a\b`, `"`, "%", "*", "a%", "INBOX/..", "inbox/../x", "INBOX.x", "cur", "a/cur", "a/new/b",
	"dbox-Mails/x", "a/dbox-Mails/b", strings.Repeat("n", 300), strings.Repeat("d/", 40) + "e",
}

// oddNameCommands are said with each name, @.
var oddNameCommands = []string{
	"CREATE @", "STATUS @ (MESSAGES)", "APPEND @ {5+}\r\na: b\n", "SELECT @", "RENAME box @", "RENAME @ box", "RENAME @ other", "RENAME other box", "SUBSCRIBE @", "UNSUBSCRIBE @", "DELETE @",
}

// TestOddNames uses names that lead elsewhere, or nowhere. Nothing outside of the mail of the user is touched, and
// what the real Dovecot refuses is refused.
func TestOddNames(t *testing.T) {
	for _, l := range locations[:5] {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, harness.MailboxOptions{Location: l.location, Users: 2, Extra: pairSettings})
			home := p.servers[0].Mail
			var said [2][]string
			for server := range p.servers {
				said[server] = p.sayOddNames(t, server)
			}
			for i, got := range said[0] {
				if want := said[1][i]; strings.HasPrefix(want, "NO ") && strings.HasPrefix(got, "OK ") {
					t.Errorf("%q gives %s\nDovecot says %s", oddCommand(i), got, want)
				}
				if strings.Contains(got, "Internal error") || strings.HasPrefix(got, "connection") {
					t.Errorf("%q gives %s", oddCommand(i), got)
				}
			}
			var outside []string
			err := filepath.WalkDir(home, func(path string, _ fs.DirEntry, err error) error {
				name, _ := filepath.Rel(home, path)
				if name != "." && !strings.HasPrefix(name, ".dovetail-journal") && name != "user0" && name != "user1" && !strings.HasPrefix(name, "user0/") && !strings.HasPrefix(name, "user1/") {
					outside = append(outside, name)
				}
				return err
			})
			if _, err := os.Lstat("/tmp/dovetail-odd-name"); err == nil {
				outside = append(outside, "/tmp/dovetail-odd-name")
			}
			if err != nil || len(outside) > 0 {
				t.Errorf("outside of the homes: %q, %v", outside, err)
			}
		})
	}
}

// oddCommand returns which command an answer is of.
func oddCommand(i int) string {
	return strings.ReplaceAll(oddNameCommands[i%len(oddNameCommands)], "@", oddNames[i/len(oddNameCommands)])
}

// sayOddNames says all commands as a user of one server only, and returns the tagged answers.
func (p *pair) sayOddNames(t *testing.T, server int) (answers []string) {
	t.Helper()
	c := harness.ConnectIMAP(t, p.servers[server].IMAP, server, "INBOX")
	c.Must(t, "CREATE box")
	for _, name := range oddNames {
		c.Close() // too many errors end a session
		c = harness.ConnectIMAP(t, p.servers[server].IMAP, server, "INBOX")
		literal := fmt.Sprintf("{%d+}\r\n%s", len(name), name)
		for _, command := range oddNameCommands {
			untagged, ok, err := c.IMAP(strings.ReplaceAll(command, "@", literal))
			switch refusal := (harness.Refusal)(""); {
			case err == nil:
				answers = append(answers, "OK "+ok)
			case asRefusal(err, &refusal):
				answers = append(answers, string(refusal))
			default:
				answers = append(answers, fmt.Sprintf("connection: %v, %q", err, untagged))
				c = harness.ConnectIMAP(t, p.servers[server].IMAP, server, "INBOX")
			}
		}
	}
	c.Close()
	c = harness.ConnectIMAP(t, p.servers[server].IMAP, server, "INBOX")
	defer c.Close()
	list, _ := c.Must(t, `LIST "" *`)
	if !slices.ContainsFunc(list, func(line string) bool { return strings.HasSuffix(line, " INBOX") }) {
		t.Errorf("%s lists %q", serverNames()[server], list)
	}
	return answers
}

func asRefusal(err error, r *harness.Refusal) bool {
	refusal, ok := err.(harness.Refusal)
	*r = refusal
	return ok
}
