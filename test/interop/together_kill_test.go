package interop

import (
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// fromKills are complaints that come of killing alone.
var fromKills = regexp.MustCompile(`killed with signal 9|connection lost|the mail process ended|master: Warning: |Broken pipe|Connection reset|EOF|throttl`)

// Processes of one server are killed while clients of both work on the same mailboxes, again and
// again. DOVETAIL_KILLS says how often. What was acknowledged is there once, and what was not
// answered is there at most once. A killed Dovetail leaves nothing to complain of.
func TestTogetherUnderKills(t *testing.T) {
	kills := environment(t, "DOVETAIL_KILLS", 3)
	seed := uint64(environment(t, "DOVETAIL_SEED", 1))
	for _, f := range loadFormats("DOVETAIL_KILLS") {
		for server, name := range serverNames() {
			t.Run(f.name+"/"+name, func(t *testing.T) {
				t.Logf("seed %d", seed)
				r := rand.New(rand.NewPCG(seed, 100))
				p := newPair(t, harness.MailboxOptions{Location: f.location, Extra: pairSettings})
				l := newTogether(t, p, 0)
				l.kills = true
				// A Dovecot that finds the map of an mdbox as a killed one has left it rebuilds all, and brings
				// back messages that were expunged.
				l.returns = server == 1 && strings.HasPrefix(f.location, "mdbox")
				// In a Maildir the message of a killed one may take the uid of another one, which
				// gets a new one. (Two originals alone show that, too.)
				l.renumbers = server == 1 && strings.HasPrefix(f.location, "maildir")
				l.start(seed)
				killed := 0
				for range kills {
					l.progress(t, 30)
					time.Sleep(time.Duration(r.Int64N(int64(20 * time.Millisecond)))) // any moment
					if pid := p.victim(server, r); pid != 0 && syscall.Kill(pid, syscall.SIGKILL) == nil {
						killed++
					}
				}
				l.progress(t, 50)
				l.end(t)
				for i, mb := range p.servers {
					for _, line := range complaintsIn(t, mb.Log, p.read[i]) {
						if server == 0 {
							t.Errorf("%s: %s", serverNames()[i], line)
						}
					}
				}
				t.Logf("%d things were acknowledged, %d processes killed", l.acks, killed)
				if killed == 0 {
					t.Error("nothing was killed")
				}
			})
		}
	}
}

// progress waits until some more things were acknowledged.
func (l *together) progress(t *testing.T, n int) {
	t.Helper()
	done := func() (acks int) {
		l.note(func() { acks = l.acks })
		return acks
	}
	target := done() + n
	harness.Eventually(t, "progress", func() bool { return done() >= target })
}

// victim chooses a process that works on mail.
func (p *pair) victim(server int, r *rand.Rand) int {
	pids := slices.DeleteFunc(harness.Descendants(p.servers[server].Cmd.Process.Pid), func(pid int) bool {
		title := harness.Title(pid)
		return title != "dovecot/imap" && title != "dovecot/lmtp" && title != "dovecot/pop3" && title != "dovecot/mail"
	})
	if len(pids) == 0 {
		return 0
	}
	return pids[r.IntN(len(pids))]
}

// complaintsIn returns what a log has from an offset on, but for what comes of kills.
func complaintsIn(t *testing.T, path string, from int) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(complaint.FindAllString(string(text[from:]), -1), func(line string) bool {
		return fromKills.MatchString(line) || strings.Contains(line, "imap-login: ")
	})
}
