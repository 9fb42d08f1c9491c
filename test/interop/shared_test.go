package interop

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

var sharedTurns = []privateTurn{
	{0, []string{
		"CREATE Work", "CREATE Work/Deep", strings.ReplaceAll(appendPrivate(`\Seen`), "Public/@", "Work"),
		strings.ReplaceAll(appendPrivate(""), "Public/@", "INBOX"), "SELECT Work (CONDSTORE)", `STORE 1 +FLAGS (\Flagged)`,
	}},
	{1, []string{
		`LIST "" *`, `LIST "" shared/%`, `STATUS "shared/<0>/Work" (MESSAGES UNSEEN UIDNEXT)`, `LIST "" shared/%`, `LIST "" shared/*`,
		`SELECT "shared/<0>/Work"`, "FETCH 1 (FLAGS BODY.PEEK[TEXT])", `STORE 1 +FLAGS (\Answered)`,
		`COPY 1 "shared/<0>/Work/Deep"`, "COPY 1 INBOX", `SELECT "shared/<0>"`, "FETCH 1:* FLAGS", `SELECT "shared/<0>/INBOX"`,
		`SELECT "shared/nobody"`, `SELECT "shared/nobody/x"`, `STATUS "shared/../x" (MESSAGES)`,
		`CREATE "shared/<0>/New"`, `SUBSCRIBE "shared/<0>/New"`, `LSUB "" *`, "SELECT INBOX", "FETCH 1:* FLAGS",
	}},
	{0, []string{
		"SELECT Work", "FETCH 1:* FLAGS", "SELECT Work/Deep", "FETCH 1:* FLAGS", `LIST "" *`, `STATUS "shared/<1>/INBOX" (MESSAGES)`,
		"DELETE New",
	}},
	{1, []string{`SELECT "shared/<0>/New"`, `UNSUBSCRIBE "shared/<0>/New"`, `LSUB "" *`, `SELECT "shared/<0>/Work"`, `STORE 1 -FLAGS (\Seen)`, "FETCH 1:* FLAGS"}},
	{0, []string{"SELECT Work", "FETCH 1:* FLAGS"}},
}

// TestSharedNamespaces has users read each other's mail, which lies where only the userdb knows.
func TestSharedNamespaces(t *testing.T) {
	for _, f := range []struct{ name, own, shared string }{
		{"sdbox", "sdbox:~/mail", "sdbox:%%h/mail"},
		{"mdbox", "mdbox:~/mail", "mdbox:%%h/mail:INDEXPVT=~/shared/%%u"},
		{"maildir", "maildir:~/Maildir", "maildir:%%{home}/Maildir:INDEX=~/shared/%%u:INDEXPVT=~/private/%%u"},
	} {
		t.Run(f.name, func(t *testing.T) {
			const users = 8
			opt := harness.MailboxOptions{Users: users, Location: f.own, Extra: pairSettings + `
namespace shared {
  type = shared
  prefix = shared/%%u/
  separator = /
  location = ` + f.shared + `
  subscriptions = no
  list = children
}
`}
			p := &pair{}
			for i, program := range []harness.Program{harness.Dovetail, harness.Original} {
				mb := harness.NewMailbox(t, program, opt)
				opt.Mail = mb.Mail
				homesInUserdb(t, mb, users, func(int) int { return 8 })
				mb.Start(t)
				p.servers[i] = mb
			}
			p.complaints() //nolint:errcheck // of the configuration
			p.equalPlays(t, func(n int, servers []int) []string {
				return p.converse(t, sharedTurns, fmt.Sprintf("play%d", n), 2*n, servers)
			})
		})
	}
}

// TestSharedAcrossUIDs has users read each other's mail who are other users for the system too, and share a group
// only, which may also look users up.
func TestSharedAcrossUIDs(t *testing.T) {
	for _, f := range []struct{ name, own, shared string }{
		{"sdbox", "sdbox:~/mail", "sdbox:%%h/mail"},
		{"mdbox", "mdbox:~/mail", "mdbox:%%h/mail"},
		{"maildir", "maildir:~/mail", "maildir:%%h/mail"},
	} {
		t.Run(f.name, func(t *testing.T) {
			const users = 8
			opt := harness.MailboxOptions{Users: users, Location: f.own, Extra: pairSettings + `
namespace shared {
  type = shared
  prefix = shared/%%u/
  separator = /
  location = ` + f.shared + `
  subscriptions = no
  list = children
}
lmtp_save_to_detail_mailbox = yes
service auth {
  unix_listener auth-userdb {
    mode = 0660
    group = mail
  }
}
`}
			p := &pair{}
			for i, program := range []harness.Program{harness.Dovetail, harness.Original} {
				mb := harness.NewMailbox(t, program, opt)
				opt.Mail = mb.Mail
				homesInUserdb(t, mb, users, func(n int) int { return 20000 + n })
				mb.Start(t)
				p.servers[i] = mb
			}
			mode := os.ModeSetgid | 0o770
			if err := os.Chmod(opt.Mail, 0o711); err != nil {
				t.Fatal(err)
			}
			for n := range users {
				home := homeInUserdb(p.servers[0], n)
				for _, dir := range []string{home, filepath.Join(home, "mail")} {
					if err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 20000+n, 8), os.Chmod(dir, mode)); err != nil {
						t.Fatal(err)
					}
				}
			}
			p.complaints() //nolint:errcheck // of the configuration
			p.equalPlays(t, func(n int, servers []int) []string {
				said := p.converse(t, sharedTurns, fmt.Sprintf("play%d", n), 2*n, servers)
				return append(said, p.deliverShared(t, 2*n, servers)...)
			})
		})
	}
}

// deliverShared delivers to a user who has his mail in a mailbox of another one, and returns what is there then.
func (p *pair) deliverShared(t *testing.T, owner int, servers []int) []string {
	t.Helper()
	for _, server := range servers {
		c := harness.Connect(t, p.servers[server].LMTP)
		c.Expect(t, "LHLO client", "250")
		c.Expect(t, "MAIL FROM:<>", "250")
		user, domain, _ := strings.Cut(harness.User(owner+1), "@")
		c.Expect(t, fmt.Sprintf(`RCPT TO:<"%s+shared/%s/Work"@%s>`, user, harness.User(owner), domain), "250")
		c.Expect(t, "DATA", "354")
		c.Expect(t, "Subject: shared\r\n\r\nby LMTP\r\n.", "250")
		c.Close()
	}
	c := harness.ConnectIMAP(t, p.servers[servers[0]].IMAP, owner, "Work")
	defer c.Close()
	lines, _ := c.Must(t, "FETCH 1:* (UID FLAGS BODY.PEEK[TEXT])")
	return lines
}

// homeInUserdb is the home of user n.
func homeInUserdb(mb *harness.Mailbox, n int) string {
	return fmt.Sprintf("%s/home-%d", mb.Mail, 100-n)
}

// homesInUserdb gives users homes that their names do not tell, and uids.
func homesInUserdb(t *testing.T, mb *harness.Mailbox, users int, uid func(n int) int) {
	t.Helper()
	var lines strings.Builder
	for n := range users {
		fmt.Fprintf(&lines, "%s:{PLAIN}%s:%d:8::%s\n", harness.User(n), harness.Password, uid(n), homeInUserdb(mb, n))
	}
	mb.SetUsers(t, lines.String())
}
