package plugins

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// virtualConfig has a namespace of virtual mailboxes, whose files each user has in his home directory. There is no list
// index, to make which Dovecot opens all of them.
const virtualConfig = `
mailbox_list_index = no
mail_plugins = $mail_plugins virtual
namespace virtual {
  prefix = virtual/
  separator = /
  location = virtual:~/virtual
}
`

// virtualQuota is a quota that counts the messages of all mailboxes but virtual ones.
const virtualQuota = `
mailbox_list_index = yes
lmtp_save_to_detail_mailbox = yes
mail_plugins = $mail_plugins quota
plugin {
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:messages=4
}
`

// virtualFiles are files dovecot-virtual by the names of their mailboxes.
var virtualFiles = map[string]string{
	"All":           "# everything\n*\n+INBOX\n-Trash\n-Trash/*\n  all\n\n!Drafts\n  undeleted\n",
	"All/Unseen":    "virtual/All\n  unseen\n",
	"bad/Lonely":    "# a rule\n  all\n",
	"bad/Twice":     "!A\n!B\n  all\n",
	"bad/Self":      "INBOX\nvirtual/bad/Self\n",
	"bad/Charset":   "A\xff\n",
	"bad/Entry":     "INBOX\n/private/comment\n",
	"bad/EntryName": "INBOX\n/other/comment:x\n",
	"bad/Empty":     "",
}

// virtualUser makes the files of a user, whose home directory it returns.
func (p *quotaPlayer) virtualUser(name string) (home string) {
	home = filepath.Join(p.mb.Mail, name)
	for box, text := range virtualFiles {
		dir := filepath.Join(home, "virtual", box)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			p.t.Fatal(err)
		}
		harness.Write(p.t, filepath.Join(dir, "dovecot-virtual"), text)
	}
	err := filepath.WalkDir(home, func(path string, _ os.DirEntry, err error) error {
		if err == nil {
			err = os.Chown(path, mailUID, mailUID)
		}
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return home
}

// logged writes down the errors in the log about files dovecot-virtual.
func (p *quotaPlayer) logged() {
	log, err := os.ReadFile(p.mb.Log)
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		if _, text, ok := strings.Cut(line, ": Error: "); ok {
			p.WriteString(strings.ReplaceAll(text, p.mb.Dir, "DIR"))
		}
	}
}

// TestVirtualFiles shows what clients and the log are told of files that have mistakes, and that nothing
// else in the sessions suffers from them.
func TestVirtualFiles(t *testing.T) {
	both(t, virtualConfig, quotaUsers("alice "), func(p *quotaPlayer) {
		home := p.virtualUser("alice")
		c := p.login("alice")
		p.ask(c, "append INBOX", "CREATE virtual/New", "CREATE virtual/New/", "CREATE virtual/All", "SELECT virtual/None")
		for _, name := range []string{"Lonely", "Twice", "Self", "Charset", "Entry", "EntryName", "Empty"} {
			p.ask(c, "SELECT virtual/bad/"+name)
		}
		p.ask(c, "STATUS virtual/bad/Lonely (MESSAGES)", "append virtual/bad/Self", "append virtual/None", "SUBSCRIBE virtual/All", `LSUB "" *`,
			"NAMESPACE", "RENAME virtual/All Other", "STATUS INBOX (MESSAGES)", "LOGOUT")
		p.logged()
		text, err := os.ReadFile(filepath.Join(home, "virtual", ".virtual-subscriptions"))
		fmt.Fprintf(p, "subscriptions: %s%v\n", text, err)
	})
}

// TestVirtualRefused shows that names of virtual mailboxes are listed and nothing is done to them, and that all other
// mail can be used meanwhile. It differs from Dovecot, which opens them.
func TestVirtualRefused(t *testing.T) {
	mb := harness.NewMailbox(t, harness.Dovetail, harness.MailboxOptions{Extra: virtualConfig + virtualQuota})
	mb.SetUsers(t, strings.ReplaceAll(quotaUsers("alice "), "MAIL", mb.Mail))
	p := &quotaPlayer{t: t, mb: mb}
	root := filepath.Join(p.virtualUser("alice"), "virtual")
	before := filesBelow(t, root)
	mb.Start(t)
	c := p.login("alice")
	p.ask(c, `LIST "" virtual/All*`, `LIST "" * RETURN (STATUS (MESSAGES))`, "SELECT virtual/All", "EXAMINE virtual/All/Unseen", "STATUS virtual/All (MESSAGES)",
		"append virtual/All", "append INBOX", "SELECT INBOX", "COPY 1 virtual/All", "MOVE 1 virtual/All", "FETCH 1 FLAGS", "DELETE virtual/All",
		"DELETE virtual/All/Unseen", "RENAME virtual/All virtual/Other", "RENAME INBOX virtual/All/Mail", "SETMETADATA virtual/All (/private/comment x)",
		"append INBOX", "append INBOX")
	p.deliver("alice+virtual/All@" + harness.Domain)
	p.ask(c, "NOOP", "append INBOX", "LOGOUT")
	p.doveadm("search mailbox virtual/All all", "fetch uid mailbox virtual/bad/Self all", "search mailbox * all", "mailbox status messages *",
		"mailbox create virtual/New", "mailbox delete virtual/All", "expunge mailbox virtual* all", "search mailbox INBOX uid 1")
	const wanted = "testdata/virtualrefused.txt"
	want, err := os.ReadFile(wanted)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		harness.Write(t, wanted, p.String())
		return
	}
	if diff := cmp.Diff(string(want), p.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, filesBelow(t, root)); diff != "" {
		t.Errorf("below the virtual mailboxes (-before +after):\n%s", diff)
	}
}

// doveadm writes down what commands print, and how they end.
func (p *quotaPlayer) doveadm(commands ...string) {
	for _, line := range commands {
		args := strings.Fields(line)
		n := 1
		if args[0] == "mailbox" {
			n = 2
		}
		args = slices.Concat([]string{"doveadm", "-c", p.mb.Config}, args[:n], []string{"-u", address("alice")}, args[n:])
		cmd := exec.Command(harness.Binary(p.t), args...)
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			p.t.Fatal(err)
		}
		fmt.Fprintf(p, "> doveadm %s\n", line)
		for text := range strings.Lines(string(out)) {
			for _, v := range varying {
				text = v.re.ReplaceAllString(text, v.with)
			}
			p.WriteString(text)
		}
		fmt.Fprintf(p, "exit code %d\n", cmd.ProcessState.ExitCode())
	}
}

// deliver writes down how a message is delivered.
func (p *quotaPlayer) deliver(to string) {
	c := harness.Connect(p.t, p.mb.LMTP)
	defer c.Close()
	c.Expect(p.t, "LHLO test", "250")
	c.Expect(p.t, "MAIL FROM:<sender@example.test>", "250")
	c.Expect(p.t, "RCPT TO:<"+to+">", "250")
	c.Expect(p.t, "DATA", "354")
	reply, err := c.Ask("Subject: x\r\n\r\nbody\r\n.")
	if err != nil {
		p.t.Fatal(err)
	}
	fmt.Fprintf(p, "> deliver %s\n%s\n", to, queueID.ReplaceAllString(reply, "ID Saved"))
}

// filesBelow returns what is in the files of a directory tree.
func filesBelow(t *testing.T, root string) map[string]string {
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		files[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
