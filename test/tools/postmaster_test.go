package tools

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// sessionsWithErrors are dialogues: what the client says, and how the code of the answer
// begins. The postmaster is told of those in which something of his notify_classes went wrong.
var sessionsWithErrors = []struct {
	name    string
	classes string // kinds of errors in it
	say     []string
}{
	{"nothing", "", []string{"EHLO client.example.test|250", "NOOP|250", "QUIT|221"}},
	{"unknown command", "protocol", []string{"EHLO client.example.test|250", "HUH what|500", "QUIT|221"}},
	{"order", "protocol", []string{"EHLO client.example.test|250", "RCPT TO:<a@remote.test>|503", "DATA|503", "MAIL FROM:<a@origin.test>|250", "MAIL FROM:<a@origin.test>|503", "QUIT|221"}},
	{"syntax", "protocol", []string{"HELO|501", "EHLO|501", "EHLO client.example.test|250", "MAIL|501", "MAIL FROM:<a@origin.test> FOO|555", "QUIT|221"}},
	{"odd characters", "protocol", []string{"EHLO client.example.test|250", "FOO \x01\x7f\xc3\xa9 \"x\"|500", "QUIT|221"}},
	{"long lines", "protocol", []string{"EHLO client.example.test|250", "FOO " + strings.Repeat("some words ", 20) + "|500", "FOO " + strings.Repeat("x", 200) + "   y|500", "QUIT|221"}},
	{"relaying", "policy", []string{"EHLO client.example.test|250", "MAIL FROM:<a@origin.test>|250", "RCPT TO:<refused@remote.test>|554", "QUIT|221"}},
	{"put off", "policy", []string{"EHLO client.example.test|250", "MAIL FROM:<a@origin.test>|250", "RCPT TO:<later@remote.test>|450", "QUIT|221"}},
	{"only a warning", "policy", []string{"EHLO client.example.test|250", "MAIL FROM:<warned@origin.test>|250", "RCPT TO:<b@remote.test>|250", "QUIT|221"}},
	{"verify", "policy", []string{"EHLO client.example.test|250", "VRFY someone|502", "QUIT|221"}},
	{"no hello", "policy", []string{"MAIL FROM:<a@origin.test>|503", "QUIT|221"}},
	{"configuration", "software", []string{"EHLO client.example.test|250", "MAIL FROM:<a@origin.test>|250", "RCPT TO:<mistake@remote.test>|451", "QUIT|221"}},
	{"table", "data", []string{"EHLO client.example.test|250", "MAIL FROM:<a@origin.test>|250", "RCPT TO:<lookup@remote.test>|451", "QUIT|221"}},
	{"unknown user", "bounce", []string{"EHLO client.example.test|250", "MAIL FROM:<a@origin.test>|250", "RCPT TO:<unknown@relayed.test>|550", "QUIT|221"}},
	{"size", "policy", []string{"EHLO client.example.test|250", "MAIL FROM:<a@origin.test> SIZE=100000|552", "QUIT|221"}},
	{"too big", "bounce", []string{"EHLO client.example.test|250", "MAIL FROM:<a@origin.test>|250", "RCPT TO:<b@remote.test>|250", "DATA|354", strings.Repeat("0123456789abcdef\r\n", 3000) + ".|552", "QUIT|221"}},
	{"hops", "bounce", []string{"EHLO client.example.test|250", "MAIL FROM:<a@origin.test>|250", "RCPT TO:<b@remote.test>|250", "DATA|354", strings.Repeat("Received: x\r\n", 60) + "\r\n.|554", "QUIT|221"}},
	{"content", "policy", []string{"EHLO client.example.test|250", "MAIL FROM:<a@origin.test>|250", "RCPT TO:<b@remote.test>|250", "DATA|354", "Subject: refused\r\n\r\n.|550", "QUIT|221"}},
	{"no recipients", "policy", []string{"EHLO client.example.test|250", "MAIL FROM:<a@origin.test>|250", "RCPT TO:<refused@remote.test>|554", "DATA|554", "RSET|250", "QUIT|221"}},
	{"too many errors", "protocol", []string{"EHLO client.example.test|250", "A1|500", "A2|500", "A3|500", "A4|500", "A5|500", "A6|421"}},
	{"left", "protocol", []string{"EHLO client.example.test|250", "MAIL FROM:<a@origin.test>|250", "FOO|500"}},
	{"long transcript", "protocol", append(append([]string{"EHLO client.example.test|250", "FOO|500"}, many("NOOP|250", 12)...), "RSET|250", "BAR|500", "QUIT|221")},
}

func many(line string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = line
	}
	return all
}

const sessionErrors = `bounce_notice_recipient = bounces@notices.test
error_notice_recipient = errors@notices.test
2bounce_notice_recipient = twice@notices.test
disable_vrfy_command = yes
smtpd_helo_required = yes
smtpd_hard_error_limit = 5
smtpd_soft_error_limit = 100
smtpd_history_flush_threshold = 20
message_size_limit = 50000
relay_domains = relayed.test
relay_recipient_maps = inline:{known@relayed.test=x}
header_checks = regexp:{{/refused/ REJECT not wanted}}
smtpd_sender_restrictions = warn_if_reject check_sender_access inline:{warned@origin.test=REJECT}
smtpd_recipient_restrictions = check_recipient_access inline:{{refused@remote.test = REJECT go away}, {later@remote.test = 450 4.7.1 later}, {mistake@remote.test = no_such_restriction},
    {lookup@remote.test = check_sender_access fail:broken}}, permit_mynetworks, reject
smtpd_reject_unlisted_recipient = yes
`

