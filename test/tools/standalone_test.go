package tools

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// standAlone is a session of sendmail -bs: what the user's mail program says, and
// the answers to it, which are those of smtpd(8).
var standAlone = []struct{ say, answer string }{
	{"", "220 mail.example.test ESMTP Postfix"},
	{"HELO client.test", "250 mail.example.test"},
	{"MAIL FROM:<me@origin.test>", "250 2.1.0 Ok"},
	{"DATA", "554 5.5.1 Error: no valid recipients"},
	{"MAIL FROM:<other@origin.test>", "503 5.5.1 Error: nested MAIL command"},
	{"RCPT TO:<>", "501 5.1.3 Bad recipient address syntax"},
	{"RCPT", "501 5.5.4 Syntax: RCPT TO:<address>"},
	{"RCPT TO:<one@remote.test>", "250 2.1.5 Ok"},
	{"DATA", "354 End data with <CR><LF>.<CR><LF>"},
	{"Subject: stand alone\r\n\r\nbody\r\n..dot\r\n.", "250 2.0.0 Ok: queued as ID"},
	{"RCPT TO:<x@remote.test>", "503 5.5.1 Error: need MAIL command"},
	{"DATA", "503 5.5.1 Error: need RCPT command"},
	{"MAIL", "501 5.5.4 Syntax: MAIL FROM:<address>"},
	{"RSET", "250 2.0.0 Ok"},
	{"NOOP", "250 2.0.0 Ok"},
	{"nonsense", "500 5.5.2 Error: command not recognized"},
	{"MAIL FROM:<>", "250 2.1.0 Ok"},
	{"RCPT TO:<\"a b\"@remote.test>", "250 2.1.5 Ok"},
	{"RCPT TO:<two@remote.test> NONSENSE=1", "501 5.5.4 Syntax: RCPT TO:<address>"},
	{"RCPT TO:<two@remote.test> NOTIFY=FAILURE", "250 2.1.5 Ok"},
	{"DATA", "354 End data with <CR><LF>.<CR><LF>"},
	{"\r\nthe second\r\n.", "250 2.0.0 Ok: queued as ID"},
	{"MAIL FROM:<me@origin.test> SIZE=99999999999", "552 5.3.4 Message size exceeds fixed limit"},
	{"MAIL FROM:<spy@origin.test>", "550 5.7.1 Error: not authorized to use sender='spy@origin.test'"},
	{"QUIT", "221 2.0.0 Bye"},
}

var queuedAs = regexp.MustCompile(`queued as \w+`)

// sendmail -bs is an SMTP session whose mail goes through the maildrop, with the
// rights of the user who runs it.
func TestStandAlone(t *testing.T) {
	s := newSite(t, harness.Dovetail, "local_login_sender_maps = inline:{{nobody=me@origin.test, <>}}\n")
	s.Start(t)
	var say, want strings.Builder
	for _, line := range standAlone {
		if line.say != "" {
			say.WriteString(line.say + "\r\n")
		}
		want.WriteString(line.answer + "\r\n")
	}
	got := s.sendmail(t, submitUser, say.String(), "-bs")
	got.Output = queuedAs.ReplaceAllString(got.Output, "queued as ID")
	if diff := cmp.Diff(result{Output: compact(want.String())}, got); diff != "" {
		t.Errorf("session: want (-), got (+):\n%s", diff)
	}
	all := strings.Join(lines(s.hop.collect(t, 2)), "\n")
	for _, want := range []string{
		"MAIL FROM:<me@origin.test>", "RCPT TO:<one@remote.test>", "\nbody\n.dot\n",
		"MAIL FROM:<>\nRCPT TO:<\"a b\"@remote.test>", "RCPT TO:<two@remote.test>", "\nthe second",
		"Received: by mail.example.test (Postfix, from userid 65534)", "Received: from client.test (localhost [127.0.0.1])\n\tby mail.example.test (Postfix) with SMTP id ID",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("the mail lacks %q:\n%s", want, all)
		}
	}
	s.Empty(t)
	ehlo := s.sendmail(t, submitUser, "EHLO client.test\r\nQUIT\r\n", "-bs").Output
	if want := "250-PIPELINING\r\n250-SIZE 10240000\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250 DSN\r\n"; !strings.Contains(ehlo, want) {
		t.Errorf("EHLO:\n%s", ehlo)
	}
	if r := s.sendmail(t, submitUser, "", "-bs", "recipient"); r.Status != 75 || !strings.Contains(r.Output, "stand-alone mode requires no recipient") {
		t.Errorf("with a recipient: %+v", r)
	}
	// A message that is cut off does not go out.
	cut := s.sendmail(t, submitUser, "HELO x\r\nMAIL FROM:<me@origin.test>\r\nRCPT TO:<no@remote.test>\r\nDATA\r\nSubject: cut", "-bs")
	if !strings.Contains(cut.Output, "421 4.4.2 mail.example.test Error: lost connection") || len(s.maildrop(t)) != 0 {
		t.Errorf("cut off: %+v, %d files in the maildrop", cut, len(s.maildrop(t)))
	}
}

// compact is a text as [site.as] returns it: without lines that repeat.
func compact(text string) string {
	return strings.Join(slices.Compact(strings.SplitAfter(text, "\n")), "")
}
