package tools

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// TestFlushSite asks for the mail of a site with ETRN and with "postqueue -s":
// both programs say the same, and try it again.
func TestFlushSite(t *testing.T) {
	var sides [2]*side
	for i, p := range programs {
		sides[i] = newSide(t, p, "relay_domains = slow.test, .below.test\n")
		submit(t, sides[i].SMTP, sending{"<sender@origin.test>", []string{"<busy@slow.test>"}, plainLetter})
		submit(t, sides[i].SMTP, sending{"<sender@origin.test>", []string{"<x@dead.test>"}, plainLetter})
		sides[i].tried(t, "busy@slow.test", 1)
		sides[i].tried(t, "x@dead.test", 1)
	}
	for _, domain := range []string{"slow.test", "@slow.test", "#slow.test", "SLOW.test", "a.below.test", "dead.test", "no_domain!", "", "[127.0.0.1]"} {
		var said [2]string
		for i, s := range sides {
			c := harness.Connect(t, s.SMTP)
			c.Expect(t, "EHLO client.example.test", "250")
			reply, err := c.Ask("ETRN " + domain)
			if err != nil {
				t.Fatal(err)
			}
			said[i] = reply
			c.Expect(t, "QUIT", "221")
		}
		if diff := cmp.Diff(said[0], said[1]); diff != "" {
			t.Errorf("ETRN %s: Postfix (-), Dovetail (+):\n%s", domain, diff)
		}
	}
	for _, s := range sides {
		s.tried(t, "busy@slow.test", 2)
	}
	for _, line := range []string{"postqueue -s slow.test", "postqueue -s dead.test", "postqueue -s @slow.test", "postqueue -s x!"} {
		compare(t, sides, line, "")
	}
	for i, s := range sides {
		s.tried(t, "busy@slow.test", 3)
		if n := s.tries(t, "x@dead.test"); n != 1 {
			t.Errorf("%v: mail for another site was tried %d times", programs[i], n)
		}
	}
}

// tries is how often delivery to a recipient was tried.
func (s *side) tries(t *testing.T, rcpt string) int {
	t.Helper()
	log, err := os.ReadFile(s.Log)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(log), ": to=<"+rcpt+">,")
}

func (s *side) tried(t *testing.T, rcpt string, times int) {
	t.Helper()
	harness.Eventually(t, "another try", func() bool { return s.tries(t, rcpt) >= times })
}
