package attack

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// lineEnds are what somebody takes for the end of a line, dots for the dot that ends a message.
var (
	lineEnds = []string{"\r\n", "\n", "\r", "\r\r\n", "\n\r", "\x00\r\n", "\r\x00\n", "\r\n\x00", "\n\n", "\r\r", "\x0b", "\x85", "\xc2\x85", "\xe2\x80\xa8"}
	dots     = []string{".", "..", ". ", " .", ".\x00", "\x00.", ".\r", "...", "\t.", "\xef\xbb\xbf."}
)

// contents are bodies that hold, between any two line ends, any dot and the commands of a message of its own.
func contents() []string {
	var all []string
	for _, before := range lineEnds {
		var body strings.Builder
		for _, dot := range dots {
			for i, after := range lineEnds {
				fmt.Fprintf(&body, "text%s%s%sMAIL FROM:<forged%d@a.example>%[3]sRCPT TO:<victim@elsewhere.test>%[3]sDATA%[3]sSubject: smuggled%[3]s%[3]sx", before, dot, after, i)
			}
		}
		all = append(all, body.String())
	}
	return all
}

// TestSmugglingOnward gives messages with all that may be taken for their end to one server, by BDAT and by sendmail, which passes them
// on to the next: to one that takes any line end for one, or to another mail server that wants none but CRLF. Whoever is first
// and whoever is second, as many messages arrive as with Postfix, with the same content.
func TestSmugglingOnward(t *testing.T) {
	t.Parallel()
	bodies := contents()
	for _, mode := range []string{"normalize", "no"} {
		want := onward(t, mode, bodies, harness.Original)
		for i, body := range want {
			if !strings.Contains(body, "forged") {
				t.Fatalf("%s: of letter %d from Postfix %q arrives", mode, i, body)
			}
		}
		for _, chain := range [][]harness.Program{{harness.Dovetail}, {harness.Dovetail, harness.Original}, {harness.Original, harness.Dovetail}, {harness.Dovetail, harness.Dovetail}} {
			got := onward(t, mode, bodies, chain...)
			for i := range want {
				// With "no" Postfix takes any number of CR before LF for one, and we do not.
				if got[i] == want[i] || mode == "no" && got[i] != "" {
					continue
				}
				t.Errorf("%s, %v: letter %d (-Postfix +this):\n%s", mode, chain, i, cmp.Diff(strings.SplitAfter(want[i], "\n"), strings.SplitAfter(got[i], "\n")))
				break
			}
		}
	}
}

// onward passes bodies through a chain of servers, of which the first has a value of smtpd_forbid_bare_newline, and returns
// what arrives: in that order those by BDAT, then those by sendmail.
func onward(t *testing.T, mode string, bodies []string, chain ...harness.Program) []string {
	t.Helper()
	last := harness.StartNextHop(t, &harness.NextHop{})
	port := last.Port()
	var tr *harness.Transport
	for i := len(chain) - 1; i >= 0; i-- {
		forbid := "reject"
		if i == 0 {
			forbid = mode
		}
		tr = harness.StartTransport(t, chain[i], harness.TransportOptions{
			Relay: "smtp:[127.0.0.1]:" + port,
			Main:  "smtpd_forbid_bare_newline = " + forbid + "\nsmtpd_forbid_bare_newline_exclusions =\n",
		})
		_, port, _ = strings.Cut(tr.SMTP, ":")
	}
	submit(t, tr, bodies)
	harness.Eventually(t, fmt.Sprint(2*len(bodies), " letters"), func() bool { return len(last.Letters()) >= 2*len(bodies) })
	tr.Empty(t)
	letters := make([]string, 2*len(bodies))
	for _, letter := range last.Letters() {
		m := caseHeader.FindStringSubmatch(letter.Content)
		if m == nil {
			t.Errorf("%s, %v: a letter was smuggled: %s to %s", mode, chain, letter.From, letter.To)
			continue
		}
		n, err := strconv.Atoi(m[1])
		if err != nil || letters[n] != "" {
			t.Errorf("%s, %v: letter %s comes twice", mode, chain, m[1])
			continue
		}
		letters[n] = strings.Join(append(letter.To, m[2]), "\n")
	}
	return letters
}

// caseHeader begins what is compared of a message: before it are Received and what the server has added.
var caseHeader = regexp.MustCompile(`(?s)X-Case: (\d+)\r?\n(.*)`)

// submit gives each body to a server by BDAT, which ends nothing by a dot, and by sendmail.
func submit(t *testing.T, tr *harness.Transport, bodies []string) {
	t.Helper()
	conn, err := dial(tr.SMTP, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := converse(conn, toContent[:4]...); err != nil {
		t.Fatal(err)
	}
	sendmail := []string{"/usr/sbin/sendmail"}
	if tr.Program == harness.Dovetail {
		sendmail = []string{harness.Binary(t), "sendmail"}
	}
	sendmail = append(sendmail, "-C", tr.Config, "-i", "-f", "a@a.example", "bob@elsewhere.test")
	for i, body := range bodies {
		text := fmt.Sprintf("From: a@a.example\r\nDate: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-Id: <x@a.example>\r\nX-Case: %d\r\n\r\n%s\r\n", i, body)
		chunk := fmt.Sprintf("BDAT %d LAST\r\n%s", len(text), text)
		if err := converse(conn, "MAIL FROM:<a@a.example>\r\n", "250", "RCPT TO:<bob@elsewhere.test>\r\n", "250", chunk, "250"); err != nil {
			t.Fatal(err)
		}
		text = fmt.Sprintf("From: a@a.example\nDate: Mon, 23 Nov 2026 12:00:00 +0000\nMessage-Id: <x@a.example>\nX-Case: %d\n\n%s\n", len(bodies)+i, body)
		harness.Run(t, text, sendmail[0], sendmail[1:]...)
	}
	io.WriteString(conn, "QUIT\r\n")
}
