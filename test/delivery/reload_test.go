package delivery

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// TestReloadDuringCommand reloads and stops the service while commands of pipe(8) and of mailbox_command run. The
// message is given to them again: it must not be returned as if they had taken too long.
func TestReloadDuringCommand(t *testing.T) {
	dir := harness.Dir(t)
	makeUser(t, users[0], firstUID, filepath.Join(dir, "home", users[0]))
	if err := os.Chmod(dir, 0o777); err != nil { //nolint:gosec // for the commands, which run as others
		t.Fatal(err)
	}
	// The first two times a command goes on for ever.
	harness.Write(t, filepath.Join(dir, "slow"), strings.ReplaceAll("for n in 1 2; do mkdir DIR/$1.$n 2>/dev/null && exec sleep 600; done; cat >DIR/$1.got\n", "DIR", dir))
	tr := harness.NewTransport(t, harness.Dovetail, harness.TransportOptions{
		Relay: "slow:remote",
		Main: strings.ReplaceAll("mydestination = local.test\nmyorigin = local.test\nlocal_recipient_maps =\nalias_maps =\n"+
			"mailbox_command = /bin/sh DIR/slow local\nminimal_backoff_time = 1s\nmaximal_backoff_time = 1s\nqueue_run_delay = 1s\n", "DIR", dir),
		Master: "slow unix - n n - - pipe user=nobody argv=/bin/sh " + dir + "/slow pipe\n",
	})
	tr.Start(t)
	for _, to := range []string{"<" + users[0] + "@local.test>", "<out@remote.test>"} {
		if m := (message{to: to, from: "<sender@origin.test>"}); !trySend(tr, &m) {
			t.Fatalf("a message to %s is not taken", to)
		}
	}
	both := func(suffix string) {
		t.Helper()
		harness.Eventually(t, "commands: "+suffix, func() bool {
			for _, name := range []string{"local", "pipe"} {
				if _, err := os.Stat(filepath.Join(dir, name+suffix)); err != nil {
					return false
				}
			}
			return true
		})
	}
	both(".1")
	harness.Run(t, "", harness.Binary(t), "postfix", "-c", tr.Config, "reload")
	both(".2")
	tr.Stop()
	tr.Start(t)
	both(".got")
	tr.Empty(t)
	if log := read(t, tr.Log); strings.Contains(log, "status=bounced") {
		t.Errorf("mail was returned:\n%s", log)
	}
}
