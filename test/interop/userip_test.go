package interop

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// TestTooManyConnections has a user log in once more than it may from one address:
// the login itself is refused, and logged as that. A session that has ended makes
// room for another.
func TestTooManyConnections(t *testing.T) {
	for _, p := range []harness.Program{harness.Dovetail, harness.Original} {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			mb := harness.StartMailbox(t, p, harness.MailboxOptions{Extra: "mail_max_userip_connections = 2\n"})
			const text = "Maximum number of connections from user+IP exceeded (mail_max_userip_connections=2)"
			dials := map[string]func(string) (*harness.Client, error){mb.IMAP: harness.Dial, mb.IMAPS: harness.DialTLS}
			for addr, dial := range dials {
				var open []*harness.Client
				for range 2 {
					c, err := dial(addr)
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					if err := c.Login(0); err != nil {
						t.Fatal(err)
					}
					open = append(open, c)
				}
				c, err := dial(addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				c.Expect(t, "a LOGIN "+harness.User(0)+" "+harness.Password, "a NO [LIMIT] "+text)
				// Another user is not concerned, nor another protocol.
				other := harness.Connect(t, mb.IMAP)
				if err := other.Login(1); err != nil {
					t.Error(err)
				}
				pop := harness.Connect(t, mb.POP3)
				pop.Expect(t, "USER "+harness.User(0), "+OK")
				pop.Expect(t, "PASS "+harness.Password, "+OK")
				pop.Expect(t, "QUIT", "+OK")
				var pops []*harness.Client
				for range 2 {
					pop := harness.Connect(t, mb.POP3)
					pop.Expect(t, "USER "+harness.User(1), "+OK")
					pop.Expect(t, "PASS "+harness.Password, "+OK")
					pops = append(pops, pop)
				}
				pop = harness.Connect(t, mb.POP3)
				pop.Expect(t, "USER "+harness.User(1), "+OK")
				pop.Expect(t, "PASS "+harness.Password, "-ERR [IN-USE] "+text)
				for _, pop := range pops {
					pop.Expect(t, "QUIT", "+OK")
				}
				for _, o := range open {
					o.Must(t, "LOGOUT")
				}
				harness.Eventually(t, "room for another session", func() bool {
					c, err := dial(addr)
					if err != nil {
						return false
					}
					defer c.Close()
					return c.Login(0) == nil
				})
			}
			log, err := os.ReadFile(mb.Log)
			if err != nil {
				t.Fatal(err)
			}
			line := regexp.MustCompile(`(?m)^.*imap-login: .*` + regexp.QuoteMeta(text) + `.*$`).FindString(string(log))
			if !strings.Contains(line, "user=<"+harness.User(0)+">, method=PLAIN, rip=127.0.0.1, lip=127.0.0.1") {
				t.Errorf("logged: %s", line)
			}
			t.Log(line)
		})
	}
}
