package tools

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// A sending is one message given to the transport.
type sending struct {
	from    string   // parameters of MAIL FROM
	to      []string // of RCPT TO
	content string
}

const plainLetter = "From: sender@origin.test\r\nTo: list@remote.test\r\nSubject: a letter\r\n" +
	"Message-ID: <letter@origin.test>\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n\r\nbody\r\n.dot\r\n"

// notices are messages and what is said of them to their senders. The next hop
// of all mail refuses the recipients named so. Recipients are in alphabetical
// order: Postfix sorts them.
var notices = []struct {
	config   string // what is special in main.cf
	main     string
	keywords string // of the next hop
	cases    []notice
}{
	{"default", "", "", []notice{
		{"reasons", []sending{{"<sender@origin.test>", []string{"<long@remote.test>", "<longword@remote.test>", "<multi@remote.test>",
			"<\"quoted user\"@remote.test>", "<r550@remote.test>", "<r5noenh@remote.test>"}, plainLetter}}, 1},
		{"end of content", []sending{{"<sender@origin.test>", []string{"<spam@remote.test>"}, plainLetter}}, 1},
		{"some are taken", []sending{{"<sender@origin.test>", []string{"<good@remote.test>", "<r550@remote.test>"}, plainLetter}}, 2},
		{"quoted sender", []sending{{"<\"a sender\"@origin.test>", []string{"<r550@remote.test>"}, plainLetter}}, 1},
		{"envelope id and original recipient", []sending{{"<sender@origin.test> RET=HDRS ENVID=QQ+2B314159",
			[]string{"<multi@remote.test> NOTIFY=NEVER", "<r550@remote.test> ORCPT=rfc822;first+2Bsecond@remote.test NOTIFY=FAILURE"}, plainLetter}}, 1},
		{"notify", []sending{
			{"<sender@origin.test>", []string{"<r550@remote.test> NOTIFY=NEVER"}, plainLetter},
			{"<sender@origin.test>", []string{"<r550@remote.test> NOTIFY=SUCCESS,DELAY"}, plainLetter},
			{"<sender@origin.test> RET=FULL", []string{"<r550@remote.test> NOTIFY=DELAY,FAILURE"}, plainLetter}}, 1},
		{"eight bits", []sending{{"<sender@origin.test> BODY=8BITMIME", []string{"<r550@remote.test>"}, eightBits}}, 1},
		{"seven bits", []sending{{"<sender@origin.test> BODY=7BIT", []string{"<r550@remote.test>"}, plainLetter}}, 1},
		{"undeclared eight bits", []sending{{"<sender@origin.test>", []string{"<r550@remote.test>"}, eightBits}}, 1},
		{"international", []sending{
			{"<sender@origin.test> SMTPUTF8 BODY=8BITMIME", []string{"<foreign@remote.test>", "<r550@remote.test>"}, eightBits},
			{"<sender@origin.test> SMTPUTF8 BODY=8BITMIME RET=HDRS", []string{"<foreign@remote.test>"}, eightBits}}, 2},
		{"no header", []sending{
			{"<sender@origin.test>", []string{"<r550@remote.test>"}, "\r\nonly a body\r\n"},
			{"<sender@origin.test>", []string{"<r550@remote.test>"}, "no header at all\r\n"},
			{"<sender@origin.test>", []string{"<r550@remote.test>"}, ""}}, 3},
		{"header only", []sending{
			{"<sender@origin.test> RET=HDRS", []string{"<r550@remote.test>"}, "Subject: x\r\n"},
			{"<sender@origin.test> RET=HDRS", []string{"<r550@remote.test>"}, "Subject: x\r\n folded\r\nnot a header\r\n\r\nbody\r\n"}}, 2},
		{"null sender", []sending{
			{"<>", []string{"<r550@remote.test>"}, plainLetter},
			{"<r550@origin.test>", []string{"<r550@remote.test>"}, plainLetter}}, 0},
		{"success is passed on", []sending{{"<sender@origin.test> ENVID=id RET=FULL",
			[]string{"<good@remote.test> NOTIFY=SUCCESS ORCPT=rfc822;good@remote.test"}, plainLetter}}, 1},
		{"discarded", []sending{{"<sender@origin.test>", []string{"<user0@example.test> NOTIFY=SUCCESS"}, plainLetter}}, 1},
	}},
	{"postmasters", "notify_classes = bounce, 2bounce\nbounce_notice_recipient = bounced@notices.test\n2bounce_notice_recipient = twice@notices.test\n", "", []notice{
		{"bounced", []sending{{"<sender@origin.test>", []string{"<multi@remote.test> NOTIFY=NEVER", "<r550@remote.test>"}, plainLetter}}, 2},
		{"nobody asked", []sending{{"<sender@origin.test>", []string{"<r550@remote.test> NOTIFY=NEVER"}, plainLetter}}, 1},
		{"twice", []sending{{"<r550@origin.test>", []string{"<r550@remote.test>"}, plainLetter}}, 2},
		{"null sender", []sending{{"<>", []string{"<good@remote.test>", "<r550@remote.test> NOTIFY=NEVER"}, plainLetter}}, 2},
	}},
	{"small", "bounce_size_limit = 1000\nmail_name = Mailer\nmyhostname = other.example.test\nmyorigin = origin.example.test\n", "8BITMIME", []notice{
		{"short", []sending{{"<sender@origin.test>", []string{"<r550@remote.test>"}, plainLetter}}, 1},
		{"large", []sending{{"<sender@origin.test>", []string{"<multi@remote.test>"},
			plainLetter + strings.Repeat("a line of sixty characters that is one of a great many...\r\n", 40)}}, 1},
		{"relayed", []sending{{"<sender@origin.test> ENVID=id RET=FULL",
			[]string{"<good@remote.test> NOTIFY=SUCCESS ORCPT=rfc822;good@remote.test", "<other@remote.test>", "<r550@remote.test> NOTIFY=SUCCESS,FAILURE"}, plainLetter}}, 3},
		{"null sender", []sending{{"<>", []string{"<good@remote.test> NOTIFY=SUCCESS"}, plainLetter}}, 1},
	}},
	{"aliases", "virtual_alias_domains = alias.test\nvirtual_alias_maps = texthash:$config_directory/../aliases\nsmtputf8_enable = no\n", "8BITMIME", []notice{
		{"expanded", []sending{{"<sender@origin.test>", []string{"<many@alias.test>", "<one@alias.test>"}, plainLetter}}, 2},
		{"unknown", []sending{{"<sender@origin.test>", []string{"<nobody@alias.test>"}, plainLetter}}, 1},
		{"eight bits", []sending{{"<sender@origin.test> BODY=8BITMIME", []string{"<r550@remote.test>"}, eightBits}}, 1},
		{"seven bits", []sending{{"<sender@origin.test> BODY=7BIT", []string{"<r550@remote.test>"}, plainLetter}}, 1},
	}},
	{"delay", "delay_warning_time = 1s\nqueue_run_delay = 2s\nminimal_backoff_time = 2s\nnotify_classes = delay\nmaximal_queue_lifetime = 40h\n", "", []notice{
		{"warned", []sending{{"<sender@origin.test> ENVID=waits", []string{"<busy@other.test> NOTIFY=DELAY", "<busy@remote.test>", "<busy@third.test> NOTIFY=FAILURE"}, plainLetter}}, 2},
	}},
	{"templates", "bounce_template_file = $config_directory/../templates\nenable_threaded_bounces = yes\nmail_name = Our Mailer\nnotify_classes = bounce\n", "8BITMIME", []notice{
		{"failure", []sending{{"<sender@origin.test>", []string{"<r550@remote.test>"}, plainLetter}}, 2},
		{"seven bits", []sending{{"<sender@origin.test> BODY=7BIT", []string{"<r550@remote.test>"}, plainLetter}}, 2},
		{"no id", []sending{{"<sender@origin.test>", []string{"<r550@remote.test>"}, "Subject: x\r\nMessage-ID: none\r\n\r\nbody\r\n"}}, 2},
		{"success", []sending{{"<sender@origin.test>", []string{"<user0@example.test> NOTIFY=SUCCESS"}, plainLetter}}, 1},
		{"null sender", []sending{{"<>", []string{"<r550@remote.test>"}, plainLetter}}, 1},
	}},
	{"verp", "smtpd_authorized_verp_clients = 127.0.0.1\nnotify_classes = bounce\n", "", []notice{
		{"default", []sending{{"<list@origin.test> XVERP", []string{"<good@remote.test>", "<multi@remote.test>", "<r550@remote.test>"}, plainLetter}}, 5},
		{"delimiters", []sending{{"<list@origin.test> XVERP=-=", []string{"<\"quoted user\"@remote.test>", "<r550@remote.test> NOTIFY=NEVER"}, plainLetter}}, 3},
		{"without", []sending{{"<list@origin.test>", []string{"<good@remote.test>", "<r550@remote.test>"}, plainLetter}}, 3},
	}},
	{"no verp bounces", "smtpd_authorized_verp_clients = 127.0.0.1\ndisable_verp_bounces = yes\n", "", []notice{
		{"told together", []sending{{"<list@origin.test> XVERP", []string{"<multi@remote.test>", "<r550@remote.test>"}, plainLetter}}, 1},
	}},
	{"lifetime", "maximal_queue_lifetime = 0\nbounce_queue_lifetime = 0\n", "", []notice{
		{"expired", []sending{{"<sender@origin.test>", []string{"<busy@remote.test>"}, plainLetter}}, 1},
	}},
}

