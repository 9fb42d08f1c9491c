package interop

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// An administrator stops Dovecot, starts Dovetail on the same configuration and mail, works a
// while and goes back. A client that remembers what it saw never finds anything wrong, and
// nothing changed that nobody changed.
func TestGoingBack(t *testing.T) {
	users := min(environment(t, "DOVETAIL_SEEDS", 1), 10)
	seed := uint64(environment(t, "DOVETAIL_SEED", 1))
	for _, l := range formats("DOVETAIL_SEEDS") {
		t.Run(l.name, func(t *testing.T) {
			t.Logf("seed %d", seed)
			mb := harness.StartMailbox(t, harness.Original, harness.MailboxOptions{Location: l.location, Users: users, Extra: pairSettings})
			p := &pair{servers: [2]*harness.Mailbox{mb, mb}}
			players := make([]*player, users)
			for n := range players {
				players[n] = &player{pair: p, user: n, tree: newTree(l.location), server: 1}
			}
			for day, program := range []harness.Program{harness.Original, harness.Dovetail, harness.Original, harness.Dovetail} {
				if program != mb.Program && os.Getenv("DOVETAIL_CONTROL") == "" {
					mb.Stop()
					mb.Program = program
					mb.Start(t)
					p.complaints() //nolint:errcheck // of stopping and starting
				}
				for n, pl := range players {
					remember(t, mb, n, day > 0)
					for hour, script := range newScript(seed+uint64(users*day+n), 0, 2, 20) {
						if err := pl.turn(t, script); err != nil {
							t.Fatalf("%s, hour %d of day %d with %v: %v\n%s", harness.User(n), hour, day, program, err, describe([]turn{script}, serverNames()))
						}
						remember(t, mb, n, false)
					}
				}
			}
		})
	}
}

// remember lets a client compare what it remembers of user n with what there is.
func remember(t *testing.T, mb *harness.Mailbox, n int, unchanged bool) {
	t.Helper()
	_, port, _ := net.SplitHostPort(mb.IMAP)
	args := []string{"testdata/cache.py", port, harness.User(n), harness.Password, filepath.Join(mb.Dir, fmt.Sprint("cache", n))}
	if unchanged {
		args = append(args, "unchanged")
	}
	if out, err := harness.Try("", "python3", args...); err != nil {
		t.Fatalf("the client of %s with %v: %v\n%s", harness.User(n), mb.Program, err, out)
	}
}
