package plugins

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// welcomeConfig greets new users, and tells how many messages mailboxes have.
const welcomeConfig = `
mail_plugins = $mail_plugins notify notify_status welcome
mailbox_list_index = no
plugin {
  welcome_script = welcome hello "%u"
  welcome_wait = yes
  notify_status_dict = file:DIR/clone/%n
  notify_status_mailbox = INBOX
  notify_status_mailbox2 = Box/*
  notify_status_value = %u %%{username} %%{mailbox} has %%{messages}, %%{unseen} new, next %%{uidnext}
}
service welcome {
  executable = script DIR/over
  user = mail
  unix_listener welcome {
    mode = 0666
  }
}
`

// TestWelcome shows that the script runs once for each user, and before he sees his mailbox, and what others hear of
// its messages.
func TestWelcome(t *testing.T) {
	both(t, welcomeConfig, quotaUsers("first ", "second "), func(p *quotaPlayer) {
		first := p.login("first")
		p.ask(first, "SELECT INBOX")
		p.file("clone/over", "first") // since welcome_wait it is there
		p.status("first", "0, 0 new")
		p.ask(first, "append INBOX", "append INBOX")
		p.status("first", "2, 2 new")
		p.ask(first, "NOOP", `STORE 1 +FLAGS.SILENT (\Seen)`)
		p.status("first", "2, 1 new")
		p.ask(first, `STORE 1 +FLAGS.SILENT (\Flagged)`, "CREATE Box/A", "CREATE Other", "COPY 1:2 Other", "COPY 1:2 Box/A", "RENAME Box/A Box/B")
		p.status("first", "Box/B has 2, 1 new")
		p.ask(first, "DELETE Box/B", `STORE 1:2 +FLAGS.SILENT (\Deleted)`, "EXPUNGE", "UNSELECT")
		p.status("first", "0, 0 new, next 3")
		first.Must(p.t, "LOGOUT")
		c := harness.Connect(p.t, p.mb.LMTP)
		c.Expect(p.t, "LHLO test", "250")
		c.Expect(p.t, "MAIL FROM:<sender@example.test>", "250")
		c.Expect(p.t, "RCPT TO:<"+address("second")+">", "250")
		c.Expect(p.t, "DATA", "354")
		c.Expect(p.t, "Subject: x\r\n\r\nbody\r\n.", "250")
		c.Close()
		p.file("clone/over", "second")
		p.status("second", "1, 1 new")
		second := p.login("second")
		p.ask(second, "STATUS INBOX (MESSAGES)")
		second.Must(p.t, "LOGOUT")
		p.file("clone/over", "second")
		p.lines("first")
	})
}

// status waits until the dictionary of a user has a text.
func (p *quotaPlayer) status(user, text string) { p.wait("clone/"+user, text) }

// lines writes down the dictionary of a user, in any order.
func (p *quotaPlayer) lines(user string) {
	got, err := os.ReadFile(filepath.Join(p.mb.Dir, "clone", user))
	if err != nil {
		p.t.Fatal(err)
	}
	p.WriteString(string(got))
}
