package clients

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// pop3Settings are what users have set for themselves, in the userdb.
var pop3Settings = [][]string{
	nil,
	{"pop3_no_flag_updates=yes"},
	{"pop3_delete_type=flag", "pop3_deleted_flag=$POP3Deleted"},
	{"pop3_deleted_flag=$POP3Deleted"},
	{"pop3_delete_type=expunge", "pop3_deleted_flag=$POP3Deleted"},
	{"pop3_enable_last=yes"},
	{"pop3_enable_last=yes", "pop3_no_flag_updates=yes"},
	{"pop3_lock_session=yes"},
	{"pop3_fast_size_lookups=yes"},
	{"pop3_client_workarounds=oe-ns-eoh outlook-no-nuls"},
	{"pop3_client_workarounds=OUTLOOK-NO-NULS"},
	{"pop3_uidl_format=%u-%v"},
	{"pop3_uidl_format=%f"},
	{"pop3_uidl_format=%m"},
	{"pop3_uidl_format=%g"},
	{"pop3_reuse_xuidl=yes"},
	{"pop3_uidl_duplicates=rename", "pop3_uidl_format=%Xv"},
	{"pop3_delete_type=flag"},
	{"pop3_client_workarounds=unknown"},
}

// pop3Letters are the messages of each user.
var pop3Letters = []string{
	"Subject: one\nX-UIDL: fromheader1\n\nhello\n.dots\n",
	"Subject: only a header\nX-UIDL:  fromheader2 \n\n",
	"Subject: no end of the header\n",
	"Subject: no end of line\n\nlast",
	"Subject: many lines\nX-UIDL: fromheader1\n\n" + strings.Repeat("line\n", 30),
	"Subject: seen\n\nbefore\n",
	"Subject: long\n\n" + strings.Repeat("x", 3000) + "\n",
}

// pop3Sessions are the sessions of each user, one after the other.
var pop3Sessions = []string{
	"CAPA;STAT;LIST;UIDL;LIST 2;UIDL 2;LAST;UTF8;NOOP;TOP 1 0;TOP 2 0;TOP 3 0;TOP 4 1;RETR 2;RETR 3;RETR 4;TOP 5 3;RETR 1;LAST;DELE 2;DELE 2;LAST;RSET;LAST;STAT",
	"RETR 1;RETR 5;DELE 5;DELE 3;LAST;STAT;LIST;QUIT",
	"STAT;LIST;UIDL;LAST;RETR 1;RSET;LAST;DELE 1;QUIT",
	"STAT;UIDL;LAST;XCLIENT ADDR=192.0.2.1;AUTH;USER x;RETR 9;DELE x;TOP 1;LIST 0;UIDL 99;QUIT",
}

// manyLines tells which commands have answers of many lines.
var manyLines = regexp.MustCompile(`^(?:CAPA|LIST|UIDL|RETR .*|TOP .*)$`)

// validity is the part of a UIDL that is each mailbox's own, and GUIDs and names of files are, too.
var validity = regexp.MustCompile(`(?m)^((?:UIDL \d+: \+OK )?\d+ [0-9a-f]{0,8})[0-9a-f]{8}(-\d+)?$|\b\d{9,}\b|[0-9a-f]{32}|\d{10}\.M\w+\.[\w-]+[^ \n]*`)

// popSession runs the commands of a session and returns all that was answered.
func popSession(addr string, user int, commands string) (string, error) {
	c, err := harness.Dial(addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	var all strings.Builder
	for command := range strings.SplitSeq("USER "+harness.User(user)+";PASS "+harness.Password+";"+commands, ";") {
		line, err := c.Ask(command)
		fmt.Fprintf(&all, "%s: %s\n", command, line)
		for err == nil && strings.HasPrefix(line, "+OK") && manyLines.MatchString(command) && line != "." {
			if line, err = c.Line(); line != "" && line[0] != '+' || err != nil {
				fmt.Fprintf(&all, "%s\n", line)
			}
			if strings.HasPrefix(line, "+OK") {
				break
			}
			for err == nil && line != "." {
				line, err = c.Line()
				fmt.Fprintf(&all, "%s\n", line)
			}
		}
		if err != nil {
			all.WriteString("closed\n") // or reset, if more was sent
			break
		}
	}
	return validity.ReplaceAllString(all.String(), "${1}UIDL$2"), nil
}

// TestPOP3Settings has users with each setting of POP3 do the same with ours and with Dovecot: what they are told, and
// what is left in the mailbox.
func TestPOP3Settings(t *testing.T) {
	type result struct{ said, left string }
	results := map[harness.Program][]result{}
	var mu sync.Mutex
	t.Run("sessions", func(t *testing.T) {
		both(t, func(t *testing.T, p harness.Program) {
			mb := harness.NewMailbox(t, p, harness.MailboxOptions{Extra: noPenalty})
			var users strings.Builder
			for i, settings := range pop3Settings {
				fmt.Fprintf(&users, "%s:{PLAIN}%s:8:8::%s/user%d::", harness.User(i), harness.Password, mb.Mail, i)
				for _, s := range settings {
					fmt.Fprintf(&users, "userdb_%s ", strings.NewReplacer(" ", ",", "%", "%%").Replace(s))
				}
				users.WriteString("\n")
			}
			mb.SetUsers(t, users.String())
			mb.Start(t)
			all := make([]result, len(pop3Settings))
			var wg sync.WaitGroup
			for i := range pop3Settings {
				c := harness.ConnectIMAP(t, mb.IMAP, i, "INBOX")
				for n, letter := range pop3Letters {
					letter = strings.ReplaceAll(letter, "\n", "\r\n")
					flags := ""
					if n == 5 {
						flags = `\Seen`
					}
					c.Must(t, fmt.Sprintf("APPEND INBOX (%s) {%d+}\r\n%s", flags, len(letter), letter))
				}
				c.Must(t, "LOGOUT")
				wg.Go(func() {
					for _, commands := range pop3Sessions {
						said, err := popSession(mb.POP3, i, commands)
						if err != nil {
							said = err.Error()
						}
						all[i].said += said + "\n"
					}
				})
			}
			wg.Wait()
			for i := range all {
				c := harness.ConnectIMAP(t, mb.IMAP, i, "INBOX")
				lines, _, err := c.IMAP("UID FETCH 1:* FLAGS")
				all[i].left = fmt.Sprint(strings.ReplaceAll(strings.Join(lines, "\n"), ` \Recent`, ""), err)
			}
			mu.Lock()
			defer mu.Unlock()
			results[p] = all
		})
	})
	if len(results) < 2 {
		return
	}
	for i, settings := range pop3Settings {
		ours, theirs := results[harness.Dovetail][i], results[harness.Original][i]
		if ours.said != theirs.said {
			t.Errorf("with %q the sessions differ:\n%s", settings, difference(ours.said, theirs.said))
		}
		if ours.left != theirs.left {
			t.Errorf("with %q there is left\n%s\nand the original's\n%s", settings, ours.left, theirs.left)
		}
	}
}

// difference shows the lines that differ.
func difference(ours, theirs string) string {
	a, b := strings.Split(ours, "\n"), strings.Split(theirs, "\n")
	var out strings.Builder
	for i := range max(len(a), len(b)) {
		var x, y string
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			fmt.Fprintf(&out, "%q, the original's is %q\n", x[:min(len(x), 100)], y[:min(len(y), 100)])
		}
	}
	return out.String()
}
