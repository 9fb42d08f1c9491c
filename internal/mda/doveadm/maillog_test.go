package doveadm

import (
	"strings"
	"testing"
)

const mailLogConf = `
mail_plugins = mail_log notify
plugin {
  mail_log_events = delete undelete expunge append copy mailbox_create mailbox_delete mailbox_rename flag_change
  mail_log_fields = uid box msgid size vsize flags from subject
}
`

// TestMailLogIsThatOfTheOriginal compares what both programs log about changes.
func TestMailLogIsThatOfTheOriginal(t *testing.T) {
	for _, location := range []string{"sdbox:~/mail", "maildir:~/Maildir", "mbox:~/mail:INBOX=~/inbox"} {
		t.Run(location, func(t *testing.T) {
			t.Parallel()
			a := newHome(t, location)
			a.fill()
			a.appendConf(mailLogConf)
			b := a.clone()
			for _, mail := range loggedMails {
				both(t, a, b, mail, "save", "-m", "Work")
			}
			for _, args := range readCommands(t, "maillog.txt") {
				both(t, a, b, "", args...)
			}
		})
	}
}

// loggedMails have header fields that cannot be logged as they are.
var loggedMails = []string{
	"From: =?utf-8?q?J=C3=BCrgen?= <a@b>\nSubject: " + strings.Repeat("long ", 40) + "\nMessage-ID: <m1@x>\n\nb\n",
	"From: x\x01y\nSubject: two\n lines\n\nb\n",
	"Message-Id:   <c@d>  \nSubject: first\nSubject: second\nFrom: bad\xff\n\nb\n",
	"Subject: " + strings.Repeat("ü", 60) + "\n\nb\n",
	"Subject: a" + strings.Repeat("ü", 60) + "\n\nb\n",
	"Subject: aa" + strings.Repeat("€", 60) + "\n\nb\n",
	"Subject: " + strings.Repeat("x", 80) + "\nFrom: " + strings.Repeat("x", 81) + "\n\nb\n",
	"\nno header\n",
}

// TestMailLogSettings compares what settings make of the lines.
func TestMailLogSettings(t *testing.T) {
	a := newHome(t, "sdbox:~/mail")
	a.fill()
	b := a.clone()
	save := []string{"save"}
	flags := []string{"flags", "add", `\Deleted Other`, "mailbox", "Trash", "all"}
	for _, c := range []struct {
		options string
		args    []string
	}{
		{"mail_plugins=mail_log notify", save},
		{"mail_plugins=notify", save},
		{"mail_plugins=mail_log notify|plugin/mail_log_fields=|plugin/mail_log_events=save", save},
		{"mail_plugins=mail_log notify|plugin/mail_log_fields=uid,box", save},
		{"mail_plugins=mail_log notify|plugin/mail_log_fields=flags uid|plugin/mail_log_events=flag_change", flags},
		{"mail_plugins=mail_log notify|plugin/mail_log_events=copy expunge", []string{"move", "Empty", "mailbox", "Work", "all"}},
		{"mail_plugins=mail_log notify|plugin/mail_log_events=mailbox_create", []string{"mailbox", "create", "New"}},
	} {
		var args []string
		for option := range strings.SplitSeq(c.options, "|") {
			args = append(args, "-o", option)
		}
		both(t, a, b, testMail(1), append(args, c.args...)...)
	}
}
