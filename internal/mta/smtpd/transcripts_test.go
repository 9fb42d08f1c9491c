package smtpd

import (
	"fmt"
	"strings"
	"testing"
)

// A password never goes to the postmaster, however the client says it: with AUTH, as the answer to a
// challenge, or as what the server takes for a command after it refused AUTH.
func TestTranscriptHidesPasswords(t *testing.T) {
	config := "notify_classes = protocol\nsmtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = inet:" + startAuth(t) + "\n"
	for name, say := range map[string]string{
		"initial response": "AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n",
		"wrong":            "auth plain AGFsaWNlAHNlY3JlVA==\r\n",
		"challenges":       "AUTH LOGIN\r\nYWxpY2U=\r\nc2VjcmV0\r\n",
		"too early":        "AUTH NONE\r\nYWxpY2U=\r\nc2VjcmV0\r\n",
		"twice":            "AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n",
		"too many words":   "AUTH PLAIN AGFsaWNl AHNlY3JldA==\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			ts := startServer(t, config, nil)
			conn := dial(t, ts.addr)
			fmt.Fprintf(conn, "EHLO client\r\n%sWHAT\r\nQUIT\r\n", say)
			readAll(t, conn)
			ts.awaitSessions(t)
			if len(ts.queue.messages) != 1 {
				t.Fatalf("%d notices", len(ts.queue.messages))
			}
			text := ts.queue.messages[0].body.String()
			for line := range strings.Lines(say) {
				words := strings.Fields(line)
				if last := words[len(words)-1]; strings.Contains(last, "=") || last == "c2VjcmV0" {
					if strings.Contains(text, last) {
						t.Errorf("the notice shows %s:\n%s", last, text)
					}
				}
			}
			if !strings.Contains(text, " Out: 221 2.0.0 Bye\r\n") || !strings.Contains(text, "[not shown]") {
				t.Errorf("the notice is not whole:\n%s", text)
			}
		})
	}
}

// What goes wrong while a message is sent is forgiven when it is taken, and without notify_classes
// nobody hears of anything.
func TestPostmasterNotTold(t *testing.T) {
	const mail = "MAIL FROM:<a@origin.example>\r\nRCPT TO:<r@relay.example>\r\nDATA\r\nSubject: x\r\n\r\n.\r\n"
	for _, c := range []struct {
		classes, say string
		queued       int
	}{
		{"", "WHAT\r\n", 0},
		{"policy, resource, software", "WHAT\r\n", 0},
		{"protocol", "WHAT\r\n" + mail, 1},
		{"protocol", mail + "WHAT\r\n", 2},
	} {
		ts := startServer(t, "notify_classes = "+c.classes+"\n", nil)
		conn := dial(t, ts.addr)
		fmt.Fprintf(conn, "EHLO client\r\n%sQUIT\r\n", c.say)
		said := readAll(t, conn)
		ts.awaitSessions(t)
		if len(ts.queue.messages) != c.queued {
			t.Errorf("notify_classes = %s: %d messages queued, want %d, after\n%s", c.classes, len(ts.queue.messages), c.queued, said)
		}
	}
}
