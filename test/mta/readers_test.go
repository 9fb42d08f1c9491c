package mta

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// TestLogReaders sends the same mail, and the same that is refused, through both programs.
// What pflogsumm, logwatch and fail2ban make of the two logs must be the same.
func TestLogReaders(t *testing.T) {
	t.Parallel()
	var mail, logins [2]string
	for i, p := range []harness.Program{harness.Original, harness.Dovetail} {
		mail[i], logins[i] = readableLog(t, p)
	}
	dirs := [2]string{writeLog(t, mail[0]), writeLog(t, mail[1])}
	for _, reader := range []struct {
		name string
		args []string // LOG is the log, DIR the directory that it is in
		must string   // what it finds in any case
	}{
		{"pflogsumm", []string{"pflogsumm", "--problems_first", "--verbose_msg_detail", "LOG"}, "Recipient address rejected: User unknown"},
		{"pflogsumm -i", []string{"pflogsumm", "-i", "--iso_date_time", "--detail", "50", "LOG"}, "Helo command rejected: your name is bad"},
		{"logwatch", []string{"logwatch", "--service", "postfix", "--logdir", "DIR", "--range", "all", "--detail", "high", "--output", "stdout", "--format", "text"}, "Reject relay denied"},
	} {
		t.Run(reader.name, func(t *testing.T) {
			var out [2]string
			for i, dir := range dirs {
				args := make([]string, len(reader.args))
				for k, arg := range reader.args {
					args[k] = strings.NewReplacer("LOG", filepath.Join(dir, "mail.log"), "DIR", dir).Replace(arg)
				}
				out[i] = reading(harness.Run(t, "", args[0], args[1:]...), dir)
			}
			if !strings.Contains(out[0], reader.must) {
				t.Errorf("no %q in\n%s", reader.must, out[0])
			}
			// Things of which there are equally many come in any order.
			theirs, ours := strings.Split(out[0], "\n"), strings.Split(out[1], "\n")
			slices.Sort(theirs)
			slices.Sort(ours)
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("Postfix (-), Dovetail (+):\n%s", diff)
			}
		})
	}
	for _, filter := range []struct {
		name string
		logs [2]string
		must bool // it finds something in these logs
	}{
		{"postfix", mail, true}, {"postfix[mode=auth]", mail, true}, {"postfix[mode=rbl]", mail, false}, {"postfix[mode=ddos]", mail, true},
		{"postfix[mode=errors]", mail, true}, {"postfix[mode=aggressive]", mail, true}, {"sendmail-reject", mail, false},
		{"dovecot", logins, true}, {"dovecot[mode=aggressive]", logins, true},
	} {
		t.Run("fail2ban "+filter.name, func(t *testing.T) {
			var matched [2]string
			for i, log := range filter.logs {
				out := harness.Run(t, "", "fail2ban-regex", filepath.Join(writeLog(t, log), "mail.log"), filter.name)
				matched[i] = fmt.Sprint(regexp.MustCompile(`(\d+) matched`).FindStringSubmatch(out))
			}
			if matched[0] != matched[1] || (matched[0] == "[0 matched 0]") == filter.must {
				t.Errorf("Postfix or Dovecot %s, Dovetail %s", matched[0], matched[1])
			}
		})
	}
}

// writeLog writes a log into a directory of its own.
func writeLog(t *testing.T, log string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	harness.Write(t, filepath.Join(dir, "mail.log"), log)
	return dir
}

var readerAccidents = regexp.MustCompile(`/tmp/dovetail-test-\d+|Processing Initiated: .*|fatal: Log .* not found.*`)

// reading is what a reader printed, without what is of the run.
func reading(out, dir string) string {
	out = readerAccidents.ReplaceAllString(strings.ReplaceAll(out, dir, "DIR"), "")
	return queueID.ReplaceAllString(out, "ID")
}

// tooLarge are cleanup's warnings of a message that is too large; in Dovetail only smtpd
// warns of it.
var tooLarge = regexp.MustCompile(`cleanup: .*(file size limit exceeded|close error)$`)

var logTime = regexp.MustCompile(`(?m)^\w{3} [ \d]\d \d\d:\d\d:\d\d`)

