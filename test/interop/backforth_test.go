package interop

import (
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// A location is a mail_location with the name of its tests.
type location struct{ name, location string }

// locations are the formats that both servers have to agree on.
var locations = []location{
	{"sdbox", "sdbox:~/mail"},
	{"mdbox", "mdbox:~/mail"},
	{"maildir", "maildir:~/Maildir"},
	{"maildir-fs", "maildir:~/Maildir:LAYOUT=fs"},
	{"mbox", "mbox:~/mail:INBOX=~/inbox"},
	// From here on only in long runs.
	{"sdbox-apart", "sdbox:~/mail:INDEX=~/index:CONTROL=~/control"},
	{"mdbox-apart", "mdbox:~/mail:INDEX=~/index"},
	{"maildir-apart", "maildir:~/Maildir:INDEX=~/index:CONTROL=~/control"},
}

// formats returns the locations for a test, all if the environment variable that makes it long is set.
func formats(variable string) []location {
	if os.Getenv(variable) == "" {
		return locations[:5]
	}
	return locations
}

// loadFormats are those of formats that Dovecot's own processes can use at once under load. With mboxes
// they wait for each other's locks, die of assertions and lose the ends of messages, without Dovetail too.
func loadFormats(variable string) []location {
	return slices.DeleteFunc(slices.Clone(formats(variable)), func(l location) bool { return l.name == "mbox" })
}

// pairSettings are those of all. Two programs must lock an mbox in the same order, which Debian has changed.
const pairSettings = "mdbox_rotate_size = 50k\nmail_max_userip_connections = 200\nmbox_write_locks = dotlock fcntl\n"

// Mail that one server has written the other reads and changes, turn by turn; after
// each everything is compared. DOVETAIL_SEEDS says how many scripts to try instead of a
// few, DOVETAIL_SEED which one to begin with.
func TestBackAndForth(t *testing.T) {
	seeds := environment(t, "DOVETAIL_SEEDS", 2)
	first := environment(t, "DOVETAIL_SEED", 1)
	for _, l := range formats("DOVETAIL_SEEDS") {
		t.Run(l.name, func(t *testing.T) {
			p := newPair(t, harness.MailboxOptions{
				Location: l.location, Users: seeds + shrinkTries + 1, Extra: pairSettings,
			})
			for n := range seeds {
				seed := uint64(first + n)
				script := newScript(seed, int(seed%2), 4, 25)
				err := p.play(t, script)
				if err == nil {
					continue
				}
				t.Errorf("seed %d: %v", seed, err)
				last := err
				p.complaints() //nolint:errcheck // they are known
				script = shrink(script, shrinkTries, func(s []turn) bool {
					err := p.play(quiet{t}, s)
					if err != nil {
						last = err
					}
					return err != nil
				})
				t.Fatalf("shortest script that fails:\n%s%v", describe(script, serverNames()), last)
			}
		})
	}
}

// shrinkTries bounds the search for a short script.
const shrinkTries = 150

// quiet is a test whose errors are found again.
type quiet struct{ harness.TB }

func (quiet) Failed() bool { return false }

// environment returns a number from an environment variable.
func environment(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}