// A notice is mail that is sent, and how many letters the next hop gets of it.
type notice struct {
	name    string
	send    []sending
	letters int
}

const eightBits = "Subject: eight\r\n\r\nGr\u00fc\u00dfe\r\n"

// Every notification is what Postfix sends for the same message.
func TestNotifications(t *testing.T) {
	for _, c := range notices {
		t.Run(c.config, func(t *testing.T) {
			t.Parallel()
			var nexthops [2]*nexthop
			var transports [2]*harness.Transport
			for i, p := range programs {
				nexthops[i] = startNexthop(t, &nexthop{Keyword: c.keywords, Script: refusals, AtEnd: map[string]string{"spam": "554 5.7.1 this is spam"}})
				tr := harness.NewTransport(t, p, harness.TransportOptions{
					Relay: "smtp:[127.0.0.1]:" + portOf(nexthops[i].Addr),
					Main: "smtpd_recipient_restrictions = permit_mynetworks, reject\nsmtpd_sasl_type = dovecot\n" +
						"smtpd_reject_unlisted_recipient = no\n" + c.main,
				})
				harness.Write(t, tr.Dir+"/aliases", "one@alias.test good@remote.test\nmany@alias.test good@remote.test, r550@remote.test\n")
				harness.Write(t, tr.Dir+"/templates", ourTemplates)
				tr.Start(t)
				transports[i] = tr
			}
			for _, n := range c.cases {
				t.Run(n.name, func(t *testing.T) {
					var got [2][]string
					for i := range programs {
						for _, s := range n.send {
							submit(t, transports[i].SMTP, s)
						}
						got[i] = nexthops[i].collect(t, n.letters)
						if c.config != "delay" {
							transports[i].Empty(t)
						}
						if more := nexthops[i].pending(); more > 0 {
							t.Errorf("%v: %d letters more than expected", programs[i], more)
						}
					}
					if diff := cmp.Diff(lines(got[0]), lines(got[1])); diff != "" {
						t.Errorf("Postfix (-), Dovetail (+):\n%s", diff)
					}
				})
			}
		})
	}
}