// Every postmaster hears of a session what Postfix's hears.
func TestPostmasterNotices(t *testing.T) {
	for _, classes := range []string{"policy", "protocol", "bounce", "data, resource, software"} {
		t.Run(classes, func(t *testing.T) {
			t.Parallel()
			var nexthops [2]*nexthop
			var transports [2]*harness.Transport
			for i, p := range programs {
				nexthops[i] = startNexthop(t, &nexthop{})
				transports[i] = harness.NewTransport(t, p, harness.TransportOptions{
					Relay: "smtp:[127.0.0.1]:" + portOf(nexthops[i].Addr), Main: sessionErrors + "notify_classes = " + classes + "\n",
				})
				transports[i].Start(t)
			}
			for _, c := range sessionsWithErrors {
				t.Run(c.name, func(t *testing.T) {
					letters := 0
					if c.classes != "" && strings.Contains(classes, c.classes) {
						letters = 1
						if c.name == "long transcript" {
							letters = 2
						}
					}
					var got [2][]string
					for i := range programs {
						converse(t, transports[i].SMTP, c.say)
						got[i] = nexthops[i].collect(t, letters)
					}
					if diff := cmp.Diff(lines(got[0]), lines(got[1])); diff != "" {
						t.Errorf("Postfix (-), Dovetail (+):\n%s", diff)
					}
				})
			}
			for i := range programs {
				transports[i].Empty(t)
				if more := nexthops[i].pending(); more > 0 {
					t.Errorf("%v: %d letters more than expected", programs[i], more)
				}
			}
		})
	}
}

// converse says the lines of a dialogue, and leaves.
func converse(t *testing.T, addr string, say []string) {
	t.Helper()
	c := harness.Connect(t, addr)
	defer c.Close()
	for _, line := range say {
		at := strings.LastIndexByte(line, '|')
		c.Expect(t, line[:at], line[at+1:])
	}
}

// deliveriesWithErrors are letters that a next hop answers strangely, and how many letters come
// of each: what is delivered, a notification, and a transcript. None of the next hops offers PIPELINING:
// Postfix says QUIT before it hears the answer to the content then. Connections are not kept, as a transcript
// begins with the first command of its message.
var deliveriesWithErrors = []struct {
	name, keywords, main string
	cases                []notice
}{
	{"usual", "DSN", "", []notice{
		{"refused", []sending{{"<sender@origin.test>", []string{"<r550@remote.test>"}, plainLetter}}, 1},
		{"not understood", []sending{{"<sender@origin.test>", []string{"<what@remote.test>"}, plainLetter}}, 2},
		{"parameter", []sending{{"<sender@origin.test>", []string{"<good@remote.test>", "<option@remote.test>"}, plainLetter}}, 3},
		{"no reply", []sending{{"<sender@origin.test>", []string{"<garbage@remote.test>"}, plainLetter}}, 2},
		{"wrong class", []sending{{"<sender@origin.test>", []string{"<intermediate@remote.test>"}, plainLetter}}, 2},
		{"of nobody", []sending{{"<>", []string{"<what@remote.test>"}, plainLetter}}, 0},
	}},
	{"replaced", "DSN", "smtp_reply_filter = regexp:{{/^550/ 502 5.5.1 never}}\n", []notice{
		{"reply", []sending{{"<sender@origin.test>", []string{"<r550@remote.test>"}, plainLetter}}, 2},
	}},
}

// The postmaster hears of servers that break the protocol, or say that this side does.
func TestPostmasterNoticesOfClient(t *testing.T) {
	for _, c := range deliveriesWithErrors {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var nexthops [2]*nexthop
			var transports [2]*harness.Transport
			for i, p := range programs {
				nexthops[i] = startNexthop(t, &nexthop{Keyword: c.keywords, Script: map[string]string{
					"r550": "550 5.1.1 No such user", "what": "500 5.5.1 What?", "option": "555 5.5.4 Which option?",
					"garbage": "hello\n250 2.1.5 Ok", "intermediate": "350 go on",
				}})
				transports[i] = harness.NewTransport(t, p, harness.TransportOptions{
					Relay: "smtp:[127.0.0.1]:" + portOf(nexthops[i].Addr),
					Main: "smtpd_recipient_restrictions = permit_mynetworks, reject\nsmtpd_reject_unlisted_recipient = no\n" +
						"smtp_connection_cache_on_demand = no\nnotify_classes = protocol\nerror_notice_recipient = errors@notices.test\n" + c.main,
				})
				transports[i].Start(t)
			}
			for _, n := range c.cases {
				t.Run(n.name, func(t *testing.T) {
					var got [2][]string
					for i := range programs {
						submit(t, transports[i].SMTP, n.send[0])
						got[i] = nexthops[i].collect(t, n.letters)
						transports[i].Empty(t)
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
