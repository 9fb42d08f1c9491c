package doveadm

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCacheCommandsAreThoseOfTheOriginal gives both programs the same cache files.
func TestCacheCommandsAreThoseOfTheOriginal(t *testing.T) {
	for _, location := range []string{"sdbox:~/mail", "maildir:~/Maildir"} {
		t.Run(location, func(t *testing.T) {
			t.Parallel()
			a := newHome(t, location)
			a.fill()
			for range 2 {
				a.setUp("", "fetch", "hdr.subject hdr.x-none imap.bodystructure size.virtual", "mailbox", "*")
			}
			b := a.clone()
			for _, args := range readCommands(t, "cache.txt") {
				want, got := unordered(a.original("", args...)), unordered(b.ours("", args...))
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("doveadm %q (-original +ours):\n%s", args, diff)
				}
			}
			for _, h := range []*home{a, b} { // what one has written the other one reads
				both(t, h, h, "", "-f", "tab", "mailbox", "cache", "decision", "-a", "INBOX", "Work")
			}
			both(t, a, b, "", "fetch", allFields, "mailbox", "Work")
		})
	}
}