const ourTemplates = `# texts of our own
failure_template = <<EOF
Charset: iso-8859-1
From: Our Mailer <postmaster@$myhostname>
Subject: Not delivered
Postmaster-Subject: Somebody's mail was not delivered

$myhostname tried for $maximal_queue_lifetime_days days. $$ and ${mail_name}.
EOF

success_template = <<END
Subject: It is there

It is.
END
`

var refusals = map[string]string{
	"r550":            "550 5.1.1 No such user",
	"multi":           "550-5.1.1 No such user\n550-5.1.1 in the second line\n550 5.1.1 and the third",
	"r5noenh":         "553 refused",
	"long":            "550 5.7.1 " + strings.Repeat("a long story about this recipient ", 12),
	"longword":        "550 5.7.1 see https://example.test/" + strings.Repeat("abcdefgh/", 20) + " and read on there",
	"busy":            "450 4.2.1 Mailbox busy",
	"\"quoted user\"": "550 5.1.1 Who?",
	"foreign":         "550 5.1.1 No gr\u00fc\u00dfe here",
}

// submit gives a message to an SMTP server.
func submit(t *testing.T, addr string, s sending) {
	t.Helper()
	c := harness.Connect(t, addr)
	c.Expect(t, "EHLO client.example.test", "250")
	c.Expect(t, "MAIL FROM:"+s.from, "250")
	for _, to := range s.to {
		c.Expect(t, "RCPT TO:"+to, "250")
	}
	c.Expect(t, "DATA", "354")
	if err := c.Put(strings.ReplaceAll("\n"+s.content, "\n.", "\n..")[1:] + ".\r\n"); err != nil {
		t.Fatal(err)
	}
	c.Expect(t, "", "250")
	c.Expect(t, "QUIT", "221")
}

// collect waits for n letters and returns them without what differs each time.
func (n *nexthop) collect(t *testing.T, count int) []string {
	t.Helper()
	var all []string
	for len(all) < count {
		select {
		case l := <-n.mail:
			all = append(all, normal(l.From+"\n"+l.To+"\n"+strings.ReplaceAll(l.Content, "\r\n", "\n")))
		case <-time.After(60 * time.Second):
			t.Errorf("%d of %d letters came:\n%s", len(all), count, strings.Join(all, "\n"))
			return all
		}
	}
	slices.Sort(all)
	return all
}

// lines makes a difference easy to see.
func lines(letters []string) []string { return strings.Split(strings.Join(letters, "\n\n"), "\n") }

func (n *nexthop) pending() int { return len(n.mail) }

// varying is what differs between two runs of the same.
var varying = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`\b[0-9A-F]{10,12}\.[0-9]{10}/`), "ID.SECONDS/"},
	{regexp.MustCompile(`<20[0-9]{12}\.[0-9A-F]{10,12}@`), "<TIME.ID@"},
	{regexp.MustCompile(`\b[0-9A-F]{10,12}\b`), "ID"},
	{regexp.MustCompile(`(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [ 0-9]\d \w{3} \d{4} \d\d:\d\d:\d\d [-+]\d{4} \(\w+\)`), "DATE"},
	{regexp.MustCompile(`127\.0\.0\.1\]?:[0-9]{4,5}`), "127.0.0.1:PORT"},
	{regexp.MustCompile(` SIZE=[0-9]+`), " SIZE=N"},
}

func normal(text string) string {
	for _, v := range varying {
		text = v.what.ReplaceAllString(text, v.by)
	}
	return text
}

func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