// readableLog has mail accepted, delivered, bounced, deferred and refused, users fail to
// log in, and returns the two logs, as if all had happened at once.
func readableLog(t *testing.T, p harness.Program) (mail, logins string) {
	mb := harness.StartMailbox(t, p, harness.MailboxOptions{SocketUser: "postfix", Extra: "auth_failure_delay = 0\n"})
	hop := harness.StartNextHop(t, &harness.NextHop{Replies: map[string]string{
		"hard": "550 5.1.1 no such user", "soft": "450 4.2.0 not now", "late": ".554 5.7.1 looks like spam",
	}})
	dir := harness.Dir(t)
	s := newSite(t, p, dir)
	s.values["HOP"], s.values["AUTH"] = hop.Port(), mb.AuthSocket
	s.write(t, "main.cf", lastOnly(baseMain+readableMain))
	s.write(t, "master.cf", baseMaster+"127.0.0.1:@SUBMISSION@ inet n - n - - smtpd\n  -o syslog_name=postfix/submission\n  -o smtpd_sasl_auth_enable=yes\n")
	s.write(t, "aliases", "postmaster: root\nroot: dvtma\nlist: dvtma, dvtmb, hard@remote.test\ncmd: \"|exit 67\"\n")
	s.start(t)
	for _, d := range readableDialogues {
		addr := s.SMTP
		if strings.HasPrefix(d, "AUTH") {
			addr = s.Submission
		}
		converse(t, addr, d)
	}
	s.quiet(t)
	s.Stop()
	for i, user := range []string{"user0@example.test", "nobody@example.test", "user1@example.test"} {
		c := dialFrom(t, fmt.Sprintf("127.0.0.%d", 10+i), mb.IMAP)
		c.Ask("a LOGIN " + user + " wrong") //nolint:errcheck // it is refused
		c.Close()
		c = dialFrom(t, fmt.Sprintf("127.0.0.%d", 20+i), mb.POP3)
		c.Ask("USER " + user) //nolint:errcheck // the log tells
		c.Ask("PASS wrong")   //nolint:errcheck // the log tells
		c.Close()
	}
	harness.Eventually(t, "the end of the sessions in the log", func() bool {
		return strings.Count(read(t, mb.Log), "auth failed") >= 6
	})
	mb.Stop()
	at := func(log string) string { return logTime.ReplaceAllString(log, "Nov 23 10:00:00") }
	mail = delays.ReplaceAllString(at(s.log()), ", delay=1, delays=0.1/0.2/0.3/0.4,")
	var kept strings.Builder
	mail = strings.ReplaceAll(mail, "]:"+hop.Port(), "]:25")
	for line := range strings.Lines(mail) {
		if m := mailLine.FindStringSubmatch(line); m == nil || !isOwnLine(m[1], m[2]) && !tooLarge.MatchString(m[1]+": "+m[2]) {
			kept.WriteString(line)
		}
	}
	return strings.ReplaceAll(kept.String(), dir, "/DIR"), at(read(t, mb.Log))
}

const readableMain = `mydestination = $myhostname, local.test
default_transport = smtp:[127.0.0.1]:@HOP@
transport_maps = inline:{{gone.test = error:5.1.2 gone for good} {later.test = retry:4.3.0 come back} {void.test = discard:}}
mynetworks = 127.0.0.1/32
smtpd_helo_restrictions = check_helo_access inline:{{bad.helo = REJECT your name is bad}}
smtpd_sender_restrictions = check_sender_access inline:{{spam.test = REJECT no spam} {slow.test = DEFER wait}}, reject_non_fqdn_sender
smtpd_recipient_restrictions = check_recipient_access inline:{{warn@local.test = WARN careful} {grey@local.test = 450 4.2.0 Greylisted}}, permit
smtpd_data_restrictions = reject_unauth_pipelining
header_checks = regexp:{{/^Subject: bad/ REJECT bad subject} {/^Subject: look/ WARN look here} {/^Subject: hold/ HOLD keep it} {/^Subject: drop/ DISCARD} {/^Subject: filter/ PREPEND X-Seen: yes}}
body_checks = regexp:{{/virus/ REJECT infected}}
message_size_limit = 20000
smtpd_sasl_path = @AUTH@
smtpd_hard_error_limit = 4
smtpd_soft_error_limit = 2
smtpd_error_sleep_time = 0
`

// mailTo is the dialogue of a message.
func mailTo(to, header string) string {
	return "EHLO client.test|MAIL FROM:<sender@origin.test>|RCPT TO:<" + to + ">|DATA|" + header + "\r\nMessage-ID: <one@origin.test>\r\n\r\ntext\r\n.|QUIT"
}

