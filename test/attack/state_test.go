package attack

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/mta/milter/miltertest"
	"github.com/dovetail-mail/dovetail/test/harness"
)

// afterErrors are what Postfix had to be mended for in 2026, which 3.7.11 is not: after a command that failed a client could go on with half a
// transaction. Each step is followed by how its reply begins.
var afterErrors = []struct {
	name    string
	service string // whose options are "", "end" or "milter"
	steps   []string
}{
	{"a chunk that is none ends it all", "", []string{"MAIL FROM:<a@a.example>\r\n", "250", "RCPT TO:<user0@example.test>\r\n", "250", "BDAT 4\r\nX: y", "250", "BDAT x\r\n", "521"}},
	{"DATA after a chunk that is too large", "", []string{"MAIL FROM:<a@a.example>\r\n", "250", "RCPT TO:<user0@example.test>\r\n", "250", "BDAT 100001\r\n" + strings.Repeat("x", 100001), "552",
		"DATA\r\n", "503", "BDAT 1 LAST\r\nx", "551", "DATA\r\n", "503", "RCPT TO:<user1@example.test>\r\n", "503", "BDAT 1 LAST\r\nx", "503"}},
	{"DATA after an empty chunk", "", []string{"MAIL FROM:<a@a.example>\r\n", "250", "RCPT TO:<user0@example.test>\r\n", "250", "BDAT 0\r\n", "551", "BDAT 0 LAST\r\n", "551", "DATA\r\n", "503", "RCPT TO:<user1@example.test>\r\n", "503"}},
	{"RCPT after the end was refused", "end", []string{"MAIL FROM:<a@a.example>\r\n", "250", "RCPT TO:<user0@example.test>\r\n", "250", "DATA\r\n", "354", "x\r\n.\r\n", "554",
		"RCPT TO:<user1@example.test>\r\n", "503", "DATA\r\n", "503", "BDAT 1 LAST\r\nx", "503", "MAIL FROM:<b@a.example>\r\n", "250"}},
	{"RCPT after the last chunk was refused", "end", []string{"MAIL FROM:<a@a.example>\r\n", "250", "RCPT TO:<user0@example.test>\r\n", "250", "BDAT 1 LAST\r\nx", "554", "RCPT TO:<user1@example.test>\r\n", "503", "DATA\r\n", "503"}},
	{"RCPT after a filter's accept and a refusal", "milter", []string{"MAIL FROM:<a@a.example>\r\n", "250", "RCPT TO:<user0@example.test>\r\n", "250", "DATA\r\n", "354", "x\r\n.\r\n", "554",
		"RCPT TO:<user1@example.test>\r\n", "503", "DATA\r\n", "503", "MAIL FROM:<a@a.example>\r\n", "250"}},
	{"DATA after VRFY in UTF-8", "", []string{"MAIL FROM:<a@a.example>\r\n", "250", "RCPT TO:<user0@example.test>\r\n", "250", "VRFY \xc3\xa4@example.test\r\n", "5", "DATA\r\n", "354", "x\r\n.\r\n", "250", "DATA\r\n", "503", "RCPT TO:<user0@example.test>\r\n", "503"}},
}

