package service

import (
	"slices"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// Clients that are logged in are told when the server stops, with TLS as without, in IDLE as between commands: by the
// original as by Dovetail.
func TestGoodbye(t *testing.T) {
	for _, p := range []harness.Program{harness.Dovetail, harness.Original} {
		t.Run(p.String(), func(t *testing.T) {
			mb := harness.StartMailbox(t, p, harness.MailboxOptions{})
			clients := map[string]*harness.Client{"plain": harness.Connect(t, mb.IMAP)}
			for _, name := range []string{"TLS", "TLS in IDLE"} {
				c, err := harness.DialTLS(mb.IMAPS)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				clients[name] = c
			}
			within := harness.Connect(t, mb.IMAP)
			within.Must(t, "STARTTLS")
			clients["STARTTLS"] = within.StartTLS()
			for name, c := range clients {
				if err := c.Login(0); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				c.Must(t, "SELECT INBOX")
			}
			clients["TLS in IDLE"].Expect(t, "i IDLE", "+ ")

			mb.Stop()
			for name, c := range clients {
				c.SetDeadline(time.Now().Add(time.Minute))
				var said []string
				line, err := c.Line()
				for ; err == nil; line, err = c.Line() {
					if line != "* OK Still here" { // the original may take long to stop
						said = append(said, line)
					}
				}
				if !slices.Equal(said, []string{"* BYE Server shutting down."}) {
					t.Errorf("%s: when the server stops it says %q, then %v", name, said, err)
				}
			}
		})
	}
}
