package smtpd

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/mta/cleanup"
	"github.com/dovetail-mail/dovetail/internal/mta/milter/miltertest"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/test/harness"
)

// localCases are what milters may do with mail that does not come by SMTP.
var localCases = map[string]miltertest.Script{
	"nothing":          {},
	"changes":          {Actions: 0x1ff, Answers: answers{'E': {"hX-New\x00value\x00", "+<bob@example.com>\x00", "bnew\r\n", "c"}}},
	"rejects MAIL":     {Answers: answers{'M': {"r"}}},
	"rejects RCPT":     {Answers: answers{'R': {"y550 5.7.9 not him\x00"}}},
	"rejects the end":  {Answers: answers{'E': {"y550 5.7.9 not this\x00"}}},
	"fails at the end": {Answers: answers{'E': {"t"}}},
	"discards":         {Answers: answers{'E': {"d"}}},
	"holds":            {Actions: 0x1ff, Answers: answers{'E': {"qwhy\x00", "c"}}},
	"more macros":      {Macros: miltertest.Number(0) + "j _ {client_addr} {client_name} {client_ptr} {client_port} {daemon_addr} {daemon_port} {client_resolve} v\x00" + miltertest.Number(3) + "i {mail_addr} {rcpt_addr} {rcpt_host}\x00"},
}

// milterLog are the lines about milters.
func milterLog(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if i := strings.Index(line, "milter-"); i >= 0 {
			lines = append(lines, normalize(strings.TrimSuffix(line[i:], "\n")))
		}
	}
	return lines
}

// firstConnection is what a milter has heard in its first connection. The next one, which begins with
// "O", may begin before the end of the first is heard.
func firstConnection(packets []string) []string {
	for i, p := range packets {
		if p == "Q " || i > 0 && strings.HasPrefix(p, "O ") {
			return append(packets[:i:i], "Q ")
		}
	}
	return packets
}

// TestNonSMTPDMilterLikePostfix submits mail to Postfix with sendmail, and gives the same to
// cleanup here: milters hear the same of it, and do the same with it.
func TestNonSMTPDMilterLikePostfix(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may start Postfix")
	}
	const header, body = "Subject: x\nFrom: a@b.example\nTo: alice@example.com\nMessage-Id: <1@b.example>\nDate: Mon, 23 Nov 2026 01:02:03 +0000\n\n", "hi\n"
	for name, script := range localCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var servers [2]*miltertest.Server
			for i := range servers {
				m, err := miltertest.Start(script)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(m.Close)
				servers[i] = m
			}
			p := harness.StartPostfix(t, map[string]string{
				"main.cf": baseConfig + realConfig + "non_smtpd_milters = inet:" + servers[0].Addr + "\n", "master.cf": "pickup unix n - n 60 1 pickup\n",
			})
			cmd := exec.Command("sendmail", "-C", p.Config(), "-f", "a@b.example", "alice@example.com")
			cmd.Stdin = strings.NewReader(header + body)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("sendmail: %v\n%s", err, out)
			}
			real := &realPostfix{Postfix: p}
			for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
				if slices.Contains(servers[0].Seen(), "Q ") {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("the milter has seen only %q\n%s", servers[0].Seen(), p.Log())
				}
			}

			ts := startServer(t, "non_smtpd_milters = inet:"+servers[1].Addr+"\n", nil)
			m, err := ts.Server.cleanup.Start(context.Background(), cleanup.Origin{Sender: "a@b.example", Local: true})
			if err != nil {
				t.Fatal(err)
			}
			m.Recipient("alice@example.com")
			fmt.Fprintf(m, "Received: by mail.example.com (Postfix, from userid 0)\r\n\tid %s; now\r\n%s", m.ID(), strings.ReplaceAll(header+body, "\n", "\r\n"))
			finished := m.Finish(context.Background(), &queue.Envelope{Sender: "a@b.example", Recipients: []queue.Recipient{{Address: "alice@example.com"}}})

			theirs := heard(servers[0])
			theirs = firstConnection(theirs) // pickup tries again, what was put off
			if diff := cmp.Diff(theirs, heard(servers[1])); diff != "" {
				t.Errorf("milters see (-Postfix +this):\n%s", diff)
			}
			ours := milterLog(ts.log.lines(t))
			harness.Eventually(t, "log", func() bool { return len(milterLog(p.Log())) >= len(ours) })
			if diff := cmp.Diff(milterLog(p.Log())[:len(ours)], ours); diff != "" {
				t.Errorf("log (-Postfix +this):\n%s", diff)
			}
			if name != "nothing" && name != "changes" && name != "holds" && name != "more macros" {
				if len(ts.queue.messages) > 0 || (finished == nil) != (name == "discards") {
					t.Errorf("queued %d messages, error %v", len(ts.queue.messages), finished)
				}
				return
			}
			harness.Eventually(t, "message in the queue", func() bool {
				held, _ := filepath.Glob(filepath.Join(p.Dir, "spool/hold/*"))
				for _, path := range held { // it is moved there before it is complete, and then may be executed
					if st, err := os.Stat(path); err == nil && st.Mode()&0o100 != 0 {
						return true
					}
				}
				return strings.Contains(p.Log(), "status=deferred")
			})
			var want milterOutcome
			real.queued(t, &want)
			_, content, _ := strings.Cut(want.Message, "DATE\n")
			if finished != nil || len(ts.queue.messages) != 1 {
				t.Fatalf("queued %d messages, error %v", len(ts.queue.messages), finished)
			}
			got := ts.queue.messages[0]
			_, gotContent, _ := strings.Cut(strings.ReplaceAll(got.body.String(), "\r\n", "\n"), "; now\n")
			var gotRcpts []string
			for _, r := range got.env.Recipients {
				gotRcpts = append(gotRcpts, r.Address)
			}
			if diff := cmp.Diff([]any{content, want.Sender, want.Rcpts}, []any{normalize(gotContent), got.env.Sender, gotRcpts}); diff != "" {
				t.Errorf("message (-Postfix +this):\n%s", diff)
			}
			if got.env.Hold != (name == "holds") {
				t.Errorf("held: %v", got.env.Hold)
			}
		})
	}
}
