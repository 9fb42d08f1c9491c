package delivery

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// TestKill kills each process while mail is delivered, with no time to do anything. No
// message is lost.
func TestKill(t *testing.T) {
	const messages = 24
	dir := harness.Dir(t)
	for i, name := range users {
		makeUser(t, name, firstUID+i, filepath.Join(dir, "home", name))
	}
	s := &script{files: map[string]string{"aliases": "all dvtla, dvtlb, \"|cat >>DIR/out/$SENDER\", out@remote.test\n"}}
	s.prepare(t, dir)
	tr := harness.NewTransport(t, harness.Dovetail, harness.TransportOptions{
		Relay: "capture:remote",
		Main: strings.ReplaceAll("mydestination = local.test\nmyorigin = local.test\nlocal_recipient_maps =\nmail_spool_directory = DIR/mail\n"+
			"alias_maps = texthash:DIR/aliases\nminimal_backoff_time = 1s\nmaximal_backoff_time = 1s\nqueue_run_delay = 1s\ntransport_retry_time = 1s\n"+
			// Lock files of processes that were killed would keep mail waiting.
			"mailbox_delivery_lock = fcntl\n", "DIR", dir),
		Master: strings.ReplaceAll("capture unix - n n - - pipe flags=R user=nobody argv=DIR/capture ${sender} ${recipient}\n", "DIR", dir),
	})
	tr.Start(t)
	titles := []string{"postfix/local", "postfix/mta"}
	for n := range messages {
		m := message{to: "<all@local.test>", from: fmt.Sprintf("<sender%d@origin.test>", n)}
		if !trySend(tr, &m) {
			harness.Eventually(t, "the service takes mail again", func() bool { return trySend(tr, &m) })
		}
		if n%6 == 3 {
			for _, pid := range tr.Children(titles[n/6%len(titles)]) {
				syscall.Kill(pid, syscall.SIGKILL) //nolint:errcheck // it may just have ended
			}
		}
	}
	harness.Eventually(t, "empty queue", func() bool {
		out, err := harness.Try("", harness.Binary(t), "postqueue", "-c", tr.Config, "-p")
		return err == nil && strings.Contains(out, "Mail queue is empty")
	})
	boxes := read(t, filepath.Join(dir, "mail/dvtla")) + read(t, filepath.Join(dir, "mail/dvtlb"))
	remote := remoteMail(t, dir)
	for n := range messages {
		sender := fmt.Sprintf("sender%d@origin.test", n)
		header := "Return-Path: <" + sender + ">\n"
		if got := strings.Count(boxes, header); got < 2 {
			t.Errorf("%s: %d times in two mailboxes", sender, got)
		}
		if !strings.Contains(remote, header) {
			t.Errorf("%s: not forwarded", sender)
		}
		if _, err := os.Stat(filepath.Join(dir, "out", sender)); err != nil {
			t.Errorf("%s: %v", sender, err)
		}
	}
}

func remoteMail(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	names, err := filepath.Glob(filepath.Join(dir, "remote/*.mail"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		all.WriteString(read(t, name))
	}
	return all.String()
}

// trySend sends a message and reports whether it was taken.
func trySend(tr *harness.Transport, m *message) bool {
	c, err := harness.Dial(tr.SMTP)
	if err != nil {
		return false
	}
	defer c.Close()
	for _, command := range []string{"EHLO client.test", "MAIL FROM:" + m.from, "RCPT TO:" + m.to, "DATA", letter + "."} {
		reply, err := c.Ask(command)
		if err != nil || reply[0] != '2' && reply[0] != '3' {
			return false
		}
	}
	return true
}