// readableDialogues are what clients say, commands parted by "|"; "AUTH" in front is for the
// submission service, an IP address for the client's.
var readableDialogues = []string{
	mailTo("dvtma@local.test", "Subject: x"),
	mailTo("dvtmb@local.test", "Subject: look at this"),
	mailTo("dvtmb@local.test", "Subject: bad one"),
	mailTo("dvtmb@local.test", "Subject: hold it"),
	mailTo("dvtmb@local.test", "Subject: drop it"),
	mailTo("dvtmb@local.test", "Subject: filter it"),
	mailTo("dvtmb@local.test", "Subject: x\r\n\r\na virus"),
	mailTo("list@local.test", "Subject: x"),
	mailTo("cmd@local.test", "Subject: x"),
	mailTo("nosuch@local.test", "Subject: x"),
	mailTo("grey@local.test", "Subject: x"),
	mailTo("warn@local.test", "Subject: x"),
	mailTo("one@remote.test", "Subject: x"),
	mailTo("hard@remote.test", "Subject: x"),
	mailTo("soft@remote.test", "Subject: x"),
	mailTo("late@remote.test", "Subject: x"),
	mailTo("any@gone.test", "Subject: x"),
	mailTo("any@later.test", "Subject: x"),
	mailTo("any@void.test", "Subject: x"),
	mailTo("dvtma@local.test", "Subject: large\r\n\r\n"+strings.Repeat("0123456789\r\n", 3000)),
	"127.0.0.9|EHLO other.test|MAIL FROM:<a@origin.test>|RCPT TO:<b@remote.test>|QUIT",
	"127.0.0.9|EHLO other.test|MAIL FROM:<a@origin.test>|RCPT TO:<nosuch1@local.test>|RCPT TO:<nosuch2@local.test>|RCPT TO:<nosuch3@local.test>|RCPT TO:<nosuch4@local.test>",
	"127.0.0.9|EHLO bad.helo|MAIL FROM:<a@origin.test>|RCPT TO:<dvtma@local.test>|QUIT",
	"127.0.0.9|EHLO x|MAIL FROM:<a@spam.test>|RCPT TO:<dvtma@local.test>|QUIT",
	"127.0.0.9|EHLO x|MAIL FROM:<a@slow.test>|RCPT TO:<dvtma@local.test>|QUIT",
	"127.0.0.9|EHLO x|MAIL FROM:<a>|RCPT TO:<dvtma@local.test>|QUIT",
	"127.0.0.9|EHLO x|NONSENSE|VRFY nosuch@local.test|HELP|QUIT",
	"127.0.0.9|GET / HTTP/1.0",
	"127.0.0.9|EHLO x|MAIL FROM:<a@origin.test>|RCPT TO:<dvtma@local.test>|DATA|Subject: broken off",
	"127.0.0.9|HELO x|MAIL FROM:<a@origin.test> SIZE=99999999|QUIT",
	"AUTH|EHLO x|AUTH PLAIN !!|AUTH PLAIN AHVzZXIwQGV4YW1wbGUudGVzdAB3cm9uZw==|QUIT",
	"AUTH|127.0.0.9|EHLO x|AUTH PLAIN AHVzZXIwQGV4YW1wbGUudGVzdABwYXNz|MAIL FROM:<user0@example.test>|RCPT TO:<one@remote.test>|DATA|Subject: x\r\nMessage-ID: <two@origin.test>\r\n\r\n.|QUIT",
}

// converse has a dialogue, up to its end or that of the connection.
func converse(t *testing.T, addr, dialogue string) {
	t.Helper()
	commands := strings.Split(strings.TrimPrefix(dialogue, "AUTH|"), "|")
	client := "127.0.0.1"
	if strings.HasPrefix(commands[0], "127.") {
		client, commands = commands[0], commands[1:]
	}
	c := dialFrom(t, client, addr)
	defer c.Close()
	for i, command := range commands {
		if i == len(commands)-1 && command != "QUIT" && !strings.HasPrefix(command, "RCPT") {
			c.Put(command + "\r\n") //nolint:errcheck // the client is gone then
			return
		}
		reply, err := c.Ask(command)
		if err != nil {
			return // the server has hung up
		}
		if command == "DATA" && reply[0] != '3' {
			c.Ask("QUIT") //nolint:errcheck // it may have hung up
			return
		}
	}
}