// TestStateAfterErrors has clients go on after errors: there is a transaction or there is none.
func TestStateAfterErrors(t *testing.T) {
	t.Parallel()
	filter, err := miltertest.Start(miltertest.Script{Answers: map[byte][]miltertest.Packet{'M': {"a"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer filter.Close()
	addrs := map[string]string{}
	var master strings.Builder
	for name, options := range map[string]string{"": "", "end": " -o smtpd_end_of_data_restrictions=reject", "milter": " -o smtpd_end_of_data_restrictions=reject -o smtpd_milters=inet:" + filter.Addr} {
		addrs[name] = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
		fmt.Fprintf(&master, "%s inet n - n - - smtpd -o message_size_limit=100000%s\n", addrs[name], options)
	}
	tr := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{Main: "smtpd_error_sleep_time = 0\nsmtpd_hard_error_limit = 100\n", Master: master.String()})
	for _, c := range afterErrors {
		addr := addrs[c.service]
		harness.WaitTCP(t, tr.Process, addr)
		conn, err := dial(addr, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := converse(conn, append([]string{"", "220", "EHLO x\r\n", "250"}, c.steps...)...); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		conn.Close()
	}
}

// TestFilterLostWhileReplacing has a milter go away while it replaces the body. Even if the lack of a filter is to be accepted,
// a message with half of its new body is not, nor is one with the old.
func TestFilterLostWhileReplacing(t *testing.T) {
	t.Parallel()
	const changesBody = 2
	addrs := map[string]string{}
	var master strings.Builder
	for name, answers := range map[string][]miltertest.Packet{
		"whole": {"bnew", " body\r\n", "a"}, "gone": {"bnew", miltertest.Hangup}, "cut": {"bnew", miltertest.Cut}, "garbage": {"bnew", miltertest.Garbage},
	} {
		for i, p := range answers {
			if p == " body\r\n" {
				answers[i] = "b body\r\n"
			}
		}
		filter, err := miltertest.Start(miltertest.Script{Actions: changesBody, Answers: map[byte][]miltertest.Packet{'E': answers}})
		if err != nil {
			t.Fatal(err)
		}
		defer filter.Close()
		addrs[name] = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
		fmt.Fprintf(&master, "%s inet n - n - - smtpd -o smtpd_milters=inet:%s\n", addrs[name], filter.Addr)
	}
	next := harness.StartNextHop(t, &harness.NextHop{})
	tr := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{Deliver: "smtp:[127.0.0.1]:" + next.Port(), Main: "milter_default_action = accept\n", Master: master.String()})
	for name, addr := range addrs {
		harness.WaitTCP(t, tr.Process, addr)
		conn, err := dial(addr, 1)
		if err != nil {
			t.Fatal(err)
		}
		want := "451"
		if name == "whole" {
			want = "250"
		}
		if err := converse(conn, append(toContent[:len(toContent):len(toContent)], "Subject: x\r\n\r\nold body\r\n.\r\n", want)...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		conn.Close()
	}
	harness.Eventually(t, "a letter", func() bool { return len(next.Letters()) > 0 })
	tr.Empty(t)
	for _, letter := range next.Letters() {
		if _, body, _ := strings.Cut(letter.Content, "\r\n\r\n"); body != "new body\r\n" {
			t.Errorf("a message arrives with the body %q", body)
		}
	}
	if n := len(next.Letters()); n != 1 {
		t.Errorf("%d messages arrive", n)
	}
}

// TestSmugglingThroughFilter passes all that may be taken for the end of a message through smtpd_proxy_filter, behind which a Postfix takes any
// end of line: as many messages arrive as were sent.
func TestSmugglingThroughFilter(t *testing.T) {
	t.Parallel()
	bodies := contents()
	for _, mode := range []string{"normalize", "no"} {
		last := harness.StartNextHop(t, &harness.NextHop{})
		behind := harness.StartTransport(t, harness.Original, harness.TransportOptions{Relay: "smtp:[127.0.0.1]:" + last.Port(), Main: "smtpd_forbid_bare_newline = no\n"})
		tr := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{Main: "smtpd_forbid_bare_newline = " + mode + "\nsmtpd_forbid_bare_newline_exclusions =\nsmtpd_proxy_filter = " + behind.SMTP + "\nmessage_size_limit = 1000000\n"})
		conn, err := dial(tr.SMTP, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := converse(conn, toContent[:4]...); err != nil {
			t.Fatal(err)
		}
		sent := 0
		for i, body := range bodies {
			text := fmt.Sprintf("X-Case: %d\r\n\r\n%s\r\n", i, body)
			for _, end := range []string{fmt.Sprintf("BDAT %d LAST\r\n%s", len(text), text), "DATA\r\n"} {
				if err := converse(conn, "MAIL FROM:<a@a.example>\r\n", "250", "RCPT TO:<bob@elsewhere.test>\r\n", "250"); err != nil {
					t.Fatal(err)
				}
				if end == "DATA\r\n" {
					err = converse(conn, end, "354", regexp.MustCompile(`(^|\n)\.`).ReplaceAllString(text, "$1..")+"\r\n.\r\n", "250")
				} else {
					err = converse(conn, end, "250")
				}
				if err != nil {
					t.Fatalf("%s, %d: %v", mode, i, err)
				}
				sent++
			}
		}
		// Lines as a mailbox begins with have no end.
		if err := converse(conn, "MAIL FROM:<a@a.example>\r\n", "250", "RCPT TO:<bob@elsewhere.test>\r\n", "250", "DATA\r\n", "354"); err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, "From ")
		stream(conn, []byte(strings.Repeat("x", 32<<10)), 4<<20)
		for range 20000 {
			io.WriteString(conn, "\r\nFrom "+strings.Repeat("y", 200))
		}
		if err := converse(conn, "\r\n.\r\n", "5", "QUIT\r\n", "221"); err != nil {
			t.Errorf("%s: lines From: %v", mode, err)
		}
		conn.Close()
		harness.Eventually(t, "letters", func() bool { return len(last.Letters()) >= sent })
		behind.Empty(t)
		for _, letter := range last.Letters() {
			if !caseHeader.MatchString(letter.Content) {
				t.Errorf("%s: a letter was smuggled: %s to %s", mode, letter.From, letter.To)
			}
		}
		if n := len(last.Letters()); n != sent {
			t.Errorf("%s: %d letters were sent, %d arrive", mode, sent, n)
		}
		if log, err := os.ReadFile(tr.Log); err != nil || strings.Contains(string(log), "panic") {
			t.Errorf("%s: the log tells of a panic, or %v", mode, err)
		}
	}
}
